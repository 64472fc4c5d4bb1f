"""What every data set of the catalogue says of itself."""

import sys

import pytest

from adavid.config import locate
from adavid.data.catalogue import SPLITS, VideoCatalogue
from benchmarks.layers import catalogue, data_file

OWN = {"csv", "folder", "sprites"}  # a user's own, and this project's


@pytest.mark.parametrize("kind", catalogue("datamodules"))
def test_a_data_set_says_where_it_is_from_how_large_it_is_and_what_papers_print(kind: str) -> None:
    described = locate(data_file(kind).content.target)
    assert issubclass(described, VideoCatalogue) and described.metric in ("map", "top1")
    assert described.faults is None  # collected by those alone that are looked over
    if described.published is not None:
        splits = [split for name in described.published.num_videos for split in name.split("+")]
        assert len(set(splits)) == len(splits) and set(splits) <= set(SPLITS) and kind not in OWN
        header = sys.modules[described.__module__].__doc__
        assert header is not None and any(str(year) in header for year in range(2010, 2027)), "no citation"
