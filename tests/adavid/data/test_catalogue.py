import pickle

import pytest
import torch
from lightning_fabric.utilities.distributed import DistributedSamplerWrapper
from pytorch_lightning import LightningModule, Trainer
from torchvision.io import write_jpeg

from adavid.data.batch import VideoBatch, VideoSample, View, collate
from adavid.data.datamodule import VideoDataModule
from adavid.data.dataset import EpochSampler, VideoDataset, VideoRecord
from adavid.data.transforms import normalize
from tests.adavid.data.videos import write_video

VIEWS = {"glance": View(4, 16), "focus": View(3, 32)}
NUM_VIDEOS = {"train": 7, "val": 5, "test": 3}


class Videos(VideoDataModule):
    class_names = ["odd", "even", "other"]

    def __init__(self, root, splits=tuple(NUM_VIDEOS), views=VIEWS, batch_size=2, num_workers=0, **options):
        super().__init__(views, batch_size, num_workers=num_workers, **options)
        self.videos = {split: sorted(root.glob(f"{split}*")) for split in splits}

    def records(self, split):
        return [VideoRecord(p.stem, p, (i % 2,), split) for i, p in enumerate(self.videos.get(split, []))]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folders of 10 frames of random blocks, 40 x 36 pixels."""
    root = tmp_path_factory.mktemp("videos")
    generator = torch.Generator().manual_seed(0)
    for split, num_videos in NUM_VIDEOS.items():
        for video in range(num_videos):
            folder = root / f"{split}{video}"
            folder.mkdir()
            for index in range(10):
                blocks = torch.randint(0, 256, (3, 9, 10), dtype=torch.uint8, generator=generator)
                frame_CHW = blocks.repeat_interleave(4, 1).repeat_interleave(4, 2)
                write_jpeg(frame_CHW, str(folder / f"image_{index + 1:05d}.jpg"))
    return root


def ready(*args, **options):
    module = Videos(*args, **options)
    module.setup("fit")
    return module


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


def test_report_split(root):
    assert ready(root).report_split == "test"
    module = ready(root, splits=("train", "val"))
    assert module.report_split == "val"
    assert [b.video_id for b in module.test_dataloader()] == [b.video_id for b in module.val_dataloader()]


def test_training_leaves_out_an_incomplete_batch_unless_it_is_the_only_one(root):
    for batch_size, num_batches, num_videos in [(2, 3, 6), (7, 1, 7), (8, 1, 7)]:
        batches = list(ready(root, batch_size=batch_size).train_dataloader())
        assert (len(batches), sum(len(b.video_id) for b in batches)) == (num_batches, num_videos)


def test_training_depends_on_seed_stage_epoch_and_index_alone(root):
    def batches(num_workers=0, seed=0, stage=0, epoch=0):
        module = ready(root, num_workers=num_workers, seed=seed)
        module.stage = stage
        loader = module.train_dataloader()
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
    trainer(tmp_path, 4).fit(whole, datamodule=Videos(root))
    assert sorted(whole.seen) == [0, 1, 2, 3]
    assert len({str(batches) for batches in whole.seen.values()}) == 4
    interrupted = trainer(tmp_path, 2)
    interrupted.fit(Recorder(), datamodule=Videos(root))
    interrupted.save_checkpoint(tmp_path / "two.ckpt")
    resumed = Recorder()
    trainer(tmp_path, 4).fit(resumed, datamodule=Videos(root), ckpt_path=tmp_path / "two.ckpt")
    assert resumed.seen == {epoch: whole.seen[epoch] for epoch in (2, 3)}


def test_lightning_shards_the_sampler_over_ranks():
    for epoch in (0, 3):
        sampler = EpochSampler(8, seed=0, stage=0)
        shards = []
        for rank in range(2):
            sharded = DistributedSamplerWrapper(EpochSampler(8, seed=0, stage=0), num_replicas=2, rank=rank)
            sharded.set_epoch(epoch)
            shards.append(list(sharded))
        sampler.set_epoch(epoch)
        assert sorted(shards[0] + shards[1]) == sorted(sampler) == [(epoch, index) for index in range(8)]


def test_views_share_frames_and_decoding(tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=16, width=64, height=64, g="16", bf="0")
    record = VideoRecord("a", path, (0,), "val")
    views = {"large": View(4, 64), "small": View(4, 32), "short": View(2, 64)}
    module = Videos(tmp_path, views=views, resize=64, crop=64, scales=(1,), flip=True)
    module._checked = {"train": [record]}
    dataset = module.dataset("train")
    sample = dataset[0]
    assert sample.num_decoded == 15  # to frame 14, in one pass: 2, 6, 10, 14 and 4, 12
    assert {view: len(clip) for view, clip in sample.frames.items()} == {"large": 4, "small": 4, "short": 2}
    for key in (0, (0, 0), (1, 0), (2, 0)):  # flipped or not, the views agree
        frames = dataset[key].frames
        pooled = torch.nn.functional.avg_pool2d(frames["large"].float(), 2)
        assert (pooled - frames["small"].float()).abs().mean() < 8


def test_a_view_of_clips(tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=16, width=64, height=64)
    views = {"frames": View(4, 32), "clips": View(4, 64, clip=3, stride=2)}
    module = Videos(tmp_path, views=views, resize=64, crop=64)
    module._checked = {split: [VideoRecord("a", path, (0,), split)] for split in ("train", "val")}
    clips = module.dataset("val")[0].frames["clips"]
    whole = Videos(tmp_path, views={"all": View(16, 64)}, resize=64, crop=64)
    whole._checked = module._checked
    frames = whole.dataset("val")[0].frames["all"]
    assert torch.equal(clips, frames[torch.tensor([[0, 2, 4], [4, 6, 8], [8, 10, 12], [12, 14, 15]])])
    sample = module.dataset("train")[0, 0]
    assert sample.frames["clips"].shape == views["clips"].shape == (4, 3, 3, 64, 64)
    middle = torch.nn.functional.avg_pool2d(sample.frames["clips"][:, 1].float(), 2)
    assert (middle - sample.frames["frames"].float()).abs().mean() < 8
    batch = collate([sample, sample], num_classes=1)
    assert batch.frames["clips"].shape == (2, 4, 3, 3, 64, 64) and batch.mask["clips"].shape == (2, 4)


def test_evaluation_keeps_the_same_share_of_the_picture_in_every_view(tmp_path):
    # Left to right, gray goes from 0 to 252 over 64 pixels; 48 / 64 of it is kept.
    for index in range(2):
        ramp = (torch.arange(64) * 4).to(torch.uint8).expand(3, 64, 64).contiguous()
        (tmp_path / "v").mkdir(exist_ok=True)
        write_jpeg(ramp, str(tmp_path / "v" / f"{index}.jpg"), quality=100)
    module = Videos(tmp_path, views={"a": View(1, 48), "b": View(1, 24), "c": View(1, 96)}, resize=64, crop=48)
    module._checked = {"val": [VideoRecord("v", tmp_path / "v", (0,), "val")]}
    for view, clip in module.dataset("val")[0].frames.items():
        edges = clip[0, 0, 10].float()[[0, -1]]
        assert (edges - torch.tensor([32.0, 220.0])).abs().max() < 4, view


def test_collate_pads_ragged_clips():
    clips = [torch.full((n, 3, 2, 2), n, dtype=torch.uint8) for n in (3, 1, 2)]
    samples = [VideoSample({"v": clip}, (i, 3), f"id{i}", 5 + i) for i, clip in enumerate(clips)]
    batch = collate(samples, num_classes=4)
    assert batch.frames["v"].shape == (3, 3, 3, 2, 2)
    assert batch.mask["v"].tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert torch.equal(batch.frames["v"][:, :, 0, 0, 0], torch.tensor([[3, 3, 3], [1, 0, 0], [2, 2, 0]]))
    assert batch.label_BK.tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]]
    assert batch.video_id == ["id0", "id1", "id2"] and batch.num_decoded_B.tolist() == [5, 6, 7]


def test_half_of_the_training_clips_are_mirrored_whole(root):
    always = {"views": {"v": View(4, 32)}, "scales": (1,)}
    plain, mirrored = ready(root, flip=False, **always), ready(root, flip=True, **always)
    num_mirrored = 0
    for epoch in range(40):
        a, b = (module.dataset("train")[epoch, 0].frames["v"] for module in (plain, mirrored))
        assert torch.equal(a, b) or torch.equal(a.flip(-1), b)
        num_mirrored += not torch.equal(a, b)
    assert 10 <= num_mirrored <= 30


def test_short_videos_repeat_frames(root):
    batch = next(iter(ready(root, views={"v": View(25, 16)}).val_dataloader()))
    assert batch.frames["v"].shape[1] == 25 and batch.mask["v"].all()


def test_cache_gives_the_same_batches(root, tmp_path):
    plain, cached = ready(root), ready(root, cache=str(tmp_path / "cache"))
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        for a, b in zip(getattr(plain, name)(), getattr(cached, name)(), strict=True):
            assert same(a, b)
            assert a.num_decoded_B.min() > 0 and b.num_decoded_B.tolist() == [0] * len(b.video_id)
    assert Videos(root, cache="x", num_workers=None).num_workers == 0
    assert 1 <= Videos(root, num_workers=None).num_workers <= 2


@pytest.mark.parametrize("cache", [False, True])
def test_data_sets_travel_to_worker_processes(root, tmp_path, cache):
    dataset = ready(root, cache=str(tmp_path / "cache") if cache else None).dataset("train")
    copy: VideoDataset = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[2, 1].frames["focus"], dataset[2, 1].frames["focus"])


@pytest.mark.parametrize("cache", [False, True])
def test_bad_videos_are_all_named_or_left_out(root, tmp_path, cache):
    def module(**options):
        module = Videos(root, cache=str(tmp_path / "cache") if cache else None, **options)
        module.videos["train"] += [tmp_path / "text.mp4", tmp_path / "absent.mp4"]
        module.videos["test"] += [tmp_path / "noise.mp4"]
        return module

    for name in ("text", "noise"):
        (tmp_path / f"{name}.mp4").write_text("not a video")
    with pytest.raises(ValueError) as caught:
        module().setup("fit")
    head, *lines = str(caught.value).split("\n")
    assert head == "3 of the data set's videos cannot be read; skip_bad=true leaves them out"
    assert [line.split(":")[0] for line in lines] == [
        str(tmp_path / f"{name}.mp4") for name in ("text", "absent", "noise")
    ]
    tolerant = module(skip_bad=True)
    tolerant.setup("fit")
    assert tolerant.num_skipped_bad == 3
    assert len(tolerant.dataset("train")) == 7 and len(tolerant.dataset("test")) == 3


def test_no_readable_video(root, tmp_path):
    module = Videos(root, skip_bad=True)
    module.videos["val"] = [tmp_path / "absent.mp4"]
    with pytest.raises(ValueError, match="^no 'val' video can be read; the first: .*absent.mp4: cannot be read"):
        module.setup("fit")


def test_record_errors(root):
    with pytest.raises(ValueError, match="^the data set has no 'val' videos$"):
        Videos(root, splits=("train",)).setup("fit")
    module = Videos(root)
    module.videos["val"] *= 2
    with pytest.raises(ValueError, match="^split 'val' has 2 videos with the id 'val0', expected 1$"):
        module.setup("fit")
    module = Videos(root)
    module.videos["test"] += module.videos["train"][:1]
    with pytest.raises(ValueError, match="expected in one split, found in 'train' and 'test'$"):
        module.setup("fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": 72}, "resize=72, crop=224: the crop must be positive and at most resize"),
        ({"scales": ()}, r"scales=\[\]: expected fractions of the short side, in \(0, 1\]"),
        ({"scales": (1, 1.5)}, r"scales=\[1, 1.5\]: expected fractions of the short side, in \(0, 1\]"),
    ],
)
def test_argument_errors(root, options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Videos(root, **options)
