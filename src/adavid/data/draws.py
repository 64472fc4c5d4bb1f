"""A fixed number of training's draws of each video, in files: decoded once, for all stages and runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from torch import Tensor

from adavid.digest import code_digest
from adavid.environment import versions
from adavid.store import Store

Frames = dict[str, Tensor]  # by view


class Draws:
    """A fixed number of draws of each video, each kept once it is read.

    Args:
        num: of each video.
        folder: for the files.
        store: opens one (see `Store`).
    """

    def __init__(self, num: int, folder: Path, store: Callable[[Path], Store] = Store) -> None:
        assert num > 0
        self.num = num
        self._folder, self._store = folder, store

    def of(self, what: str) -> KeptDraws:
        """The draws of some videos: `what` says all that their frames follow from, but for code and libraries."""
        made_by = (code_digest("adavid.data.dataset", beside=()), versions())
        name = hashlib.blake2b(repr((what, made_by)).encode(), digest_size=16).hexdigest()
        return KeptDraws(partial(self._store, self._folder / f"draws-{name}.sqlite"))


class KeptDraws:
    """Draws by name; see `Draws`. Of each process its own: the file is opened when it is first wanted."""

    def __init__(self, open_store: Callable[[], Store]) -> None:
        self._open = open_store
        self._store: Store | None = None

    def get(self, name: str, views: Collection[str], read: Callable[[], Frames]) -> Frames:
        """The frames of a draw, by view, as they were kept or as they are read now.

        Raises:
            ValueError: the file cannot be used; or as `read` does.
        """
        if self._store is None:
            self._store = self._open()
        keys = {view: f"{name} {view}".encode() for view in views}
        kept = self._store.recall(keys.values())
        if len(kept) == len(keys):
            return {view: kept[key] for view, key in keys.items()}
        frames = read()
        self._store.keep({keys[view]: clip for view, clip in frames.items()})
        return frames
