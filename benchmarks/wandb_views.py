"""A workspace and a report on Weights & Biases of what the dashboard logs: `python -m benchmarks.wandb_views ENTITY`.

Needs the extra `wandb-views`, and a key. That the panels name what is logged is tested; how they look on W&B's server
has not been checked.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, Literal, NamedTuple

from benchmarks.dashboard import COST, LOSS, STEP, TRADEOFF


class Panel(NamedTuple):
    """A panel of a section.

    Attributes:
        kind: lines over training, a point for each run, or pictures.
        title: over it.
        keys: of the metrics, as they are logged, or of the summary; patterns where `is_pattern`.
        x: the axis.
    """

    kind: Literal["lines", "points", "pictures"]
    title: str
    keys: tuple[str, ...]
    x: str = STEP
    is_pattern: bool = False


SECTIONS: dict[str, tuple[Panel, ...]] = {
    "Accuracy and cost": (
        Panel("points", "mAP over GFLOPs a video, test", ("map",), "gflops_per_video"),
        Panel("lines", "mAP over GFLOPs a video as training goes on, val", (TRADEOFF,), COST),
    ),
    "Training": (
        Panel("lines", "Loss of all stages", (LOSS,)),
        Panel("lines", "mAP, val", ("val/map",)),
        Panel("lines", "GFLOPs a video, val", (COST,)),
        Panel("lines", "Usage, val", ("val/usage/.*",), is_pattern=True),
    ),
    "Decisions": (Panel("pictures", "Example videos", ("examples",)),),
}


def panel_of(panel: Panel, reports: Any) -> Any:
    """A panel as wandb-workspaces has it.

    Args:
        panel: one of `SECTIONS`.
        reports: the module `wandb_workspaces.reports.v2`.
    """
    if panel.kind == "pictures":
        return reports.MediaBrowser(title=panel.title, media_keys=list(panel.keys))
    if panel.kind == "points":
        return reports.ScatterPlot(title=panel.title, x=reports.SummaryMetric(panel.x), y=panel.keys[0])
    if panel.is_pattern:
        return reports.LinePlot(title=panel.title, x=panel.x, metric_regex=panel.keys[0])
    return reports.LinePlot(title=panel.title, x=panel.x, y=list(panel.keys))


def views(entity: str, project: str) -> tuple[Any, Any]:
    """The workspace and the report, not saved yet.

    Raises:
        ValueError: wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
    except ImportError:
        raise ValueError("wandb-workspaces is not installed: .venv/bin/pip install 'wandb-workspaces>=0.4'") from None
    panels = {name: [panel_of(panel, reports) for panel in of] for name, of in SECTIONS.items()}
    sections = [workspaces.Section(name=name, panels=of, is_open=True) for name, of in panels.items()]
    runset = reports.Runset(entity=entity, project=project)
    blocks = [
        block
        for name, of in panels.items()
        for block in (reports.H2(text=name), reports.PanelGrid(runsets=[runset], panels=of))
    ]
    title = "AdaVid: accuracy, cost and decisions"
    return (
        workspaces.Workspace(entity=entity, project=project, name="AdaVid", sections=sections),
        reports.Report(entity=entity, project=project, title=title, blocks=blocks),
    )


def main(words: list[str] | None = None) -> int:
    """Saves both; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wandb_views", description=__doc__)
    parser.add_argument("entity", help="a user or a team")
    parser.add_argument("project", nargs="?", default="adavid")
    arguments = parser.parse_args(words)
    try:
        for view in views(arguments.entity, arguments.project):
            view.save()
            print(view.url)
    except ValueError as error:
        print(f"adavid: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
