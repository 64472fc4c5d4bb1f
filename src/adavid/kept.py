"""What frozen networks say of pictures, kept while a stage trains: a picture that comes back is not looked at again.

It is kept in files, one for each network, for the stages and the runs that come after: those of all methods start from
the same pretrained networks, and draw the same crops.

N rows, CHW: channels, height, width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
import xxhash
from torch import Tensor, nn

from adavid.digest import code_digest
from adavid.environment import device_name, versions
from adavid.store import Store

ROWS = 16  # that a network is run on at once, always: what it says of one does not depend, in any bit, on its company
LIBRARIES = {"torch", "torchvision", "timm"}  # their modules are told by their version


class KeptFeatures:
    """The outputs of networks that do not learn, by network and by the bytes of the picture.

    A frozen network in evaluation mode is a function of each picture by itself, so that what it once said stands for
    good. Pictures come back where training draws crops from a fixed number (`recipe.draws`). Outputs larger than their
    picture are computed anew each time: to read them takes as long.

    Args:
        folder: for the files.
        store: opens one (see `Store`).

    Attributes:
        seen: the pictures that each network has been given in the stage, 16 bytes each. They are in its checkpoints.
    """

    def __init__(self, folder: Path, store: Callable[[Path], Store] = Store) -> None:
        self.seen: dict[str, set[bytes]] = {}
        self._folder, self._open = folder, store
        self._names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
        self._stores: dict[str, Store] = {}

    def takes(self, module: nn.Module, inputs: tuple[Any, ...]) -> bool:
        """Whether the module is frozen and is given pictures (N, 3, H, W), no gradient asked for, and only settings."""
        x, *settings = inputs
        if not isinstance(x, Tensor) or not all(isinstance(value, bool | int | str) for value in settings):
            return False
        is_frozen = not any(parameter.requires_grad for parameter in module.parameters())
        is_fixed = not any(part.training for part in module.modules())
        return x.ndim == 4 and x.shape[1] == 3 and not x.requires_grad and is_frozen and is_fixed

    def run(self, module: nn.Module, x_NCHW: Tensor, *settings: bool | int | str) -> tuple[Tensor, int]:
        """The module's outputs, one tensor with N rows, and how many of the pictures it was not given in this stage.

        Settings are handed on to the module: what it says under others is another matter.

        The number is the same whatever the files hold, and have room for.

        Raises:
            ValueError: a file cannot be used.
        """
        if not len(x_NCHW):
            return module(x_NCHW, *settings), 0
        if module not in self._names:
            self._names[module] = name = _identity(module, x_NCHW.device)
            self._stores[name] = self._open(self._folder / f"features-{name}.sqlite")
        name = self._names[module]
        keys = list(_keys(x_NCHW, *settings))
        outputs = self._stores[name].recall(set(keys))
        left = {key: n for n, key in enumerate(keys) if key not in outputs}  # the same picture twice runs once
        fresh = dict(zip(left, _in_sixteens(module, x_NCHW, list(left.values()), *settings), strict=True))
        if fresh and next(iter(fresh.values())).nbytes <= x_NCHW[0].nbytes:
            self._stores[name].keep(fresh)
        outputs |= fresh
        seen = self.seen.setdefault(name, set())
        num_new = len(set(keys) - seen)
        seen.update(keys)
        return torch.stack([outputs[key].to(x_NCHW.device) for key in keys]), num_new


def _in_sixteens(module: nn.Module, x_NCHW: Tensor, rows: list[int], *settings: bool | int | str) -> Iterator[Tensor]:
    """The module's outputs of some rows; where sixteen are not left, the last one stands in."""
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        with torch.no_grad():
            out_N = module(x_NCHW[some + some[-1:] * (ROWS - len(some))], *settings)
        assert isinstance(out_N, Tensor) and len(out_N) == ROWS, "expected one tensor, a row for each picture"
        yield from out_N[: len(some)]


def _identity(module: nn.Module, device: torch.device) -> str:
    """Of a network by its parts, their settings, code and weights, and of what it runs on."""
    code = {type(part).__module__ for part in module.modules()}
    own = sorted(name for name in code if name.partition(".")[0] not in LIBRARIES)
    made_by = (code_digest("adavid.kept", *own, beside=()), versions(), device_name(device))
    digest = hashlib.blake2b(repr((made_by, module)).encode(), digest_size=16)
    for name, value in chain(module.named_parameters(), module.named_buffers()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _keys(x_NCHW: Tensor, *settings: bool | int | str) -> Iterator[bytes]:
    """Of each picture, of its shape and of how a network computes on it."""
    device = x_NCHW.device.type
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x_NCHW.dtype
    lies_NHWC = x_NCHW.permute(0, 2, 3, 1)  # as the networks want it, read where it lies
    lying = lies_NHWC if lies_NHWC.is_contiguous() else x_NCHW.contiguous()
    context = f"{device} {precision} {tuple(lying.shape[1:])} {settings}\n".encode()
    for picture in lying.cpu():
        digest = xxhash.xxh3_128(context)  # as fast as memory is read, where hashlib's would take most of an epoch
        digest.update(picture.view(-1).view(torch.uint8).numpy())
        yield digest.digest()
