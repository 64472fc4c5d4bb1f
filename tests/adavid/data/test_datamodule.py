import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from adavid.data.batch import VideoBatch, VideoSample, View, collate
from adavid.data.datamodule import VideoDataModule
from adavid.data.dataset import EpochSampler, VideoDataset, held_out
from adavid.data.transforms import normalize
from tests.adavid.data.videos import NUM_VIDEOS, Videos, videos_in, write_folders

VIEWS = {"glance": View(4, 16), "focus": View(3, 32)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("videos"))


def ready(root, splits=tuple(NUM_VIDEOS), views=VIEWS, batch_size=2, seed=0, stage=0, **options):
    return VideoDataModule(Videos(videos_in(root, splits), **options), views, batch_size, seed, stage)


def same(first: VideoBatch, second: VideoBatch) -> bool:
    return first.video_id == second.video_id and all(torch.equal(first.frames[v], second.frames[v]) for v in VIEWS)


def test_batches(root):
    module = ready(root)
    batch = next(iter(module.train_dataloader()))
    assert batch.frames["glance"].shape == (2, 4, 3, 16, 16) and batch.frames["focus"].shape == (
        2,
        3,
        3,
        32,
        32,
    )
    assert all(frames.dtype == torch.uint8 for frames in batch.frames.values())
    assert {v: tuple(m.shape) for v, m in batch.mask.items()} == {"glance": (2, 4), "focus": (2, 3)}
    assert all(mask.dtype == torch.bool and mask.all() for mask in batch.mask.values())
    assert batch.label_BK.dtype == torch.float32 and batch.label_BK.sum(1).tolist() == [1, 1]
    normal = module.on_after_batch_transfer(batch, 0)
    assert isinstance(normal, VideoBatch) and normal.video_id == batch.video_id
    assert torch.equal(normal.frames["focus"], normalize(batch.frames["focus"]))


def test_evaluation_is_in_order_and_complete(root):
    module = ready(root)
    for loader, split in [(module.val_dataloader(), "val"), (module.test_dataloader(), "test")]:
        batches = list(loader)
        num_videos = NUM_VIDEOS[split]
        assert [i for b in batches for i in b.video_id] == [f"{split}{i}" for i in range(num_videos)]
        assert all(same(a, b) for a, b in zip(batches, loader, strict=True))
        labels_NK = torch.cat([b.label_BK for b in batches])
        assert torch.equal(labels_NK, torch.eye(3)[[i % 2 for i in range(num_videos)]])


def test_the_reported_split_is_tested(root):
    module = ready(root, splits=("train", "val"))
    assert [b.video_id for b in module.test_dataloader()] == [b.video_id for b in module.val_dataloader()]


def test_training_leaves_out_an_incomplete_batch_unless_it_is_the_only_one(root):
    for batch_size, num_batches, num_videos in [(2, 3, 6), (7, 1, 7), (8, 1, 7)]:
        batches = list(ready(root, batch_size=batch_size).train_dataloader())
        assert (len(batches), sum(len(b.video_id) for b in batches)) == (num_batches, num_videos)


def test_training_depends_on_seed_stage_epoch_and_index_alone(root):
    def batches(num_workers=0, seed=0, stage=0, epoch=0):
        loader = ready(root, num_workers=num_workers, seed=seed, stage=stage).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return list(loader)

    first = batches()
    for again in (batches(), batches(num_workers=1)):
        assert all(same(a, b) for a, b in zip(first, again, strict=True))
    for other in (batches(seed=1), batches(stage=1), batches(epoch=1)):
        assert not any(same(a, b) for a, b in zip(first, other, strict=True))
        assert [b.video_id for b in first] != [b.video_id for b in other]


def test_a_persistent_worker_sees_the_epoch(root):
    loader = ready(root, num_workers=1).train_dataloader()
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        plain = ready(root).train_dataloader()
        plain.sampler.set_epoch(epoch)
        assert all(same(a, b) for a, b in zip(loader, plain, strict=True))


def test_a_catalogue_serves_many_modules_and_is_read_once(root):
    catalogue = Videos(videos_in(root))
    for stage, views in ((0, VIEWS), (1, {"v": View(2, 16)})):
        module = VideoDataModule(catalogue, views, 2, stage=stage)
        module.setup("fit")
        for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
            assert {name: frames.shape[1:] for name, frames in next(iter(loader)).frames.items()} == {
                name: view.shape for name, view in views.items()
            }
    assert catalogue.asked == {"train": 1, "val": 1, "test": 1}


