"""Whether a copy of a data set is whole: one page that names everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adavid.data.catalogue import FaultKind
from adavid.data.survey import Finding, Survey, survey
from adavid.files import write_atomically
from benchmarks.compose import data_name, data_settings
from benchmarks.workspace import Workspace

NUM_NAMED = 5  # of each kind of problem


def check_data(data: str, profile: str, overrides: Sequence[str], workspace: Workspace) -> tuple[str, bool]:
    """Looks a data set over; the ids of the videos that are not there go to a file, one a line, which the page names.

    Args:
        data: a name of the data catalogue, or `folder:/path`, `csv:/path/file.csv`.
        profile: whose number of frames a video is to have.
        overrides: `section.key=value` words.
        workspace: in its cache lies the file.

    Returns:
        the page, and whether a training would start.

    Raises:
        ValueError: an unknown word, or a value out of range.
    """
    settings = data_settings(data, profile, overrides, workspace.shown_cache)
    title = f"{data}, profile {profile}"
    try:
        found = survey(settings.catalogue_class.surveyed(**settings.arguments), settings.num_frames)
    except ValueError as error:  # nothing can be said of the rest
        return "\n".join([title, "", *_shown(Finding(FaultKind.LIST, (str(error),), True))]), False
    file = workspace.cache / "check-data" / f"{data_name(data)}-missing.txt"
    file.unlink(missing_ok=True)
    if found.missing:
        write_atomically(file, "".join(f"{video_id}\n" for video_id in found.missing))
    return page(title, found, file), found.is_trainable


def page(title: str, found: Survey, missing_file: Path) -> str:
    """What was found, for reading."""
    classes = "" if found.published_classes is None else f" of {found.published_classes} published"
    lines = [title, "", f"classes: {found.num_classes:,}{classes}"]
    for count in found.counts:
        published = "" if count.published is None else f" of {count.published:,} published"
        lines.append(f"{count.split}: {count.num_videos:,} videos{published}, of {count.num_classes:,} classes")
    if found.left_out:
        lines.append(f"left out: {found.left_out}")
    for finding in found.findings:
        lines += ["", *_shown(finding)]
    if found.missing:
        lines += ["", f"the ids of all that are missing: {missing_file}"]
    verdict = "a training would start" if found.is_trainable else "a training would not start"
    ending = [finding.kind for finding in found.findings if finding.ends_training]
    lines += ["", verdict + (f": {', '.join(ending)}" if ending else "")]
    return "\n".join(lines)


def _shown(finding: Finding) -> list[str]:
    num = len(finding.names)
    more = [f"    and {num - NUM_NAMED:,} more"] if num > NUM_NAMED else []
    effect = "ends a training" if finding.ends_training else "ends no training"
    effect += f" without {finding.remedy}" if finding.ends_training and finding.remedy else ""
    return [f"{finding.kind}: {num:,} ({effect})", *(f"    {name}" for name in finding.names[:NUM_NAMED]), *more]
