"""What data sets that lists describe have in common."""

from pathlib import Path

import pytest

from adavid.data.catalogue import FaultKind, VideoRecord
from adavid.data.lists import ListedCatalogue, read_json_list, read_lines
from adavid.data.sources import medium_name


class Listed(ListedCatalogue):
    """A video a line, `name class`."""

    def __init__(self, path: str, class_names: tuple[str, ...] = ("cat", "dog"), **options: object) -> None:
        super().__init__(**options)
        self.class_names = class_names
        for line in self.lines(Path(path) / "list.txt"):
            name, _, label = line.text.partition(" ")
            number = self.label_of(label, line.where)
            if number is not None:
                medium = self.medium(line.where, f"{path}/v_{name}", f"{path}/{name}")
                self.add(VideoRecord(name, medium, (number,), "train"))


def write(root: Path, text: str, *media: str) -> str:
    (root / "list.txt").write_text(text)
    for name in media:
        (root / name).touch()
    return str(root)


def test_lines_know_where_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone two\r\n\r\n  \r\nthree\x0cfour")
    lines = list(read_lines(tmp_path / "a.txt"))
    assert [line.text for line in lines] == ["one two", "three\x0cfour"]
    assert lines[1].where == f"{tmp_path}/a.txt, line 4"


def test_json_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\ufeff[1]", encoding="utf-8")
    assert read_json_list(tmp_path / "a.json", list) == [1]
    with pytest.raises(ValueError, match="a.json: expected a JSON object$"):
        read_json_list(tmp_path / "a.json", dict)


def test_media_are_found_by_any_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    path = write(tmp_path, "a cat\nb dog\nc cat\nd dog\n", "a.mp4", "v_b.MKV", "c.txt")
    found = {record.video_id: record.path.name for record in Listed(path).records("train")}
    assert found == {"a": "a.mp4", "b": "v_b.MKV", "c": "v_c", "d": "d"}  # c is missing, by its likeliest name
    assert medium_name(Path("x/a.b.mp4")) == "a.b" and medium_name(Path("x/a.b")) == "a.b"


def test_a_video_that_is_there_under_two_names_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a cat\n", "a.mp4", "v_a.mp4")
    with pytest.raises(ValueError, match=f"line 1: expected one video, found {path}/v_a.mp4 and {path}/a.mp4$"):
        Listed(path)


def test_the_first_fault_ends_the_reading_and_a_survey_goes_on(tmp_path: Path) -> None:
    path = write(tmp_path, "a cat\nb dgo\nc cow\nd dgo\ne dog\n", "e.mp4", "e.avi")
    unknown = f"{path}/list.txt, line 2: class 'dgo' is unknown; did you mean 'dog'?"
    with pytest.raises(ValueError) as caught:
        Listed(path)
    assert str(caught.value) == unknown
    survey = Listed.surveyed(path=path)
    assert [record.video_id for record in survey.records("train")] == ["a", "e"] and survey.faults is not None
    assert survey.faults[0] == (FaultKind.LABEL, unknown)
    assert [fault.kind.name for fault in survey.faults] == ["LABEL", "LABEL", "LABEL", "NAME"]
    both = f"expected one video, found {path}/e.avi and {path}/e.mp4"
    assert survey.faults[-1].message == f"{path}/list.txt, line 5: {both}"


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    catalogue = Listed(write(tmp_path, "a cat\n"))
    assert catalogue.left_out == ""
    catalogue.leave_out("rows of no use", 0)
    for reason, num in (("rows of no use", 1200), ("odd rows", 1), ("rows of no use", 1)):
        catalogue.leave_out(reason, num)
    assert catalogue.left_out == "1,201 rows of no use; 1 odd rows"
