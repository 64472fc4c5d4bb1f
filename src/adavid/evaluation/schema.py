"""What is kept as JSON, typed: checked where it is made and where it is read back, and alike in both places."""

from __future__ import annotations

import dataclasses
import json
import reprlib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from adavid.config import nearest
from adavid.files import write_atomically

SCHEMA: Final = 3
Content = TypeVar("Content")


class Block(BaseModel):
    """Numbers that belong together: immutable, without unknown keys, NaN or infinities.

    Raises:
        ValueError: a value is missing, unknown or of another type.
    """

    # As they are, so that `to_json` refuses them where a block does not: inside a configuration.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")


class Result(Block):
    """What one file says of one run. One that was read or written knows its path, which is no part of the file."""

    schema_version: Literal[3] = Field(alias="schema")
    method: str
    variant: str
    data: str
    profile: str
    seed: int

    _path: Path | None = None

    @property
    def label(self) -> str:
        return method_label(self.method, self.variant)

    @property
    def path(self) -> Path:
        """The file."""
        assert self._path is not None, "expected a result that was read or written"
        return self._path

    def at(self, path: Path) -> Self:
        """The same, of this file."""
        placed = self.model_copy()
        placed._path = path
        return placed


def method_label(method: str, variant: str) -> str:
    """'method', or 'method@variant'."""
    return f"{method}@{variant}" if variant else method


def to_json(content: Any) -> str:
    """A block, or several of them, as a file's text.

    Raises:
        ValueError: a number in what a block leaves open, such as a configuration, is not finite.
    """
    plain = to_jsonable_python(content, by_alias=True, exclude_none=True)
    return json.dumps(plain, indent=1, allow_nan=False) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Writes `to_json` in one step."""
    write_atomically(path, to_json(content))


def read_json(kind: type[Content], path: Path) -> Content:
    """What a file holds, checked.

    Args:
        kind: a block, or a tuple of blocks.
        path: the file.

    Raises:
        ValueError: it cannot be read, is not JSON, or not of this kind: one line that names the file, the key and what
            was expected there.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: expected to read it: {error.strerror}") from error
    content = from_json(kind, text, str(path))
    return content.at(path) if isinstance(content, Result) else content


def from_json(kind: type[Content], text: str | bytes, what: str) -> Content:
    """What a text holds, checked as `read_json` does; `what` is what the error names."""
    try:
        return TypeAdapter(kind).validate_json(text, strict=True)
    except ValidationError as error:
        raise ValueError(f"{what}: {_fault(kind, error)}") from error


def _fault(kind: Any, error: ValidationError) -> str:
    """The first thing that is wrong, and before all others the schema, then a key that is unknown."""
    faults = error.errors(include_url=False)
    of_schema = [fault for fault in faults if fault["loc"] == ("schema",)]
    unknown = [fault for fault in faults if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument")]
    missing = [".".join(map(str, fault["loc"])) for fault in faults if fault["type"] == "missing"]
    first = [*of_schema, *unknown, *faults][0]
    key, got = ".".join(map(str, first["loc"])), reprlib.repr(first["input"])
    if first in of_schema:
        other = f"got {got}: of another version of AdaVid; remove it and make it anew"
        return f"expected schema {SCHEMA}, {'got none' if first['type'] == 'missing' else other}"
    if first in unknown:
        return f"key '{key}' is unknown; {nearest(str(first['loc'][-1]), _keys(kind, first['loc']))}"
    if first["type"] == "missing":
        return f"expected the keys {', '.join(missing)}"
    expected = first["msg"].replace("Input should be", "expected").removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return expected.replace("Invalid JSON", "expected JSON")
    where = f"{key}: " if key else ""
    return f"{where}{expected}" + ("" if first["type"] == "value_error" else f", got {got}")


def _keys(kind: Any, place: Iterable[int | str]) -> list[str]:
    """The keys that are known where the last one of `place` stands."""
    *steps, _ = place
    for step in steps:
        kind = typing.get_args(kind)[0] if isinstance(step, int) else kind.model_fields[step].annotation
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return [field.alias or name for name, field in kind.model_fields.items()]
