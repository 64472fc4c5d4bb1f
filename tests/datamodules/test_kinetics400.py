import subprocess
import sys
from pathlib import Path

import pytest

from datamodules.kinetics400 import Kinetics400Catalogue

ANNOTATIONS = (Path(__file__).parents[2] / "../shared/annotations").resolve()
HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


def write_lists(root: Path, train: str = "", val: str = "yoga,0-_b,1234,1244,val,1\n") -> str:
    (root / "videos").mkdir(exist_ok=True)
    train = train or '"juggling, balls",-wQ,2,12,train,0\nyoga,aaa,0,10,train,0\n'
    (root / "kinetics-400_train.csv").write_text(HEADER + train)
    (root / "kinetics-400_val.csv").write_text(HEADER + val)
    return str(root)


def test_the_official_lists(tmp_path: Path) -> None:
    catalogue = Kinetics400Catalogue(write_lists(tmp_path))
    assert catalogue.class_names == ["juggling, balls", "yoga"] and catalogue.report_split == "val"
    assert catalogue.metric == "top1" and catalogue.reading.flip
    found = [(r.video_id, r.labels) for split in ("train", "val") for r in catalogue.records(split)]
    assert found == [("-wQ_000002_000012", (0,)), ("aaa_000000_000010", (1,)), ("0-_b_001234_001244", (1,))]


@pytest.mark.parametrize("folder", ["train/juggling, balls", "train/juggling,_balls", "juggling,_balls", "train", "."])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ""])
def test_usual_layouts(tmp_path: Path, folder: str, suffix: str) -> None:
    path = write_lists(tmp_path)
    clip = tmp_path / "videos" / folder / f"-wQ_000002_000012{suffix}"
    clip.mkdir(parents=True)
    first, second = Kinetics400Catalogue(path).records("train")
    assert first.path == clip and not second.path.exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("yoga,aaa,0,10,val", "expected label,youtube_id,time_start,time_end,split,is_cc with the split 'val', got "),
        ("yoga,aaa,0,10,train,0", "expected label,.* with the split 'val', got 'yoga,aaa,0,10,train,0'$"),
        ("yoga,aaa,10,0,val,0", "expected label"),
        ("yoga,aaa,x,10,val,0", "expected label"),
        ("yoga,,0,10,val,0", "expected label"),
        ("yogga,aaa,0,10,val,0", "class 'yogga' is unknown; did you mean 'yoga'\\?$"),
    ],
)
def test_a_row_that_is_none_is_named_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{tmp_path}/kinetics-400_val.csv, line 3: {message}"):
        Kinetics400Catalogue(write_lists(tmp_path, val=f"yoga,bbb,0,10,val,0\n{row}\n"))


def test_a_list_without_a_column(tmp_path: Path) -> None:
    path = write_lists(tmp_path)
    (tmp_path / "kinetics-400_val.csv").write_text("label,youtube_id,split\n")
    with pytest.raises(
        ValueError, match="_val.csv, line 1: expected a column 'time_start', got 'label,youtube_id,split'$"
    ):
        Kinetics400Catalogue(path)


def test_the_real_list(tmp_path: Path) -> None:
    if not ANNOTATIONS.is_dir():
        pytest.skip("the real lists are not here")
    val_list = ANNOTATIONS / "kinetics-400_val.csv"
    names = sorted({line.split(",")[0] for line in val_list.read_text().splitlines()[1:]})
    path = write_lists(tmp_path, train="".join(f"{name},id{k},0,10,train,0\n" for k, name in enumerate(names)))
    catalogue = Kinetics400Catalogue(path, val_list=str(val_list))
    val = catalogue.records("val")
    assert (catalogue.num_classes, len(val)) == (400, 19906)
    assert catalogue.published is not None and catalogue.published.num_videos["val"] == 19906
    assert len({r.video_id for r in val}) == 19906 and {r.labels[0] for r in val} == set(range(400))


MEASURE = """
import sys, time
from datamodules.kinetics400 import Kinetics400Catalogue
import av, torch

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

before, start = resident(), time.process_time()
catalogue = Kinetics400Catalogue(sys.argv[1])
num = sum(map(len, catalogue.splits.values()))
print(num, time.process_time() - start, resident() - before)
"""


def test_a_hundred_thousand_clips_take_seconds_and_little_memory(tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system does not say how much memory a process has")
    rows = {
        split: "".join(f"class {i % 400},{split}{i:08d},{i % 300},{i % 300 + 10},{split},0\n" for i in range(num))
        for split, num in (("train", 80_000), ("val", 20_000))
    }
    path = write_lists(tmp_path, **rows)
    done = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    num, seconds, megabytes = map(float, done.stdout.split())
    assert num == 100_000 and seconds < 5 and megabytes < 200, done.stdout
