from pathlib import Path

import pytest

from adavid.data.batch import View
from adavid.data.datamodule import VideoDataModule
from datamodules.csvfile import CsvCatalogue

CLIPS = Path(__file__).parents[2] / "../shared/clips"


def catalogue(folder, text, **options):
    for name in ("a.mp4", "b c.mkv", "sub/d.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "list.csv").write_text(text, encoding="utf-8")
    return CsvCatalogue(str(folder / "list.csv"), **options)


def test_label_and_times(tmp_path):
    text = "split,path,label,start,end\ntrain,a.mp4,run,,\ntrain,b c.mkv,walk,0.5,\nval,sub/d.mp4,walk,,2\n"
    data = catalogue(tmp_path, text + "\ntest,a.mp4,run,1,2.5\n")
    assert data.class_names == ["run", "walk"] and data.report_split == "test"
    records = [r for split in ("train", "val", "test") for r in data.records(split)]
    assert [(r.video_id, r.path, r.labels, r.start, r.end) for r in records] == [
        ("a.mp4", tmp_path / "a.mp4", (0,), None, None),
        ("b c.mkv@0.5-", tmp_path / "b c.mkv", (1,), 0.5, None),
        ("sub/d.mp4@-2", tmp_path / "sub/d.mp4", (1,), None, 2.0),
        ("a.mp4@1-2.5", tmp_path / "a.mp4", (0,), 1.0, 2.5),
    ]


def test_several_labels_and_a_byte_order_mark(tmp_path):
    data = catalogue(tmp_path, "\ufeffpath,labels,split\na.mp4,walk; run;walk,train\nb c.mkv,run,val\n")
    assert data.class_names == ["run", "walk"]
    assert [r.labels for split in ("train", "val") for r in data.records(split)] == [(0, 1), (0,)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{}: has no column 'path', only "),
        ("path,label,split\n", "{}: lists no videos"),
        ("path,label\na.mp4,run\n", "{}: has no column 'split', only path, label"),
        ("path,split\na.mp4,train\n", "{}: expected either a column 'label' or a column 'labels'"),
        ("path,label,labels,split\n", "{}: expected either a column 'label' or a column 'labels'"),
        ("path,label,split,strat\n", "{}: unknown column 'strat'; did you mean 'start'?"),
        ("path,label,split\na.mp4,run,trian\n", "{}, line 2: unknown split 'trian'; did you mean 'train'?"),
        ("path,label,split\na.mp4,run,train\n", "{}: lists no video with the split 'val'"),
        ("path,label,split\na.mp4,run,val\n", "{}: lists no video with the split 'train'"),
        ("path,label,split\na.mp4,run\n", "{}, line 2: {values}"),
        (
            "path,label,split\na,b,run,val\n",
            "{}, line 2: {values}",
        ),
        ("path,labels,split\na.mp4,;,train\n", "{}, line 2: has no label"),
        (
            "path,label,split\na.mp4,walk,train\n\na.mp4,wlak,val\n",
            "{}, line 4: class 'wlak' has no video in train; did you mean 'walk'?",
        ),
        (
            "path,label,split\na.mp4,walk,train\nsub/e.mp4,walk,val\n",
            "{}, line 3: no file {folder}/sub/e.mp4; did you mean 'd.mp4'?",
        ),
        (
            "path,label,split\nx/a.mp4,walk,train\nsub/e.mp4,walk,val\n",
            "{}, line 2: no file {folder}/x/a.mp4 (2 of 2 are missing); there is none",
        ),
        (
            "path,label,split,start,end\na.mp4,x,train,,\na.mp4,x,val,3,3\n",
            "{}, line 3: start=3 must be before end=3",
        ),
        (
            "path,label,split,start,end\na.mp4,x,train,1s,\na.mp4,x,val,,\n",
            "{}, line 2: start='1s': expected seconds, 0 or more",
        ),
        (
            "path,label,split,end\na.mp4,x,train,-1\na.mp4,x,val,\n",
            "{}, line 2: end='-1': expected seconds, 0 or more",
        ),
        (
            'path,label,split\na.mp4,run,train\n"a.mp4,run,train\n' + "sub/d.mp4,run,val\n" * 9000,
            "{}, line 3: field larger than field limit (131072); is each quotation mark closed?",
        ),
        (
            'path,label,split\n"a.mp4,run,train\nsub/d.mp4,run,val\n',
            "{}, line 2: unexpected end of data; is each quotation mark closed?",
        ),
        (
            "path,label,split\na.mp4,run,train\n" + "y" * 300 + ",run,val\n",
            "{}, line 3: no file {folder}/" + "y" * 300 + "; there is a.mp4, b c.mkv, list.csv, sub",
        ),
    ],
)
def test_errors(tmp_path, text, message):
    with pytest.raises(ValueError) as caught:
        catalogue(tmp_path, text)
    values = "has more or fewer values than the header has columns"
    assert str(caught.value) == message.format(tmp_path / "list.csv", folder=tmp_path, values=values)


def test_absent_file(tmp_path):
    with pytest.raises(ValueError, match="absent.csv: no such file$"):
        CsvCatalogue(str(tmp_path / "absent.csv"))


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "list.csv").write_bytes("path,label,split\ncaf\u00e9.mp4,x,train\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"list.csv: expected text in UTF-8 \(.* at byte 20, line 2\)$"):
        CsvCatalogue(str(tmp_path / "list.csv"))


def test_missing_files_may_be_skipped(tmp_path):
    data = catalogue(tmp_path, "path,label,split\na.mp4,x,train\nnone.mp4,x,val\n", skip_bad=True)
    assert [r.video_id for r in data.records("val")] == ["none.mp4"]  # left out by check()


def test_real_clips():
    if not CLIPS.is_dir():
        pytest.skip("the real clips are not here")
    data = CsvCatalogue(str(CLIPS / "clips.csv"))
    assert data.num_classes == 4 and not data.checked.bad
    batches = list(VideoDataModule(data, {"v": View(3, 32)}, batch_size=4).val_dataloader())
    assert [i for b in batches for i in b.video_id] == [r.video_id for r in data.records("val")]
    assert sum(len(b.video_id) for b in batches) == 15
    assert batches[0].frames["v"].shape == (4, 3, 3, 32, 32) and batches[0].num_decoded_B.min() >= 3
