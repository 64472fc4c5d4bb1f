import json

import pytest

from datamodules.something import SomethingCatalogue

CLASSES = ("Pushing something from left to right", "Approaching something with your camera")


def write_v2(root, template="Approaching [something] with your camera"):
    stem = f"{root}/something-something-v2"
    for name, content in (
        ("labels", {name: str(i) for i, name in enumerate(CLASSES)}),
        ("train", [{"id": "7", "label": "approaching a cup with your camera", "template": template}]),
        ("validation", [{"id": "8", "template": "Pushing [something] from left to right"}]),
    ):
        with open(f"{stem}-{name}.json", "w") as file:
            json.dump(content, file)
    (root / "20bn-something-something-v2").mkdir(exist_ok=True)
    (root / "20bn-something-something-v2" / "7.webm").touch()
    return str(root)


def records(catalogue):
    return [(r.video_id, r.path.name, r.labels, split) for split in ("train", "val") for r in catalogue.records(split)]


def test_version_2(tmp_path):
    catalogue = SomethingCatalogue(write_v2(tmp_path))
    assert catalogue.class_names == list(CLASSES)  # by the list's own numbers
    assert catalogue.report_split == "val" and not catalogue.reading.flip and catalogue.metric == "top1"
    assert records(catalogue) == [("7", "7.webm", (1,), "train"), ("8", "8", (0,), "val")]
    assert catalogue.published == (174, {"train": 168913, "val": 24777})


def test_the_lists_as_they_are_published_now(tmp_path):
    write_v2(tmp_path)
    (tmp_path / "labels").mkdir()
    for name in ("labels", "train", "validation"):
        (tmp_path / f"something-something-v2-{name}.json").rename(tmp_path / "labels" / f"{name}.json")
    assert records(SomethingCatalogue(str(tmp_path))) == [("7", "7.webm", (1,), "train"), ("8", "8", (0,), "val")]


def test_numbers_that_are_none_are_refused(tmp_path):
    write_v2(tmp_path)
    (tmp_path / "something-something-v2-labels.json").write_text(json.dumps({CLASSES[0]: "0", CLASSES[1]: "2"}))
    with pytest.raises(ValueError, match=r"-labels.json: expected the numbers 0 to 1, one a class, got \['0', '2'\]$"):
        SomethingCatalogue(str(tmp_path))


def test_version_1(tmp_path):
    stem = f"{tmp_path}/something-something-v1"
    for name, text in (
        ("labels", "\n".join(CLASSES)),
        ("train", f"100218;{CLASSES[0]}\n"),
        ("validation", f"5;{CLASSES[1]}"),
    ):
        with open(f"{stem}-{name}.csv", "w") as file:
            file.write(text)
    (tmp_path / "20bn-something-something-v1" / "100218").mkdir(parents=True)
    (tmp_path / "20bn-something-something-v1" / "100218" / "00001.jpg").touch()
    catalogue = SomethingCatalogue(str(tmp_path), version="v1")
    assert catalogue.class_names == sorted(CLASSES)
    assert records(catalogue) == [("100218", "100218", (1,), "train"), ("5", "5", (0,), "val")]


def test_clips_are_never_mirrored(tmp_path):
    with pytest.raises(ValueError, match="^flip: Something-Something tells left from right, expected false$"):
        SomethingCatalogue(write_v2(tmp_path), flip=True)


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match="/something-something-v1-labels.csv: no such file$"):
        SomethingCatalogue(write_v2(tmp_path), version="v1", videos=str(tmp_path))
    write_v2(tmp_path, template="Aproaching [something] with your camera")
    message = "video 1: class 'Aproaching something with your camera' is unknown; did you mean 'Approaching something"
    with pytest.raises(ValueError, match=message):
        SomethingCatalogue(str(tmp_path))
    (tmp_path / "something-something-v2-train.json").write_text('[{"id": 7}]')
    with pytest.raises(ValueError, match="video 1: expected its id and its class, got 7 and None$"):
        SomethingCatalogue(str(tmp_path))
    (tmp_path / "something-something-v2-train.json").write_text("[")
    with pytest.raises(ValueError, match="/something-something-v2-train.json: expected JSON"):
        SomethingCatalogue(str(tmp_path))
    (tmp_path / "something-something-v2-train.json").write_text("{}")
    with pytest.raises(ValueError, match="/something-something-v2-train.json: expected a JSON array$"):
        SomethingCatalogue(str(tmp_path))
