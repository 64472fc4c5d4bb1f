import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.io import write_jpeg

from datamodules.activitynet import ActivityNetCatalogue
from tests.adavid.data.videos import write_video

ANNOTATIONS = (Path(__file__).parents[2] / "../shared/annotations").resolve()


def write_lists(root, train="a,100,1\nb,90,0,2,0\n", val="c-d,5,2\n", classes="0,Run, fast\n1,Walk\n2,Sit\n"):
    (root / "videos").mkdir()
    for name, text in [("actnet_train_split", train), ("actnet_val_split", val), ("classInd", classes)]:
        (root / f"{name}.txt").write_bytes(text.encode())
    return str(root)


def found_in(catalogue):
    return [(r.video_id, r.path.name, r.labels) for split in ("train", "val") for r in catalogue.records(split)]


def test_lists(tmp_path):
    path = write_lists(tmp_path)
    videos = tmp_path / "videos"
    (videos / "v_b.mkv").touch()
    (videos / "c-d").mkdir()
    write_jpeg(torch.zeros(3, 20, 20, dtype=torch.uint8), str(videos / "c-d" / "image_00001.jpg"))
    catalogue = ActivityNetCatalogue(path)
    assert catalogue.class_names == ["Run, fast", "Walk", "Sit"] and catalogue.report_split == "val"
    assert catalogue.metric == "map" and catalogue.reading.flip and catalogue.left_out == ""
    assert found_in(catalogue) == [("a", "a", (1,)), ("b", "v_b.mkv", (0, 2)), ("c-d", "c-d", (2,))]
    assert catalogue.evidence(catalogue.records("train")[1]) is None  # the lists know no times


@pytest.mark.parametrize(
    "train",
    [
        "\ufeffa,100,1\r\nb,90,0,2,0\r\n",  # as Windows' programs write
        "a,100,1\nb,90,0,2,0",  # no end of the last line
        "\na,100,1\n\nb,90,0,2,0\n\n  \n",
        "a,100,1\rb,90,0,2,0\r",
    ],
)
def test_however_the_lines_end(tmp_path, train):
    assert [r.labels for r in ActivityNetCatalogue(write_lists(tmp_path, train)).records("train")] == [(1,), (0, 2)]