class Recorder(LightningModule):
    """Keeps what it is trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {}

    def training_step(self, batch, batch_idx):
        self.seen.setdefault(self.current_epoch, []).append((batch.video_id, batch.frames["focus"].sum().item()))
        return self.weight * batch.frames["focus"].mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder, epochs):
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one(root, tmp_path):
    whole = Recorder()
    trainer(tmp_path, 4).fit(whole, datamodule=ready(root))
    assert sorted(whole.seen) == [0, 1, 2, 3]
    assert len({str(batches) for batches in whole.seen.values()}) == 4
    interrupted = trainer(tmp_path, 2)
    interrupted.fit(Recorder(), datamodule=ready(root))
    interrupted.save_checkpoint(tmp_path / "two.ckpt")
    resumed = Recorder()
    trainer(tmp_path, 4).fit(resumed, datamodule=ready(root), ckpt_path=tmp_path / "two.ckpt")
    assert resumed.seen == {epoch: whole.seen[epoch] for epoch in (2, 3)}


def shared_out(root, world_size, batch_size=2):
    """The data modules of the ranks of a run."""
    modules = [ready(root, batch_size=batch_size) for _ in range(world_size)]
    for rank, module in enumerate(modules):
        module.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)
    return modules


@pytest.mark.parametrize(("world_size", "batch_size"), [(2, 2), (2, 6), (3, 3), (3, 6)])
def test_ranks_share_out_every_batch_that_one_would_see(root, world_size, batch_size):
    loaders = [module.train_dataloader() for module in shared_out(root, world_size, batch_size)]
    for epoch in (0, 3):
        (alone,) = (module.train_dataloader() for module in shared_out(root, 1, batch_size))
        for loader in (alone, *loaders):
            loader.sampler.set_epoch(epoch)
        for whole, *parts in zip(alone, *loaders, strict=True):
            assert {len(part.video_id) for part in parts} == {batch_size // world_size}
            assert sorted(whole.video_id) == sorted(name for part in parts for name in part.video_id)


def test_ranks_share_out_the_videos_of_evaluation_and_none_is_left_without(root):
    for world_size in (2, 3, 7):
        loaders = [module.val_dataloader() for module in shared_out(root, world_size, batch_size=14)]
        names = [[name for batch in loader for name in batch.video_id] for loader in loaders]
        own = [name for of_rank in names[: NUM_VIDEOS["val"]] for name in of_rank]
        assert sorted(own) == [f"val{i}" for i in range(NUM_VIDEOS["val"])]
        assert all(of_rank == ["val0"] for of_rank in names[NUM_VIDEOS["val"] :])


def test_several_devices_need_a_whole_batch(root):
    module, _ = shared_out(root, 2, batch_size=8)
    with pytest.raises(ValueError, match="^recipe.batch_size: 7 videos to train on are less than a batch of 8"):
        module.train_dataloader()


def test_a_fifth_of_the_videos_is_held_out_by_their_names_alone():
    names = [f"video {n}" for n in range(100)]
    apart = {names[i] for i in held_out(names)}
    assert len(apart) == 20 and {names[::-1][i] for i in held_out(names[::-1])} == apart
    assert not all(names[i] in apart for i in range(20)), "not the first ones"
    assert len(held_out(names[:6])) == 2 and len(held_out(names[:2])) == 1
    assert {name for name in apart if name in names[:50]} <= {names[i] for i in held_out(names[:50])} | apart


def test_no_group_is_both_held_out_and_not():
    groups = [f"clip {n // 3}" for n in range(90)]
    apart = held_out(groups)
    assert len(apart) == 18 and not {groups[i] for i in apart} & {groups[i] for i in set(range(90)) - set(apart)}
    uneven = ["large"] * 50 + [f"small {n}" for n in range(50)]
    assert 20 <= len(held_out(uneven)) < 100
    with pytest.raises(ValueError, match="^held-out videos: expected a training split of two groups"):
        held_out(["one"] * 9)


def test_a_stage_of_some_videos_draws_them_as_a_stage_of_all_does():
    whole = list(EpochSampler(8, seed=0, stage=1))
    some = EpochSampler(8, seed=0, stage=1, only=[1, 2, 7])
    assert len(some) == 3 and list(some) == [key for key in whole if key[1] in (1, 2, 7)]


def test_held_out_videos_and_the_others_are_the_training_split(root):
    indices = {}
    for videos in ("all", "held_out", "other"):
        module = ready(root)
        module.videos = videos
        indices[videos] = sorted(index for _, index in module.train_dataloader().sampler)
    assert len(indices["held_out"]) == 2 and sorted(indices["held_out"] + indices["other"]) == indices["all"]


class Pairs(Videos):
    """Two videos each are of one group, but for the last."""

    def records(self, split):
        records = super().records(split)
        return [replace(of, group=f"{split} pair {n // 2}") for n, of in enumerate(records[:-1])] + records[-1:]


def test_held_out_videos_are_whole_groups(root):
    indices = {}
    for videos in ("held_out", "other"):
        module = VideoDataModule(Pairs(videos_in(root)), VIEWS, batch_size=2, videos=videos)
        indices[videos] = {index // 2 for _, index in module.train_dataloader().sampler}
    assert len(indices["held_out"] | indices["other"]) == 4 and not indices["held_out"] & indices["other"]


def test_collate_pads_ragged_clips():
    clips = [torch.full((n, 3, 2, 2), n, dtype=torch.uint8) for n in (3, 1, 2)]
    samples = [VideoSample({"v": clip}, (i, 3), f"id{i}", 5 + i, "hard") for i, clip in enumerate(clips)]
    batch = collate(samples, num_classes=4)
    assert batch.frames["v"].shape == (3, 3, 3, 2, 2)
    assert batch.mask["v"].tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert torch.equal(batch.frames["v"][:, :, 0, 0, 0], torch.tensor([[3, 3, 3], [1, 0, 0], [2, 2, 0]]))
    assert batch.label_BK.tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]]
    assert batch.video_id == ["id0", "id1", "id2"] and batch.num_decoded_B.tolist() == [5, 6, 7]
    assert batch.level == ["hard"] * 3


def test_short_videos_repeat_frames(root):
    batch = next(iter(ready(root, views={"v": View(25, 16)}).val_dataloader()))
    assert batch.frames["v"].shape[1] == 25 and batch.mask["v"].all()


def test_so_many_frames_a_second_make_short_videos_short(root):
    """Ten frames at five a second are two seconds: at one a second two frames, the centres of two segments."""
    every, some = ({"v": View(num_frames, 16)} for num_frames in (10, 4))
    batch = next(iter(ready(root, views=some, frame_rate=5.0, per_second=1.0).val_dataloader()))
    whole = next(iter(ready(root, views=every).val_dataloader()))
    assert batch.frames["v"].shape[1] == 2 and batch.mask["v"].all()
    assert torch.equal(batch.frames["v"], whole.frames["v"][:, [2, 7]])
    capped = next(iter(ready(root, views=some, frame_rate=1.0, per_second=1.0).val_dataloader()))
    assert capped.frames["v"].shape[1] == 4  # of ten seconds, as many as the view has
    with pytest.raises(ValueError, match="expected to know when its frames are shown, for data.per_second"):
        next(iter(ready(root, views=some, per_second=1.0).val_dataloader()))
    with pytest.raises(ValueError, match="per_second=-1: expected frames a second"):
        ready(root, per_second=-1.0)


def test_cache_gives_the_same_batches(root, tmp_path):
    plain, cached = ready(root), ready(root, cache=str(tmp_path / "cache"))
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        for a, b in zip(getattr(plain, name)(), getattr(cached, name)(), strict=True):
            assert same(a, b)
            assert a.num_decoded_B.min() > 0 and b.num_decoded_B.tolist() == [0] * len(b.video_id)


@pytest.mark.parametrize("cache", [False, True])
def test_data_sets_travel_to_worker_processes(root, tmp_path, cache):
    catalogue = Videos(videos_in(root), cache=str(tmp_path / "cache") if cache else None)
    dataset = VideoDataset(catalogue, "train", VIEWS)
    copy: VideoDataset = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[2, 1].frames["focus"], dataset[2, 1].frames["focus"])
