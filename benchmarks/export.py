"""A run's trained method in one file, which `adavid.load` takes, and a model card for people who meet it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adavid import ranks
from adavid.evaluation.records import MAIN, Record
from adavid.evaluation.schema import read_json
from adavid.exported import SUFFIX, sha256_of, write_exported
from adavid.files import write_atomically
from benchmarks.models import folder_of, last_stage, loaded
from benchmarks.run import Run
from benchmarks.workspace import Workspace

LICENCE = (
    "The weights are under the project's licence, Apache-2.0, as far as they are the project's. Networks that training "
    "started from keep their authors' licences, and so do the videos."
)


def export(run: Run, workspace: Workspace, into: Path) -> Path:
    """Writes `<label>-<data>-<profile>-seed<n>.safetensors`, then the same with .md, the card.

    Args:
        run: trained and evaluated.
        workspace: where it lies.
        into: folder of the files.

    Returns:
        the file.

    Raises:
        ValueError: the run is not trained or has no record.
    """
    assert ranks.is_first()
    folder = folder_of(run, workspace)
    words = f"METHOD={run.method}{f' VARIANT={run.variant}' if run.variant else ''} SEEDS={run.seed}"
    if not (folder / f"{MAIN}.json").exists() or not last_stage(run, folder).exists():
        raise ValueError(f"export: {run.label} is not trained and evaluated, seed {run.seed}: make bench {words} first")
    record = read_json(Record, folder / f"{MAIN}.json")
    weights = loaded(run, folder).state_dict()
    file = into / f"{run.label}-{run.data.replace('/', '-')}-{run.profile}-seed{run.seed}{SUFFIX}"
    card = model_card(record, sha256_of(weights), file.name)
    write_exported(file, record, weights, card)
    write_atomically(file.with_suffix(".md"), card)
    return file


def model_card(record: Record, sha256: str, file: str) -> str:
    """Markdown: what the file holds, how good and how dear it is, on which data, from what, and under which licence."""
    metrics, cost, data = record.metrics, record.cost, record.data_info
    low, high = metrics.map_interval
    is_pretrained = record.config.get("recipe", {}).get("pretrained", False)
    start = ", ".join(sorted(set(_networks(record.config["model"])))) if is_pretrained else ""
    gmacs = "not trained here" if record.training.gmacs is None else f"{record.training.gmacs:,.0f} GMACs"
    shares = zip(record.usage.names, record.usage.overall, strict=True)
    facts = {
        "method": f"{record.label} (`{record.config['target']}`)",
        "data": f"{record.data}, fingerprint {data.fingerprint}, {len(data.class_names)} classes",
        "profile, seed": f"{record.profile}, {record.seed}",
        "evaluated on": f"{data.num_videos:,} videos of the {record.split} split",
        "mAP": f"{100 * metrics.map:.2f} % ({100 * low:.2f} to {100 * high:.2f}, 95 % over videos)",
        "top-1": f"{100 * metrics.top1:.2f} %",
        "cost": f"{cost.gflops_per_video:.4g} GFLOPs a video (1 multiply-accumulate is 1 FLOP), "
        f"{record.frames.used:.1f} of {record.frames.num_frames} frames used",
        "decisions": ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares),
        "training": gmacs,
        "started from": start or "random weights",
        "configuration, model": f"{record.config_hash}, {record.model_hash}",
        "code": f"{record.code}, commit {record.git_revision}",
        "sha256 of the weights": sha256,
    }
    rows = [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(
        [
            f"# {record.label} on {record.data}, profile {record.profile}",
            "",
            "A trained method of AdaVid, which spends compute adaptively on a video. In a checkout of the project:",
            "",
            "    import adavid",
            f'    method = adavid.load("{file}")',
            '    score_1K, action_1T, macs_1 = method.classify("video.mp4")',
            "",
            "| | |",
            "|-|-|",
            *rows,
            "",
            f"Classes: {', '.join(data.class_names)}.",
            "",
            LICENCE,
            "",
            "It was trained and measured for comparing methods on this data set; it knows these classes alone.",
            "",
        ]
    )


def _networks(settings: Any) -> Iterator[str]:
    """The names of the pretrained networks among a method's arguments: of what has a name and a size."""
    if isinstance(settings, Mapping):
        if settings.keys() >= {"name", "size"}:
            yield str(settings["name"])
        for value in settings.values():
            yield from _networks(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _networks(value)
