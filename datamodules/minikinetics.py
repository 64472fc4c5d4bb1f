"""Mini-Kinetics as in AR-Net (Meng et al., ECCV 2020), 200 classes of Kinetics-400, from AdaFuse's lists."""

from pathlib import Path
from typing import Any

from adavid import VideoCatalogue, VideoRecord, media_by_name, read_text


class MiniKineticsCatalogue(VideoCatalogue):
    """Clips of about ten seconds with one label each; val is reported.

    A list has lines `folder num_frames label`, with spaces in the folder's name; the number of frames is not
    used. Not the same classes as the Mini-Kinetics of Xie et al. (2018), which goes by the same name.

    Args:
        path: the folder that the others, and the lists' folders, are relative to; in place of a folder of
            JPEG frames there may be a video file of its name.
        train_list: the list of training videos.
        val_list: the list of validation videos.
        class_list: the names of the classes, one a line.
        **options: see `VideoCatalogue`; many videos have gone from the web, so `skip_bad` is likely to be
            needed.

    Raises:
        ValueError: a list is missing or a line malformed; the message names it.
    """

    def __init__(
        self,
        path: str,
        train_list: str = "mini_train_videofolder.txt",
        val_list: str = "mini_val_videofolder.txt",
        class_list: str = "minik_classInd.txt",
        **options: Any,
    ):
        super().__init__(**options)
        self._root = Path(path)
        texts = {name: read_text(self._root / name) for name in (train_list, val_list, class_list)}
        self.class_names = [name.strip() for name in texts[class_list].split("\n") if name.strip()]
        self._records = [
            *self._read(train_list, texts[train_list], "train"),
            *self._read(val_list, texts[val_list], "val"),
        ]

    def records(self, split: str) -> list[VideoRecord]:
        return [record for record in self._records if record.split == split]

    def _read(self, name: str, text: str, split: str) -> list[VideoRecord]:
        records = []
        media: dict[Path, dict[str, Path]] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                folder, _, number_of_class = line.rsplit(" ", 2)
                label = int(number_of_class)
            except ValueError:
                label = -1
            if not 0 <= label < self.num_classes:
                expected = f"folder num_frames label with a label below {self.num_classes}"
                raise ValueError(f"{self._root / name}, line {number}: expected {expected}, got {line!r}")
            path = self._root / folder
            if path.parent not in media:
                media[path.parent] = media_by_name(path.parent)
            records.append(VideoRecord(folder, media[path.parent].get(path.name, path), (label,), split))
        return records
