"""By class, how closely and how often frames are seen (AR-Net, supplementary Figure 1 b and c).

K classes, A kinds of action.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from adavid.actions import is_close
from benchmarks.report.entries import Entry

CLOSE, SEEN = "at full size, of those seen", "seen, of all frames"


def ratios_by_class(entry: Entry) -> pd.DataFrame:
    """The two ratios of each class that has videos, fractions; seeds averaged, the highest `CLOSE` first.

    A class none of whose frames are seen has 0 in both.
    """
    usage = entry.first.usage
    is_seen_A = np.array([action.size > 0 for action in usage.actions])
    is_close_A = np.asarray(is_close(usage.actions))
    names = [name for name in entry.first.data_info.class_names if _has_videos(entry, name)]
    share_KA = np.array([np.mean([record.usage.by_class[name] for record in entry.main], axis=0) for name in names])
    seen_K, close_K = (share_KA[:, is_it_A].sum(axis=1) for is_it_A in (is_seen_A, is_close_A))
    table = pd.DataFrame({"class": names, CLOSE: close_K / np.where(seen_K > 0, seen_K, 1.0), SEEN: seen_K})
    return table.sort_values([CLOSE, SEEN, "class"], ascending=[False, False, True], ignore_index=True)


def _has_videos(entry: Entry, name: str) -> bool:
    return all(name in record.usage.by_class for record in entry.main)
