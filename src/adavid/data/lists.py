"""The lists that data sets are published with: lines that know where they stand, labels by name, media by name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from adavid.config import nearest
from adavid.data.catalogue import SPLITS, FaultKind, VideoCatalogue, VideoRecord
from adavid.data.sources import list_media, medium_name
from adavid.files import read_text


class Line(NamedTuple):
    """A line of a list that holds something."""

    path: Path
    number: int
    text: str

    @property
    def where(self) -> str:
        """For the beginning of a message."""
        return f"{self.path}, line {self.number}"


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a list in order, blank ones passed over; byte order marks and Windows' line ends are no content.

    Raises:
        ValueError: it cannot be read, or is no text; the message names it and the line.
    """
    for number, text in enumerate(read_text(path).split("\n"), start=1):
        if text and not text.isspace():
            yield Line(path, number, text)


def read_json_list(path: Path, kind: type) -> Any:
    """What a JSON file holds, of the kind that is expected: `dict` or `list`.

    Raises:
        ValueError: it cannot be read, or holds something else; the message names it.
    """
    text = read_text(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON: {error}") from None
    if not isinstance(content, kind):
        raise ValueError(f"{path}: expected a JSON {'object' if kind is dict else 'array'}")
    return content


class ListedCatalogue(VideoCatalogue):
    """A data set that lists describe. A subclass reads them as it is made, with the tools here, and adds records.

    What is wrong with a row ends the reading, in one line that names the list and the line, unless the data set is only
    looked over (`VideoCatalogue.surveyed`): then the row is left out.
    """

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.listed: dict[str, list[VideoRecord]] = {split: [] for split in SPLITS}
        self._media: dict[str, dict[str, Path]] = {}  # by folder and name
        self._others: dict[Path, Path] = {}  # of the same name, by the first one
        self._nearest: dict[str, str] = {}

    def records(self, split: str) -> Sequence[VideoRecord]:
        return self.listed[split]

    def unlisted(self) -> Iterator[Path]:
        used = {record.path for records in self.listed.values() for record in records}
        above = {place for folder in self._media for place in (Path(folder), *Path(folder).parents)}
        for by_name in self._media.values():
            yield from (path for path in by_name.values() if path not in used and path not in above)

    def add(self, record: VideoRecord) -> None:
        """One more video."""
        self.listed[record.split].append(record)

    def lines(self, path: Path) -> Iterator[Line]:
        """See `read_lines`."""
        try:
            yield from read_lines(path)
        except ValueError as error:
            self.refuse(FaultKind.LIST, str(error))

    def json(self, path: Path, kind: type) -> Any:
        """See `read_json_list`."""
        try:
            return read_json_list(path, kind)
        except ValueError as error:
            self.refuse(FaultKind.LIST, str(error))
            return kind()

    def malformed(self, where: str, expected: str, found: object, kind: FaultKind = FaultKind.ROW) -> None:
        """Refuses a row that is not written as the list's rows are."""
        self.refuse(kind, f"{where}: expected {expected}, got {found!r}")

    def label_of(self, name: str, where: str) -> int | None:
        """The number of a class; None where there is no such class, which has been refused with the nearest name."""
        label = self._label_by_name.get(name)
        if label is None:
            if name not in self._nearest:  # slow, and a wrong list says the same names again and again
                self._nearest[name] = nearest(name, self.class_names)
            self.refuse(FaultKind.LABEL, f"{where}: class {name!r} is unknown; {self._nearest[name]}")
        return label

    @cached_property
    def _label_by_name(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.class_names)}

    def folder(self, path: Path) -> Path:
        """A folder that has to be there."""
        if not os.path.isdir(path):
            self.refuse(FaultKind.FOLDER, f"{path}: no such folder")
        return path

    def medium(self, where: str, *names: Path | str) -> Path:
        """The video file or the folder of frames that has one of these names; the first of them if none has.

        Args:
            where: what asks for it, for a message.
            names: paths without suffix, the likeliest first. Each folder is listed once.
        """
        found = []
        for name in names:
            folder, own_name = os.path.split(name)
            medium = self._media_in(folder).get(own_name)
            if medium is not None:
                found.append(medium)
        if self._others and found and found[0] in self._others:
            found.append(self._others[found[0]])
        if len(found) > 1:
            self.refuse(FaultKind.NAME, f"{where}: expected one video, found {found[0]} and {found[1]}")
        return found[0] if found else Path(names[0])

    def _media_in(self, folder: str) -> dict[str, Path]:
        if folder not in self._media:
            by_name: dict[str, Path] = {}
            for path in list_media(Path(folder)) if os.path.isdir(folder) else []:
                first = by_name.setdefault(medium_name(path), path)
                if first is not path:
                    self._others[first] = path
            self._media[folder] = by_name
        return self._media[folder]
