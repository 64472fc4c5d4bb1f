"""A trained method in one file: its weights as safetensors, and in their header the record that says what they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from adavid.config import one_line
from adavid.evaluation.records import Record
from adavid.evaluation.schema import from_json, to_json
from adavid.files import write_atomically

SUFFIX = ".safetensors"
FORMAT = "1"  # of what stands in the header
KEYS = ("adavid", "record", "card", "sha256")


class Exported(NamedTuple):
    """What one file holds.

    Attributes:
        record: of the run's main evaluation: its configuration, numbers, classes.
        weights: by name.
        card: Markdown for people who meet the file.
        sha256: of the weights.
    """

    record: Record
    weights: Mapping[str, Tensor]
    card: str
    sha256: str


def sha256_of(weights: Mapping[str, Tensor]) -> str:
    """Of the weights' names, types, shapes and values, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def write_exported(file: Path, record: Record, weights: Mapping[str, Tensor], card: str) -> None:
    """Writes one file.

    Args:
        file: ends in `SUFFIX`.
        record: of the run's main evaluation.
        weights: the method's, as its `state_dict` names them.
        card: Markdown.
    """
    own = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}  # none shares memory
    values = (FORMAT, to_json(record), card, sha256_of(own))
    write_atomically(file, save(own, metadata=dict(zip(KEYS, values, strict=True))))


def read_exported(file: Path) -> Exported:
    """What a file holds, checked.

    Raises:
        ValueError: it cannot be read, is damaged, or is none that `make export` wrote; in one line that names it.
    """
    expected = "expected a file of make export"
    try:
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
            names = opened.keys()
            weights = {name: opened.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file}: {expected}: {one_line(error)}") from None
    if not header.keys() >= set(KEYS):
        raise ValueError(f"{file}: {expected}, got safetensors without {', '.join(sorted(set(KEYS) - header.keys()))}")
    if header["adavid"] != FORMAT:
        raise ValueError(f"{file}: expected format {FORMAT}, got {header['adavid']}: of another version of AdaVid")
    if sha256_of(weights) != header["sha256"]:
        raise ValueError(f"{file}: damaged: its weights are not those that it was written with")
    record = from_json(Record, header["record"], f"{file}: its record")
    return Exported(record, weights, header["card"], header["sha256"])
