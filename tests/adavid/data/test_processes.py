"""Work on many media by processes that may die of one."""

from pathlib import Path

import pytest

from adavid.data.processes import answers
from tests.adavid.data.crash import crash_on_bad


@pytest.mark.parametrize("names", [["a", "b", "bad", "c", "d", "e"], ["bad", "bad", "bad"], ["a", "b", "bad"]])
def test_a_crash_of_the_decoder_is_one_videos_error(names: list[str]) -> None:
    """A library that dies takes its process with it, and the videos after it get another one."""
    said = list(answers(crash_on_bad, [Path(name) for name in names], 2))
    error = "bad: the process that decoded it ended, status -11"
    assert said == [error if name == "bad" else name for name in names]
