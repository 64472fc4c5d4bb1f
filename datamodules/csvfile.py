"""Any videos listed in a CSV file: DATA=csv:/path/file.csv."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adavid import SPLITS, FaultKind, VideoCatalogue, VideoRecord, list_folder, nearest, read_text

COLUMNS = ("path", "label", "labels", "split", "start", "end")


class CsvCatalogue(VideoCatalogue):
    """Videos listed in a CSV file with a header, in UTF-8.

    Columns: `path` (a video file or a folder of JPEG frames, relative to the CSV file or absolute); `label`
    (a class name), or `labels` (several, separated by ";"); `split` (train, val or test); and if need be
    `start` and `end`, in seconds after the first frame, either of which may be left empty.

    Args:
        path: the CSV file.
        **options: see `VideoCatalogue`.

    Raises:
        ValueError: something in the file is wrong; the message names the file, the line and the nearest right
            spelling.
    """

    def __init__(self, path: str, **options: Any):
        super().__init__(**options)
        self._file = Path(path)
        rows = self._rows(read_text(self._file))
        if not rows:
            raise ValueError(f"{self._file}: lists no videos")
        said = [(where, row, *of) for where, row in rows if (of := self._said(where, row)) is not None]
        splits = {split for *_, split in said}
        for split in ("train", "val"):
            if split not in splits:
                self.refuse(FaultKind.SPLIT, f"{self._file}: lists no video with the split {split!r}")
        self.class_names = sorted({name for *_, names, split in said if split == "train" for name in names})
        self._label_of = {name: k for k, name in enumerate(self.class_names)}
        made = [(where, self._record(where, row, names)) for where, row, names, _ in said]
        listed = [(where, record) for where, record in made if record is not None]
        self._records = [record for _, record in listed]
        if not self.skip_bad and self.faults is None:
            self._check_files([where for where, _ in listed])

    def records(self, split: str) -> list[VideoRecord]:
        return [record for record in self._records if record.split == split]

    def _rows(self, text: str) -> list[tuple[str, dict[str, str]]]:
        """Returns where each row stands, and its values by column."""
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows: list[tuple[str, dict[str, str]]] = []
        line = 1
        try:
            self._check_columns(reader.fieldnames or [])
            line = reader.line_num + 1
            for row in reader:
                rows.append((f"{self._file}, line {reader.line_num}", row))
                line = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"{self._file}, line {line}: {error}; is each quotation mark closed?") from error
        return rows

    def _said(self, where: str, row: dict[str, str]) -> tuple[list[str], str] | None:
        """A row's class names and its split."""
        try:
            return _labels(where, row), _split(where, row)
        except ValueError as error:
            self.refuse(FaultKind.ROW, str(error))
            return None

    def _check_columns(self, columns: Sequence[str]) -> None:
        for column in columns:
            if column not in COLUMNS:
                raise ValueError(f"{self._file}: unknown column {column!r}; {nearest(column, COLUMNS)}")
        if missing := {"path", "split"} - set(columns):
            raise ValueError(f"{self._file}: has no column {sorted(missing)[0]!r}, only {', '.join(columns)}")
        if ("label" in columns) == ("labels" in columns):
            raise ValueError(f"{self._file}: expected either a column 'label' or a column 'labels'")

    def _record(self, where: str, row: dict[str, str], names: list[str]) -> VideoRecord | None:
        for name in names:
            if name not in self._label_of:
                problem = f"{where}: class {name!r} has no video in train"
                self.refuse(FaultKind.LABEL, f"{problem}; {nearest(name, self.class_names)}")
                return None
        try:
            start, end = _seconds(where, row, "start"), _seconds(where, row, "end")
            if end is not None and (start or 0) >= end:
                raise ValueError(f"{where}: start={start or 0:g} must be before end={end:g}")
        except ValueError as error:
            self.refuse(FaultKind.ROW, str(error))
            return None
        video_id = row["path"]
        if start is not None or end is not None:
            video_id += f"@{row.get('start', '')}-{row.get('end', '')}"
        labels = tuple(sorted(self._label_of[name] for name in names))
        return VideoRecord(video_id, self._file.parent / row["path"], labels, row["split"], start, end)

    def _check_files(self, where: list[str]) -> None:
        missing = [(w, r.path) for w, r in zip(where, self._records, strict=True) if not os.path.exists(r.path)]
        if missing:
            line, path = missing[0]
            near = [other.name for other in list_folder(path.parent)] if os.path.isdir(path.parent) else []
            count = f" ({len(missing)} of {len(where)} are missing)" if len(missing) > 1 else ""
            raise ValueError(f"{line}: no file {path}{count}; {nearest(path.name, near)}")


def _labels(where: str, row: dict[str, str]) -> list[str]:
    """Returns the distinct class names of a row."""
    # csv puts missing values as None, and superfluous ones under the key None.
    if None in row or None in row.values():
        raise ValueError(f"{where}: has more or fewer values than the header has columns")
    names = row["labels"].split(";") if "labels" in row else [row["label"]]
    distinct = sorted({name.strip() for name in names} - {""})
    if not distinct:
        raise ValueError(f"{where}: has no label")
    return distinct


def _split(where: str, row: dict[str, str]) -> str:
    split = row["split"]
    if split not in SPLITS:
        raise ValueError(f"{where}: unknown split {split!r}; {nearest(split, SPLITS)}")
    return split


def _seconds(where: str, row: dict[str, str], column: str) -> float | None:
    text = row.get(column, "")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{where}: {column}={text!r}: expected seconds, 0 or more")
    return seconds
