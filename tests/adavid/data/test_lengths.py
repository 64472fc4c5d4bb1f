"""Counting the frames of many clips."""

from pathlib import Path

import pytest

from adavid.data import lengths
from adavid.data.sources import Clip
from tests.adavid.data.videos import write_video


def write(root: Path) -> dict[Clip, str]:
    """Three clips, of which one cannot be read, and what they hold."""
    (root / "text.mp4").write_text("no video")
    whole, other = write_video(root / "a.mp4", num_frames=40), write_video(root / "b.mp4", num_frames=30)
    return {Clip(whole): "a", Clip(other, 0.2): "b from 0.2 s", Clip(root / "text.mp4"): "text"}


@pytest.mark.parametrize("num_processes", [1, 2])
def test_frames_are_counted(tmp_path: Path, num_processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lengths, "CLIPS_A_PROCESS", 1)
    monkeypatch.setattr(lengths, "num_cores", lambda: num_processes)
    clips = write(tmp_path)
    found = lengths.clip_lengths(clips)
    assert {clips[clip]: length for clip, length in found.items()} == {"a": 40, "b from 0.2 s": 25}


def test_what_was_counted_is_remembered_by_its_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips, memory = write(tmp_path), tmp_path / "contents.sqlite"
    assert sorted(lengths.clip_lengths(clips, memory).values()) == [25, 40]
    asked: list[Path] = []
    monkeypatch.setattr(lengths, "clip_length", lambda clip: asked.append(clip.path))
    moved = Clip(tmp_path / "moved.mp4")
    assert lengths.clip_lengths({moved: "a"} | clips, memory)[moved] == 40
    assert asked == [tmp_path / "text.mp4"]  # it may have been mended
