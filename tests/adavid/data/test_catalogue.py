"""What a data set is taken to be, which of its videos are taken to be the same, and how each is read."""

import hashlib
import os
import shutil
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torchvision.io import write_jpeg

from adavid.data import catalogue as catalogue_module
from adavid.data import checks
from adavid.data.batch import View, collate
from adavid.data.catalogue import VideoRecord
from adavid.data.dataset import VideoDataset
from adavid.data.decoding import checked
from adavid.data.sources import open_source
from tests.adavid.data.videos import NUM_VIDEOS, Videos, damaged, videos_in, write_folders, write_video


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def own_root(root, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(root, tmp_path / "own")


def with_more(root, **more):
    videos = videos_in(root)
    for split, paths in more.items():
        videos[split] += paths
    return videos


def dataset_of(path, views, split="val", **options):
    """The split of a data set whose only video is this one."""
    other = write_video(path.with_name("other.mkv"), num_frames=3)
    return VideoDataset(Videos({"train": [other], "val": [other], split: [path]}, **options), split, views)


# What it is


def test_what_could_be_decoded_is_not_decoded_again_to_check_it(own_root, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(checks, "checked", lambda path: opened.append(path) or checked(path))
    broken = own_root / "broken.mkv"
    broken.write_bytes(b"no video")

    def check():
        opened.clear()
        videos = Videos(with_more(own_root, val=[broken]), contents=str(tmp_path / "contents.sqlite"), skip_bad=True)
        assert len(videos.checked.bad) == 1
        return set(opened)

    every = set(sum(videos_in(own_root).values(), [broken]))
    assert check() == every
    assert check() == {broken}
    changed = videos_in(own_root)["train"][0]
    frame = next(changed.iterdir())
    shutil.copyfile(next(file for file in changed.iterdir() if file.read_bytes() != frame.read_bytes()), frame)
    assert check() == {broken, changed}
    monkeypatch.setattr(checks, "versions", lambda: {"av": "another"})
    assert check() == every


def test_a_bad_frame_in_the_middle_is_found_before_training(own_root, tmp_path, capsys):
    frame = own_root / "train1" / "image_00004.jpg"
    frame.write_bytes(frame.read_bytes()[:300])
    video = damaged(write_video(tmp_path / "a.mp4", g="10", bf="0"), 25)
    for _ in range(2):
        videos = Videos(with_more(own_root, val=[video]), contents=str(tmp_path / "contents.sqlite"))
        with pytest.raises(ValueError, match="train1/image_00004.jpg: cannot be decoded"):
            _ = videos.checked
    videos.skip_bad = True
    (_,) = videos.checked.bad
    assert f"adavid: frames that cannot be decoded are left out of {video}\n" in capsys.readouterr().err
    dataset = VideoDataset(videos, "val", {"v": View(39, 16)})
    assert dataset[len(dataset) - 1].frames["v"].shape[0] == 39
    assert videos.checked.open(videos.checked.videos["val"][-1]).num_frames == 39


def test_everything_is_computed_once(root, tmp_path, monkeypatch):
    hashed, digests = Counter(), Counter()

    def sha256(*args):
        digests.update(["sha256"])
        return hashlib.sha256(*args)

    def counted(paths, memory):
        hashed.update(paths := list(paths))
        return dict.fromkeys(paths, None) | {path: str(path) for path in paths}

    monkeypatch.setattr(catalogue_module, "content_hashes", counted)
    monkeypatch.setattr(catalogue_module, "hashlib", SimpleNamespace(sha256=sha256))
    videos = Videos(videos_in(root), cache=str(tmp_path / "cache"))
    for _ in range(3):
        assert videos.fingerprint == videos.fingerprint
        assert videos.report_split == "test" and videos.splits is videos.splits
        assert videos.checked is videos.checked
    assert videos.asked == {"train": 1, "val": 1, "test": 1}
    assert digests == {"sha256": 1}
    assert len(hashed) == sum(NUM_VIDEOS.values()) and set(hashed.values()) == {1}


def test_making_one_reads_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue_module, "content_hashes", None)
    videos = Videos({"train": [tmp_path / "absent.mp4"]}, cache=str(tmp_path / "a"), contents=str(tmp_path / "b"))
    assert videos.num_classes == 3 and not videos.asked and not list(tmp_path.iterdir())


def test_a_group_is_in_one_split(root, tmp_path):
    class Grouped(Videos):
        def records(self, split):
            group = {"train": "place 1", "val": "", "test": "place 2"}
            return [replace(record, group=group[split]) for record in super().records(split)]

    assert Grouped(videos_in(root)).checked
    videos = Grouped(videos_in(root))
    one = replace(videos.splits["val"][0], group="place 1")
    videos.splits = {**videos.splits, "val": (one, *videos.splits["val"][1:])}
    first = videos.splits["train"][0].path
    with pytest.raises(ValueError) as caught:
        _ = videos.checked
    found = f"found {first} in 'train' and {one.path} in 'val'"
    assert str(caught.value) == f"group 'place 1': expected in one split, {found}"
    sample = VideoDataset(Grouped(videos_in(root)), "test", {"v": View(2, 16)})[0]
    assert collate([sample, sample], 3).group == ["place 2"] * 2


def test_report_split(root):
    assert Videos(videos_in(root)).report_split == "test"
    assert Videos(videos_in(root, ("train", "val"))).report_split == "val"


def test_the_fingerprint_is_of_pictures_and_labels_not_of_places_and_times(own_root, tmp_path):
    first = Videos(videos_in(own_root)).fingerprint
    assert len(first) == 8 and int(first, 16) >= 0
    moved = shutil.copytree(own_root, tmp_path / "moved", copy_function=shutil.copyfile)
    assert Videos(videos_in(moved)).fingerprint == first

    frame = own_root / "val1" / "image_00003.jpg"
    before, content = frame.stat(), frame.read_bytes()
    frame.write_bytes(bytes(reversed(content)))  # of the same size, and in place, so that the folder's time stays
    os.utime(frame, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = Videos(videos_in(own_root)).fingerprint
    frame.write_bytes(content)
    assert Videos(videos_in(own_root)).fingerprint == first != changed

    frame.rename(frame.with_name("image_00013.jpg"))  # the frames are in another order
    renamed = Videos(videos_in(own_root)).fingerprint
    frame.with_name("image_00013.jpg").rename(frame)
    (own_root / "val1" / "notes.txt").touch()
    assert Videos(videos_in(own_root)).fingerprint == first != renamed

    fewer, swapped, other_names = Videos(videos_in(own_root)), Videos(videos_in(own_root)), Videos(videos_in(own_root))
    fewer.videos["test"].pop()
    swapped.videos["test"].reverse()
    other_names.class_names = ["odd", "even", "others"]
    assert len({first, *(videos.fingerprint for videos in (fewer, swapped, other_names))}) == 4


def test_the_fingerprint_is_of_cuts_too(root):
    class Cut(Videos):
        end = 1.0

        def records(self, split):
            return [VideoRecord(r.video_id, r.path, r.labels, split, None, self.end) for r in super().records(split)]

    cut, same, other = (Cut(videos_in(root)) for _ in range(3))
    other.end = 2.0
    assert cut.fingerprint == same.fingerprint not in (other.fingerprint, Videos(videos_in(root)).fingerprint)


def test_unreadable_files_have_a_fingerprint(root, tmp_path):
    absent = with_more(root, train=[tmp_path / "absent.mp4", tmp_path / ("y" * 300)])
    assert Videos(absent).fingerprint == Videos(absent).fingerprint != Videos(videos_in(root)).fingerprint


# What can be read


@pytest.mark.parametrize("cache", [False, True])
def test_bad_videos_are_all_named_or_left_out(root, tmp_path, cache):
    def make(**options):
        more = {"train": [tmp_path / "text.mp4", tmp_path / "absent.mp4"], "test": [tmp_path / "noise.mp4"]}
        return Videos(with_more(root, **more), cache=str(tmp_path / "cache") if cache else None, **options)

    for name in ("text", "noise"):
        (tmp_path / f"{name}.mp4").write_text("not a video")
    for _ in range(2):  # from the cache as well
        with pytest.raises(ValueError) as caught:
            _ = make().checked
        head, *lines = str(caught.value).split("\n")
        assert head == "3 of the data set's videos cannot be read; skip_bad=true leaves them out"
        assert [line.split(":")[0] for line in lines] == [
            str(tmp_path / f"{name}.mp4") for name in ("text", "absent", "noise")
        ]
    checked = make(skip_bad=True).checked
    assert list(checked.bad) == lines
    assert {split: len(of) for split, of in checked.videos.items()} == NUM_VIDEOS


def test_no_readable_video(root, tmp_path):
    with pytest.raises(ValueError, match="^no 'val' video can be read; the first: .*absent.mp4: cannot be read"):
        _ = Videos(videos_in(root) | {"val": [tmp_path / "absent.mp4"]}, skip_bad=True).checked


def test_record_errors(root):
    with pytest.raises(ValueError, match="^the data set has no 'val' videos$"):
        _ = Videos(videos_in(root, ("train",))).checked
    with pytest.raises(ValueError, match="^split 'val' has 2 videos with the id 'val0', expected 1$"):
        _ = Videos(with_more(root, val=videos_in(root)["val"])).checked
    with pytest.raises(ValueError, match="train0: expected in one split, found in 'train' and 'test'$"):
        _ = Videos(with_more(root, test=[root / "train0"])).checked


def test_a_file_in_two_splits_is_refused_under_any_name(root, tmp_path):
    (tmp_path / "other").symlink_to(root / "train2")
    message = f"{tmp_path}/other: expected in one split, found in 'train' as {root}/train2 and 'val'"
    with pytest.raises(ValueError, match=f"^{message}$"):
        _ = Videos(with_more(root, val=[tmp_path / "other"])).checked
    _ = Videos(with_more(root, train=[tmp_path / "other"])).checked  # twice in one split is the user's own affair


def test_copies_in_two_splits_are_mentioned(root, tmp_path, capsys):
    shutil.copytree(root / "train2", tmp_path / "copy")
    for name in ("one", "two"):  # what cannot be read shows nothing
        (tmp_path / f"{name}.mp4").touch()
    more = {"train": [tmp_path / "one.mp4"], "val": [tmp_path / "two.mp4"], "test": [tmp_path / "copy"]}
    words = f"adavid: the same pictures in two splits: {tmp_path}/copy in 'test' is a copy of {root}/train2 in 'train'"
    assert len(Videos(with_more(root, **more), skip_bad=True).checked.bad) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("adavid: "))
    assert line == words
    _ = Videos(with_more(root, train=[tmp_path / "copy"])).checked
    assert "adavid: " not in capsys.readouterr().err
    (tmp_path / "again").symlink_to(tmp_path / "copy")
    _ = Videos(with_more(root, test=[tmp_path / "copy", tmp_path / "again"])).checked
    assert f"{words}, and 1 more\n" in capsys.readouterr().err


def test_parts_of_a_video_in_two_splits_must_not_overlap(tmp_path):
    class Parts(Videos):
        val = (1.0, None)

        def records(self, split):
            times = {"train": (0.0, 1.0), "val": self.val}.get(split)
            return [VideoRecord(split, path, (0,), split, *times)] if times else []

    path = write_video(tmp_path / "a.mp4", num_frames=40)
    assert len(Parts({}).checked.videos["val"]) == 1
    for times, named in (((0.96, None), "0.96 s to its end"), ((0.2, 0.4), "0.2 s to 0.4 s")):
        parts = Parts({})
        parts.val = times
        message = f"{path} from {named}: expected in one split, found in 'train' as {path} from 0 s to 1 s and 'val'"
        with pytest.raises(ValueError, match=f"^{message}$"):
            _ = parts.checked


def test_a_video_beside_its_frames_is_refused(root, tmp_path):
    class ByPath(Videos):
        def records(self, split):
            return [replace(record, video_id=str(record.path)) for record in super().records(split)]

    write_video(tmp_path / "a.mp4", num_frames=10)
    shutil.copytree(root / "train2", tmp_path / "a")
    shutil.copytree(root / "train2", tmp_path / "elsewhere" / "a")
    both = "a video and its frames by their names, expected one of them"
    for split, frames in (("train", "a"), ("val", "a"), ("val", "elsewhere/a")):
        paths = {"train": [tmp_path / "a.mp4"], "val": videos_in(root)["val"][:1]}
        paths[split] = [*paths[split], tmp_path / frames]
        videos = ByPath(paths)
        if frames != "a":
            paths["val"].reverse()  # of the same class, in another folder
        with pytest.raises(ValueError) as caught:
            _ = videos.checked
        assert str(caught.value) == f"{both}: {tmp_path}/a.mp4 in 'train' and {tmp_path}/{frames} in {split!r}"
    elsewhere = {"train": [tmp_path / "a.mp4", tmp_path / "elsewhere" / "a"], "val": videos_in(root)["val"][:1]}
    assert ByPath(elsewhere).checked  # in one split, as any two of one name


def test_evidence_is_of_the_times_of_the_frames(tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=50)  # 25 a second
    videos = Videos({})
    record = VideoRecord("a", path, (0,), "val", segments=((0.4, 0.6), (0.56, 1.0)))
    assert videos.evidence(record).is_shown.nonzero()[0].tolist() == list(range(10, 26))
    cut = videos.evidence(replace(record, start=0.2, end=0.8))  # frames 5 to 19 of the file
    assert len(cut.is_clear) == 15 and cut.is_clear.nonzero()[0].tolist() == list(range(5, 15))
    assert videos.evidence(replace(record, segments=())) is None


def test_a_mended_frame_is_read(own_root, tmp_path):
    frame = own_root / "train1" / "image_00004.jpg"
    good = frame.read_bytes()
    frame.write_bytes(good[:300])
    places = {"cache": str(tmp_path / "cache"), "contents": str(tmp_path / "contents.sqlite")}
    with pytest.raises(ValueError, match="train1/image_00004.jpg: cannot be decoded"):
        _ = Videos(videos_in(own_root), **places).checked
    frame.write_bytes(good)
    assert not Videos(videos_in(own_root), **places).checked.bad


@pytest.mark.parametrize("setting", ["cache", "contents"])
def test_a_folder_that_cannot_be_written_is_said_in_one_line(root, tmp_path, setting):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"^{tmp_path}/file(/packs)?: cannot be written \\(.*\\)$"):
        place = tmp_path / "file" / ("packs" if setting == "cache" else "contents.sqlite")
        _ = Videos(videos_in(root), **{setting: str(place)}).checked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resize": 72}, "resize=72, crop=224: the crop must be positive and at most resize"),
        ({"frame_rate": -1}, "frame_rate=-1: expected frames a second, 0 where it is not known"),
        ({"frame_rate": 25, "cache": "x"}, "frame_rate=25: a cache cuts no folders of frames, expected cache=null"),
        ({"scales": ()}, r"scales=\[\]: expected fractions of the short side, in \(0, 1\]"),
        ({"scales": (1, 1.5)}, r"scales=\[1, 1.5\]: expected fractions of the short side, in \(0, 1\]"),
    ],
)
def test_argument_errors(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Videos({}, **options)


def test_a_cache_needs_no_workers():
    assert Videos({}, cache="x", num_workers=None).num_workers == 0
    assert 1 <= Videos({}, num_workers=None).num_workers <= 2


# How a video is read


def test_views_share_frames_and_decoding(tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=16, width=64, height=64, g="16", bf="0")
    views = {"large": View(4, 64), "small": View(4, 32), "short": View(2, 64)}
    dataset = dataset_of(path, views, "train", resize=64, crop=64, scales=(1,), flip=True)
    sample = dataset[0]
    assert sample.num_decoded == 15  # to frame 14, in one pass: 2, 6, 10, 14 and 4, 12
    assert {view: len(clip) for view, clip in sample.frames.items()} == {"large": 4, "small": 4, "short": 2}
    for key in (0, (0, 0), (1, 0), (2, 0)):  # flipped or not, the views agree
        frames = dataset[key].frames
        pooled = torch.nn.functional.avg_pool2d(frames["large"].float(), 2)
        assert (pooled - frames["small"].float()).abs().mean() < 8


def test_a_video_alone_is_read_as_in_evaluation(root):
    views = {"glance": View(4, 16), "focus": View(3, 32)}
    catalogue = Videos(videos_in(root))
    frames = catalogue.reading.read(open_source(root / "val1"), views)
    expected = VideoDataset(catalogue, "val", views)[1].frames
    assert frames.keys() == expected.keys()
    for name, view in views.items():
        assert frames[name].shape == view.shape and frames[name].dtype == torch.uint8
        assert torch.equal(frames[name], expected[name])


def test_a_view_of_clips(tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=16, width=64, height=64)
    views = {"frames": View(4, 32), "clips": View(4, 64, clip=3, stride=2)}
    clips = dataset_of(path, views, resize=64, crop=64)[0].frames["clips"]
    frames = dataset_of(path, {"all": View(16, 64)}, resize=64, crop=64)[0].frames["all"]
    assert torch.equal(clips, frames[torch.tensor([[0, 2, 4], [4, 6, 8], [8, 10, 12], [12, 14, 15]])])
    sample = dataset_of(path, views, "train", resize=64, crop=64)[0, 0]
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
    views = {"a": View(1, 48), "b": View(1, 24), "c": View(1, 96)}
    for view, clip in dataset_of(tmp_path / "v", views, resize=64, crop=48)[0].frames.items():
        edges = clip[0, 0, 10].float()[[0, -1]]
        assert (edges - torch.tensor([32.0, 220.0])).abs().max() < 4, view


def test_half_of_the_training_clips_are_mirrored_whole(root):
    plain, mirrored = (
        VideoDataset(Videos(videos_in(root), flip=flip, scales=(1,)), "train", {"v": View(4, 32)})
        for flip in (False, True)
    )
    num_mirrored = 0
    for epoch in range(40):
        a, b = (dataset[epoch, 0].frames["v"] for dataset in (plain, mirrored))
        assert torch.equal(a, b) or torch.equal(a.flip(-1), b)
        num_mirrored += not torch.equal(a, b)
    assert 10 <= num_mirrored <= 30
