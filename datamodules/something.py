"""Something-Something, versions 1 and 2: 174 classes of what hands do with objects, from the official lists."""

import json
from pathlib import Path
from typing import Any, Literal

from adavid import VideoCatalogue, VideoRecord, media_by_name, nearest, read_text

SPLITS = {"train": "train", "val": "validation"}


class SomethingCatalogue(VideoCatalogue):
    """Clips of a few seconds with one label each; val is reported.

    Many classes differ in left and right alone ("Pushing something from left to right"), so clips are never mirrored.

    Args:
        path: the folder with the lists and the videos: `something-something-v2-{labels,train,validation}.json` and
            `20bn-something-something-v2/<id>.webm`, or `something-something-v1-{labels,train,validation}.csv` and
            `20bn-something-something-v1/<id>/`, folders of JPEG frames; either may be files or folders.
        version: of the data set.
        videos: the folder of the videos, where it is another one.
        **options: see `VideoCatalogue`.

    Raises:
        ValueError: a list is missing or malformed, or clips are to be mirrored; the message names it.
    """

    def __init__(self, path: str, version: Literal["v1", "v2"] = "v2", videos: str = "", **options: Any):
        if options.setdefault("flip", False):
            raise ValueError("flip: Something-Something tells left from right, expected false")
        super().__init__(**options)
        self._prefix = Path(path) / f"something-something-{version}"
        self._suffix = {"v1": "csv", "v2": "json"}[version]
        folder = Path(videos) if videos else Path(path) / f"20bn-something-something-{version}"
        self._media, self._folder = media_by_name(folder), folder
        self.class_names = sorted(self._labels())
        self._records = [record for split in SPLITS for record in self._read(split)]

    def records(self, split: str) -> list[VideoRecord]:
        return [record for record in self._records if record.split == split]

    def _list(self, name: str) -> Path:
        return Path(f"{self._prefix}-{name}.{self._suffix}")

    def _labels(self) -> list[str]:
        path = self._list("labels")
        if self._suffix == "csv":
            return [line.strip() for line in read_text(path).splitlines() if line.strip()]
        return list(_json(path, dict))

    def _read(self, split: str) -> list[VideoRecord]:
        path = self._list(SPLITS[split])
        rows: list[tuple[Any, Any]]
        label_of = {name: k for k, name in enumerate(self.class_names)}
        if self._suffix == "csv":
            rows = [line.partition(";")[::2] for line in read_text(path).splitlines() if line]
        else:
            content = (row if isinstance(row, dict) else {} for row in _json(path, list))
            rows = [(row.get("id"), row.get("template")) for row in content]
        records = []
        for number, (video_id, template) in enumerate(rows, start=1):
            where = f"{path}, video {number}"
            if not isinstance(video_id, str) or not isinstance(template, str) or not video_id:
                raise ValueError(f"{where}: expected its id and its class, got {video_id!r} and {template!r}")
            label = template.replace("[", "").replace("]", "")  # which the classes' names leave out
            if label not in label_of:
                raise ValueError(f"{where}: class {label!r} is unknown; {nearest(label, label_of)}")
            video = self._media.get(video_id, self._folder / video_id)
            records.append(VideoRecord(video_id, video, (label_of[label],), split))
        return records


def _json(path: Path, kind: type) -> Any:
    text = read_text(path)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON: {error}") from None
    if not isinstance(content, kind):
        raise ValueError(f"{path}: expected a JSON {'object' if kind is dict else 'array'}")
    return content
