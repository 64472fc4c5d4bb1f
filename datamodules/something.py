"""Something-Something (Goyal et al., ICCV 2017), versions 1 and 2: 174 classes of what hands do with objects.

From the official lists. The labels of the test list are not public, so papers report the validation list: top-1.
Classes differ in left and right, so clips are not mirrored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from adavid import FaultKind, ListedCatalogue, Published, VideoRecord

LISTS = {"train": "train", "val": "validation"}
PUBLISHED = {
    "v1": Published(174, {"train": 86_017, "val": 11_522}),
    "v2": Published(174, {"train": 168_913, "val": 24_777}),
}


class SomethingCatalogue(ListedCatalogue):
    """Clips of a few seconds with one label each; val is reported.

    Many classes differ in left and right alone ("Pushing something from left to right"), so clips are never mirrored.
    Version 2's classes have the numbers that its list gives them, version 1's, which has none, those of the alphabet.

    Args:
        path: the folder with the lists and the videos: `something-something-v2-{labels,train,validation}.json` and
            `20bn-something-something-v2/<id>.webm`, or `something-something-v1-{labels,train,validation}.csv` and
            `20bn-something-something-v1/<id>/`, folders of JPEG frames; either may be files or folders. Version 2's
            lists may be `labels/{labels,train,validation}.json`, as its present publisher packs them.
        version: of the data set.
        videos: the folder of the videos, where it is another one.
        **options: see `VideoCatalogue`.

    Raises:
        ValueError: a list is missing or malformed, or clips are to be mirrored; the message names it.
    """

    metric = "top1"

    def __init__(self, path: str, version: Literal["v1", "v2"] = "v2", videos: str = "", **options: Any):
        if options.setdefault("flip", False):
            raise ValueError("flip: Something-Something tells left from right, expected false")
        super().__init__(**options)
        self.published = PUBLISHED[version]
        self._prefix = Path(path) / f"something-something-{version}"
        self._folder = self.folder(Path(videos) if videos else Path(path) / f"20bn-something-something-{version}")
        read = self._read_csv if version == "v1" else self._read_json
        read()

    def _list(self, name: str, suffix: str) -> Path:
        """The list as the first release calls it, or as the second one does."""
        first, second = Path(f"{self._prefix}-{name}.{suffix}"), self._prefix.parent / "labels" / f"{name}.{suffix}"
        return second if second.exists() and not first.exists() else first

    def _read_csv(self) -> None:
        """Version 1: lines `<class>`, and `<id>;<class>`."""
        self.class_names = sorted(line.text.strip() for line in self.lines(self._list("labels", "csv")))
        for split, name in LISTS.items():
            for line in self.lines(self._list(name, "csv")):
                video_id, _, label = line.text.strip().partition(";")
                self._add(line.where, video_id, label, split)

    def _read_json(self) -> None:
        """Version 2: {class: "number"}, and [{"id", "template"}, ...]."""
        path = self._list("labels", "json")
        numbers = self.json(path, dict)
        if sorted(map(str, numbers.values()), key=_number) != [str(k) for k in range(len(numbers))]:
            self.malformed(str(path), f"the numbers 0 to {len(numbers) - 1}, one a class", list(numbers.values())[:3])
        self.class_names = sorted(numbers, key=lambda name: _number(numbers[name]))
        for split, name in LISTS.items():
            path = self._list(name, "json")
            for number, row in enumerate(self.json(path, list), start=1):
                said = row if isinstance(row, dict) else {}
                self._add(f"{path}, video {number}", said.get("id"), said.get("template"), split)

    def _add(self, where: str, video_id: Any, template: Any, split: str) -> None:
        if not isinstance(video_id, str) or not isinstance(template, str) or not video_id:
            self.refuse(
                FaultKind.ROW,
                f"{where}: expected its id and its class, got {video_id!r} and {template!r}",
            )
            return
        number = self.label_of(template.replace("[", "").replace("]", ""), where)  # which the classes' names leave out
        if number is not None:
            medium = self.medium(where, f"{self._folder}/{video_id}")
            self.add(VideoRecord(video_id, medium, (number,), split))


def _number(text: Any) -> int:
    return int(text) if str(text).isdigit() else -1
