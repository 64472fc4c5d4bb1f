"""Mini-Kinetics as in AR-Net (Meng et al., ECCV 2020), 200 classes of Kinetics-400, from AdaFuse's lists.

Papers report the validation split: top-1, clips mirrored in training (AR-Net, section 4.1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adavid import FaultKind, ListedCatalogue, Published, VideoRecord


class MiniKineticsCatalogue(ListedCatalogue):
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

    published = Published(200, {"train": 121_215, "val": 9_867})
    metric = "top1"

    def __init__(
        self,
        path: str,
        train_list: str = "mini_train_videofolder.txt",
        val_list: str = "mini_val_videofolder.txt",
        class_list: str = "minik_classInd.txt",
        **options: Any,
    ):
        super().__init__(**options)
        root = Path(path)
        self.class_names = [line.text.strip() for line in self.lines(root / class_list)]
        self._read(root, train_list, "train")
        self._read(root, val_list, "val")

    def _read(self, root: Path, name: str, split: str) -> None:
        expected = f"folder num_frames label with a label below {self.num_classes}"
        for line in self.lines(root / name):
            try:
                folder, _, number_of_class = line.text.rstrip().rsplit(" ", 2)
                label = int(number_of_class)
            except ValueError:
                self.malformed(line.where, expected, line.text)
                continue
            if not 0 <= label < self.num_classes:
                self.malformed(line.where, expected, line.text, FaultKind.LABEL)
                continue
            self.add(VideoRecord(folder, self.medium(line.where, f"{root}/{folder}"), (label,), split))