def test_a_list_in_another_encoding_is_read_or_named_with_its_line(tmp_path):
    path = write_lists(tmp_path)
    names = "0,Caf\u00e9\n1,Walk\n2,Sit\n"
    (tmp_path / "classInd.txt").write_text(names, encoding="utf-16")
    assert ActivityNetCatalogue(path).class_names[0] == "Caf\u00e9"
    (tmp_path / "classInd.txt").write_text("0,Run\n1,Caf\u00e9\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"/classInd.txt: expected text in UTF-8 \(.*, line 2\)$"):
        ActivityNetCatalogue(path)


@pytest.mark.parametrize("line", ["a,100", "a,100,x", "a", "a,100,3", "a,100,-1", "a,100,0,3"])
def test_malformed_lines(tmp_path, line):
    path = write_lists(tmp_path, val=f"c,5,2\n{line}\n")
    with pytest.raises(ValueError) as caught:
        ActivityNetCatalogue(path)
    expected = "expected video_id,num_frames,label[,label...] with labels below 3"
    assert str(caught.value) == f"{tmp_path}/actnet_val_split.txt, line 2: {expected}, got {line!r}"


def test_other_errors(tmp_path):
    with pytest.raises(ValueError, match="/videos: no such folder$"):
        ActivityNetCatalogue(str(tmp_path))
    path = write_lists(tmp_path, classes="0,Run\n2,Sit\n")
    with pytest.raises(ValueError, match="/classInd.txt, line 2: expected '1,name', got '2,Sit'$"):
        ActivityNetCatalogue(path)
    (tmp_path / "classInd.txt").write_text("0,Run\n1,Walk\n2,Sit\n")
    with pytest.raises(ValueError, match="/none.txt: no such file$"):
        ActivityNetCatalogue(path, val_list="none.txt")


def test_a_video_beside_its_frames_is_refused_rather_than_one_of_them_chosen(tmp_path):
    path = write_lists(tmp_path)
    (tmp_path / "videos" / "a").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    both = f"{tmp_path}/videos/a and {tmp_path}/videos/a.mp4"
    message = f"{tmp_path}/actnet_train_split.txt, line 1: expected one video, found {both}"
    with pytest.raises(ValueError, match=f"^{message}$"):
        ActivityNetCatalogue(path)


# The official JSON


def annotated(*segments, subset="training"):
    annotations = [{"segment": [start, end], "label": label} for start, end, label in segments]
    return {"duration": 9.5, "subset": subset, "resolution": "64x48", "url": "https://...", "annotations": annotations}


def write_json(root, **more):
    (root / "videos").mkdir(exist_ok=True)
    database = {
        "aaa": annotated((0.2, 0.6, "Walk"), (1, 1.2, "Walk")),
        "bbb": annotated((0, 1, "Walk"), (0.5, 2.0, "Run")),
        "ccc": annotated((0.0, 1.0, "Run"), subset="validation"),
        "ddd": annotated(subset="testing"),
        **more,
    }
    (root / "official.json").write_text(json.dumps({"version": "VERSION 1.3", "taxonomy": [], "database": database}))
    return {"path": str(root), "annotations": "official.json"}


def test_the_official_json(tmp_path):
    catalogue = ActivityNetCatalogue(**write_json(tmp_path))
    assert catalogue.class_names == ["Run", "Walk"] and catalogue.report_split == "val"
    assert found_in(catalogue) == [("aaa", "v_aaa", (1,)), ("bbb", "v_bbb", (0, 1)), ("ccc", "v_ccc", (0,))]
    assert catalogue.left_out == "1 videos of the testing split, whose labels are not public"


def test_the_frames_of_annotated_times_show_the_evidence(tmp_path):
    catalogue = ActivityNetCatalogue(**write_json(tmp_path))
    write_video(tmp_path / "videos" / "v_aaa.mp4", num_frames=40)  # 25 a second
    catalogue = ActivityNetCatalogue(**write_json(tmp_path))
    evidence = catalogue.evidence(catalogue.records("train")[0])
    assert np.flatnonzero(evidence.is_shown).tolist() == [*range(5, 16), *range(25, 31)]
    assert (evidence.is_clear == evidence.is_shown).all() and len(evidence.is_shown) == 40
    (tmp_path / "videos" / "v_aaa.mp4").unlink()
    (tmp_path / "videos" / "v_aaa").mkdir()
    write_jpeg(torch.zeros(3, 20, 20, dtype=torch.uint8), str(tmp_path / "videos" / "v_aaa" / "1.jpg"))
    catalogue = ActivityNetCatalogue(**write_json(tmp_path))
    assert catalogue.evidence(catalogue.records("train")[0]) is None  # pictures alone have no times


@pytest.mark.parametrize(
    "said",
    [
        {},
        annotated(),
        annotated((0, 1, "Run"), subset="train"),
        annotated((0, 1, 7)),
        {"subset": "training", "annotations": [{"label": "Run"}]},
        {"subset": "training", "annotations": [{"label": "Run", "segment": [1]}]},
    ],
)
def test_a_malformed_video_of_the_json_is_named(tmp_path, said):
    with pytest.raises(
        ValueError, match='/official.json, video x: expected "subset" and "annotations", each a "label"'
    ):
        ActivityNetCatalogue(**write_json(tmp_path, x=said))


def test_other_json_is_refused(tmp_path):
    settings = write_json(tmp_path)
    for text, message in (("[]", "expected a JSON object"), ("{", "expected JSON: "), ("{}", "expected {.database")):
        (tmp_path / "official.json").write_text(text)
        with pytest.raises(ValueError, match=f"/official.json: {message}"):
            ActivityNetCatalogue(**settings)


def test_real_lists(tmp_path):
    if not ANNOTATIONS.is_dir():
        pytest.skip("the real lists are not here")
    catalogue = ActivityNetCatalogue(str(ANNOTATIONS), videos=str(tmp_path), class_list="actnet_classInd.txt")
    train, val = catalogue.records("train"), catalogue.records("val")
    assert (catalogue.num_classes, len(train), len(val)) == (200, 10024, 4926)
    assert catalogue.published == (200, {"train": 10024, "val": 4926})
    assert [sum(len(r.labels) > 1 for r in records) for records in (train, val)] == [6, 7]
    assert len({r.video_id for r in [*train, *val]}) == 14950
    assert catalogue.class_names == sorted(catalogue.class_names)  # so that the JSON's are numbered alike
