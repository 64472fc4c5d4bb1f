"""What frozen networks say of pictures, kept while a stage trains: a picture that comes back is not looked at again.

N rows, CHW: channels, height, width.
"""

from __future__ import annotations

import hashlib
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

MAX_BYTES = 4 << 30  # of outputs; once they are kept, further ones are computed whenever they are asked for


class KeptFeatures:
    """The outputs of networks that do not learn, by network and by the bytes of the picture.

    A frozen network in evaluation mode is a function of each picture by itself, so that what it once said stands for
    the rest of the stage. Pictures come back where training draws crops from a fixed number (`recipe.draws`).

    Args:
        max_bytes: that outputs may take.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._outputs: WeakKeyDictionary[nn.Module, dict[bytes, Tensor]] = WeakKeyDictionary()
        self._bytes_left = max_bytes

    def takes(self, module: nn.Module, inputs: tuple[Any, ...]) -> bool:
        """Whether the module is frozen and is given pictures (N, 3, H, W), no gradient asked for."""
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            return False
        x = inputs[0]
        is_frozen = not any(parameter.requires_grad for parameter in module.parameters())
        is_fixed = not any(part.training for part in module.modules())
        return x.ndim == 4 and x.shape[1] == 3 and not x.requires_grad and is_frozen and is_fixed

    def run(self, module: nn.Module, x_NCHW: Tensor) -> tuple[Tensor, int]:
        """The module's outputs, one tensor with N rows, and for how many rows it had to run."""
        known = self._outputs.setdefault(module, {})
        keys = [hashlib.blake2b(row, digest_size=16).digest() for row in x_NCHW.cpu().contiguous().numpy()]
        new = {key: n for n, key in enumerate(keys) if key not in known}  # the same picture twice runs once
        fresh: dict[bytes, Tensor] = {}
        if new or not keys:
            rows = torch.tensor(list(new.values()), dtype=torch.long, device=x_NCHW.device)
            with torch.no_grad():
                out_N = module(x_NCHW[rows])
            if not keys:
                return out_N, 0
            fresh = dict(zip(new, out_N, strict=True))
        for key, row in fresh.items():
            if row.nbytes <= self._bytes_left:
                known[key] = row.cpu().clone()
                self._bytes_left -= row.nbytes
        return torch.stack([fresh[key] if key in fresh else known[key].to(x_NCHW.device) for key in keys]), len(new)
