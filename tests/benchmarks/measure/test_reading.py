"""`make data-bench`: every source is timed, and no frame of this suite's is wrong."""

from pathlib import Path

import pytest

from benchmarks.measure import reading
from tests.adavid.data.videos import Videos, write_video


def test_every_source_is_timed_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "NUM_ROUNDS", 1)
    paths = [write_video(tmp_path / f"{i}.mp4", g="8", bf="2") for i in range(3)]
    folder = tmp_path / "frames"
    folder.mkdir()
    head, _, _, *rows = reading.data_bench(Videos({"train": [folder, *paths]}), 5, 2).splitlines()
    assert head.startswith("5 frames of each of 2 videos")
    wrong = {row.split("  ")[0]: row.split("  ")[-1].strip() for row in rows}
    assert set(wrong) >= {"PyAV, in sequence", "file", "file, checked", "prepared", "prepared, raw"}
    assert wrong["file"] == wrong["file, checked"] == wrong["prepared, raw"] == "0 of 10"
    with pytest.raises(ValueError, match="^data-bench: the training split has no video files$"):
        reading.data_bench(Videos({"train": [folder]}), 5, 2)
