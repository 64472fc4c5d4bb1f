"""Videos: where frames come from, which are read, what is done to them, and how they become batches."""

from adavid.data.datamodule import VideoBatch, VideoDataModule, VideoRecord, View
from adavid.data.sources import FrameSource, open_source
from adavid.data.transforms import cut_patches, normalize, resize_frames

__all__ = [
    "FrameSource",
    "VideoBatch",
    "VideoDataModule",
    "VideoRecord",
    "View",
    "cut_patches",
    "normalize",
    "open_source",
    "resize_frames",
]
