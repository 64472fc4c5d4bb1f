"""Files are there whole or not at all."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from adavid.files import write_atomically


class Killed(BaseException):
    """Nobody catches it."""


def test_text_bytes_and_functions_are_written(tmp_path: Path) -> None:
    for content in ("\u00e4", "\u00e4".encode(), lambda file: file.write("\u00e4".encode())):
        write_atomically(tmp_path / "new" / "x", content)
        assert (tmp_path / "new" / "x").read_bytes() == b"\xc3\xa4"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]


def test_what_was_there_stays_until_all_of_the_new_is(tmp_path: Path) -> None:
    class Unpicklable:
        def __reduce__(self) -> str:
            raise Killed

    write_atomically(tmp_path / "x.pt", partial(torch.save, {"a": 1}))
    with pytest.raises(Killed):
        write_atomically(tmp_path / "x.pt", partial(torch.save, {"a": Unpicklable()}))
    assert torch.load(tmp_path / "x.pt") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]
