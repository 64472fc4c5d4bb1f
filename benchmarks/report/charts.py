"""The page's charts, as Altair specifications with explicit names: the same input gives the same bytes.

Text and background colours are left to the embedding page, which knows whether it is light or dark.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from adavid.actions import Action
from benchmarks.report.formats import pm
from benchmarks.report.tables import each, pareto_front

PALETTE = (
    "#4c78a8", "#f58518", "#54a24b", "#e45756", "#b279a2", "#2fa5a0", "#9d755d", "#d6a20f", "#ff8fa3", "#6b6ecf",
    "#1f4e79", "#a65628", "#1b7837", "#8c1d40", "#762a83", "#0b6e6e", "#7a8b1e", "#c2185b", "#5aa9e6", "#8bc34a",
)  # fmt: skip
NEUTRAL = "#8a919e"
ACCENT = "#3b7ddd"
MEAN = "#f2b134"
SEEN = ("#1b4f8f", "#3579c4", "#64a3df", "#a3cbef", "#cfe3f7")  # from the largest picture down
UNSEEN = ("#f2c14e", "#e9a13b", "#d97a34", "#b9532f", "#8f3526")  # from the shortest skip up
PNG_WIDTH = 860
PLACES: tuple[tuple[Literal["left", "right"], int, int], ...] = (
    *(("left", 10, -11), ("left", 10, 13), ("right", -10, -11), ("right", -10, 13)),
    *(("left", 12, 1), ("right", -12, 1), ("left", 10, -26), ("left", 10, 28)),
)  # of a label around its point: alignment, offset in pixels; the first that is free is taken


def tradeoff(points: pd.DataFrame, baseline: str, line: Sequence[tuple[float, float]]) -> alt.TopLevelMixin:
    """mAP over GFLOPs per video of one data set: points with intervals, curves, equal-cost line, front.

    Variants are small points of their method's colour. A curve joins the points of a series that none of the same
    series is both cheaper and better than.

    Args:
        points: `tables.curve_points`.
        baseline: the method that is drawn in grey.
        line: what is attained at equal cost, as (GFLOPs per video, mAP), by rising cost.
    """
    is_own = (points.variant == "") | ~points.method.isin(points.method[points.variant == ""])
    points = points.assign(is_own=is_own, family=points.series.where(is_own, points.method))
    points = points[points.is_own | (points.kind != "shuffled")]
    main, curve = points[points.is_own & (points.kind == "test")], points[points.kind != "shuffled"]
    names = sorted(points.family.unique(), key=lambda name: (name != baseline, name))
    of_others = itertools.cycle(PALETTE)
    colour = _colour("family", names, [NEUTRAL if name == baseline else next(of_others) for name in names])
    pick = alt.selection_point(name="pick", fields=["family"], bind="legend")
    shown = alt.condition(pick, alt.value(1.0), alt.value(0.12))
    x = _cost_axis()
    y = alt.Y("map:Q", title="mAP (%)", scale=alt.Scale(zero=False, padding=18))
    tooltip = _tooltips(
        ("series", "method", None), ("point", "point", None), ("operating_point", "operating point", None),
        ("map", "mAP %", ".2f"), ("map_std", "std over seeds", ".2f"), ("gflops_per_video", "GFLOPs/video", ".4~g"),
        ("gflops_per_frame", "GFLOPs/frame", ".4~g"), ("frames_used", "frames used", ".2f"),
        ("num_seeds", "seeds", None),
    )  # fmt: skip
    bounds = _tooltips(("map_low", "95 % from", ".2f"), ("map_high", "95 % to", ".2f"))
    several = curve[curve.groupby("series")["series"].transform("size") > 1]
    joined = [pareto_front(of) for series, of in several[several.method != baseline].groupby("series")]
    lines = pd.concat([several.head(0), *joined])
    plain = dict(opacity=shown, color=colour)

    layers = [
        _front(front_of(points), x, y),
        _line(_sampled(line), x, y, name="line", strokeWidth=2.5, color=NEUTRAL, opacity=0.6),
        _base(lines, "lines").mark_line(strokeWidth=1.8).encode(x=x, y=y, detail="series:N", **plain),
        _base(curve.drop(main.index), "curve").mark_point(filled=True, size=28).encode(x, y, tooltip=tooltip, **plain),
        _base(points[points.kind == "shuffled"], "shuffled")
        .mark_point(shape="cross", size=70, strokeWidth=1.6)
        .encode(x, y, tooltip=tooltip, **plain),
        _base(main, "intervals").mark_rule(strokeWidth=1.6).encode(x=x, y=alt.Y("map_low:Q"), y2="map_high:Q", **plain),
        _base(main, "main")
        .mark_point(filled=True, size=130, stroke="white", strokeWidth=1)
        .encode(x, y, tooltip=[*tooltip, *bounds], **plain)
        .add_params(pick),
        *_labels(main, "series", x, y, "map", plain, points),
    ]
    return _finish(layers, height=420)


def front_of(points: pd.DataFrame) -> pd.DataFrame:
    """The Pareto front over main and curve points; shuffled controls are no competitors."""
    return pareto_front(points[points.kind != "shuffled"])[["gflops_per_video", "map"]]


def _sampled(line: Sequence[tuple[float, float]]) -> pd.DataFrame:
    """Points along a line: what is straight in GFLOPs bends on a logarithmic axis."""
    costs = [a + (b - a) * step / 12 for (a, _), (b, _) in zip(line, line[1:], strict=False) for step in range(13)]
    ends, maps = [cost for cost, _ in line], [value for _, value in line]
    return pd.DataFrame({"gflops_per_video": costs, "map": np.interp(costs, ends, maps) if costs else []})


def reported(rows: pd.DataFrame) -> alt.TopLevelMixin:
    """The papers' scores over their costs on one data set; pointing at a method shows all of its rows."""
    value = "map" if rows["map"].notna().any() else "top1"
    rows = rows.dropna(subset=["gflops_per_video", value]).sort_values(["method", "gflops_per_video", "variant"])
    rows = rows[["method", "variant", "backbone", "num_frames", value, "gflops_per_video", "source", "note"]]
    hover = alt.selection_point(
        name="hover", fields=["method"], on="pointerover", clear="pointerout", nearest=True, empty=False
    )
    title = {"map": "mAP (%)", "top1": "top-1 (%)"}[value]
    x, y = _cost_axis(), alt.Y(f"{value}:Q", title=title, scale=alt.Scale(zero=False, padding=18))
    tooltip = _tooltips(
        ("method", "method", None), ("variant", "variant", None), ("backbone", "backbone", None),
        ("num_frames", "frames", None), (value, title, ".1f"), ("gflops_per_video", "GFLOPs/video", ".4~g"),
        ("source", "source", None), ("note", "note", None),
    )  # fmt: skip
    front = pareto_front(rows, value)
    marked = alt.condition(hover, alt.value("#e4572e"), alt.value(ACCENT))
    layers = [
        _front(front[["gflops_per_video", value]], x, y),
        _base(rows, "others")
        .mark_point(filled=True, stroke="white", strokeWidth=0.8)
        .encode(
            x, y, tooltip=tooltip, color=marked,
            opacity=alt.condition(hover, alt.value(1.0), alt.value(0.65)),
            size=alt.condition(hover, alt.value(150), alt.value(80)),
        )
        .add_params(hover),
        _base(rows, "named")
        .transform_filter(hover)
        .mark_text(align="left", dx=9, dy=-8, fontSize=11, color="#e4572e")
        .encode(x, y, text="variant:N"),
        *_labels(front, "method", x, y, value, {"color": alt.value(NEUTRAL)}, rows),
    ]  # fmt: skip
    return _finish(layers, height=420)


def usage_chart(shares: pd.DataFrame, colours: Mapping[str, str]) -> alt.Chart:
    """Stacked bars of the actions' shares of the frames.

    Args:
        shares: columns row, action, share (a fraction), order (of the action), optionally detail (tooltip).
            Rows are drawn in order of appearance.
        colours: by action.
    """
    rows = list(dict.fromkeys(shares.row))
    extra = [alt.Tooltip("detail:N", title="")] if "detail" in shares else []
    chart = (
        _base(shares, "usage")
        .mark_bar(stroke="white", strokeWidth=0.4)
        .encode(
            x=alt.X(
                "share:Q",
                title="share of frames",
                axis=alt.Axis(format="%", tickCount=5),
                scale=alt.Scale(domain=[0, 1]),
            ),
            y=alt.Y("row:N", title=None, sort=rows, axis=alt.Axis(labelLimit=220)),
            color=_colour("action", list(colours), list(colours.values()), title="action"),
            order=alt.Order("order:Q"),
            tooltip=[
                alt.Tooltip("row:N", title=""),
                alt.Tooltip("action:N", title="action"),
                alt.Tooltip("share:Q", title="share of frames", format=".1%"),
                *extra,
            ],
        )
    )
    return chart.properties(width="container", height=alt.Step(24))


def heat(cells: pd.DataFrame) -> alt.Chart:
    """Where in the frame the patches lie: a square for each cell, as dark as it has patches.

    Args:
        cells: columns row and column, from the top left, and share (a fraction of the patches).
    """
    side = int(cells.row.max()) + 1
    axis = alt.Axis(labels=False, ticks=False, domain=False, grid=False)
    return (
        _base(cells, "heat")
        .mark_rect(cornerRadius=2, stroke="white", strokeWidth=1)
        .encode(
            x=alt.X("column:O", title=None, axis=axis),
            y=alt.Y("row:O", title=None, axis=axis),
            color=alt.Color(
                "share:Q",
                title="share of patches",
                scale=alt.Scale(scheme="blues", domainMin=0),
                legend=alt.Legend(format=".0%", gradientLength=160),
            ),
            tooltip=[
                alt.Tooltip("row:O", title="row from the top"),
                alt.Tooltip("column:O", title="column from the left"),
                alt.Tooltip("share:Q", title="share of patches", format=".2%"),
            ],
        )
        .properties(width=alt.Step(210 / side), height=alt.Step(210 / side))
    )


def online_close(points: pd.DataFrame) -> alt.TopLevelMixin:
    """Top-1 over GFLOPs of stopping at the K-th frame seen closely.

    Args:
        points: `tables.mean_online_points` of the axis "close".
    """
    x = alt.X("gflops:Q", title="GFLOPs per video", axis=alt.Axis(format="~g", tickCount=8))
    return _online(points, x, _online_score(), ("value", "K", None), height=340)


def online_watched(points: pd.DataFrame, value: Literal["top1", "gflops"]) -> alt.TopLevelMixin:
    """Top-1 or GFLOPs over the share of the video that has been watched.

    Args:
        points: `tables.mean_online_points` of the axis "watched".
        value: what is drawn.
    """
    scale = alt.Scale(padding=12, nice=False)
    x = alt.X("value:Q", title="share of the video watched", axis=alt.Axis(format="%", tickCount=5), scale=scale)
    cost = alt.Y("gflops:Q", title="GFLOPs per video", axis=alt.Axis(format="~g"))
    y = cost if value == "gflops" else _online_score()
    return _online(points, x, y, ("value", "watched", ".1%"), height=260)


def _online_score() -> alt.Y:
    return alt.Y("top1:Q", title="top-1 (%)", scale=alt.Scale(zero=False, padding=12))


def _online(
    points: pd.DataFrame, x: alt.X, y: alt.Y, until: tuple[str, str, str | None], height: int
) -> alt.TopLevelMixin:
    """A line for each series along the videos, the first one on top."""
    colour = _colour("series", list(dict.fromkeys(points.series)), [ACCENT, NEUTRAL, PALETTE[1]])
    points = points.assign(score=[pm(row.top1, row.top1_std) for row in each(points)])[::-1]
    tooltip = _tooltips(
        ("series", "by", None), until, ("score", "top-1 % (std over seeds)", None),
        ("map", "mAP %", ".2f"), ("gflops", "GFLOPs/video", ".4~g"), ("gflops_std", "GFLOPs std over videos", ".2~g"),
        ("num_close", "seen closely", ".2f"), ("num_close_std", "seen closely, std over videos", ".2f"),
        ("frames", "frames watched", ".2f"), ("num_seeds", "seeds", None),
    )  # fmt: skip
    lines = _base(points, "lines").mark_line(strokeWidth=1.8).encode(x, y, color=colour, order="value:Q")
    dots = _base(points, "points").mark_point(filled=True, size=60, opacity=1)
    return _finish([lines, dots.encode(x, y, color=colour, tooltip=tooltip)], height)


def boxes(rows: pd.DataFrame, title: str, num_frames: int) -> alt.TopLevelMixin:
    """Box plots: whiskers to the least and the most, the quartiles as a box, the median a tick and the mean a dot.

    Args:
        rows: columns row, least, lower, median, upper, most, mean, num_videos; drawn in order of appearance.
        title: of the numbers' axis.
        num_frames: where this axis ends.
    """

    def x(field: str) -> alt.X:
        scale = alt.Scale(domain=[0, num_frames], nice=False)
        return alt.X(f"{field}:Q", title=title, axis=alt.Axis(format="d", tickMinStep=1), scale=scale)

    y = alt.Y("row:N", title=None, sort=list(rows.row), axis=alt.Axis(labelLimit=220))
    tooltip = _tooltips(
        ("row", "", None), ("mean", "mean", ".2f"), ("least", "least", None), ("lower", "lower quartile", "~g"),
        ("median", "median", "~g"), ("upper", "upper quartile", "~g"), ("most", "most", None),
        ("num_videos", "videos", None),
    )  # fmt: skip
    layers = [
        _base(rows, "whiskers").mark_rule(opacity=0.7).encode(x=x("least"), x2="most:Q"),
        _base(rows, "boxes").mark_bar(size=13, opacity=0.45).encode(x=x("lower"), x2="upper:Q"),
        _base(rows, "medians").mark_tick(size=13, thickness=2.5, opacity=1).encode(x=x("median")),
        _base(rows, "means").mark_point(filled=True, size=55, opacity=1).encode(x=x("mean")),
    ]
    hues = (ACCENT, ACCENT, ACCENT, MEAN)
    drawn = [layer.encode(y=y, tooltip=tooltip, color=alt.value(hue)) for layer, hue in zip(layers, hues, strict=True)]
    return alt.layer(*drawn).properties(width="container", height=alt.Step(24))


def ratios(rows: pd.DataFrame) -> alt.TopLevelMixin:
    """Two bars for each class.

    Args:
        rows: columns class, ratio (its name), share (a fraction); drawn in order of appearance.
    """
    names = list(dict.fromkeys(rows.ratio))
    chart = (
        _base(rows, "ratios")
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("class:N", title=None, sort=list(rows["class"]), axis=alt.Axis(labelLimit=220)),
            yOffset=alt.YOffset("ratio:N", sort=names),
            color=_colour("ratio", names, [ACCENT, NEUTRAL], title=None),
            tooltip=_tooltips(("class", "", None), ("ratio", "", None), ("share", "share", ".1%")),
        )
    )
    return chart.properties(width="container", height=alt.Step(12))


def differences(rows: pd.DataFrame) -> alt.TopLevelMixin:
    """Differences of mAP with their intervals around zero.

    Args:
        rows: columns row, difference, low, high in points of mAP; drawn in order of appearance.
    """
    order = list(dict.fromkeys(rows.row))
    y = alt.Y("row:N", title=None, sort=order, axis=alt.Axis(labelLimit=460))
    x = alt.X(
        "difference:Q",
        title="difference of mAP (points), with its 95 % interval",
        scale=alt.Scale(padding=12),
    )
    colour = (
        alt.when("datum.low > 0")
        .then(alt.value("#2f9e6e"))
        .when("datum.high < 0")
        .then(alt.value("#d1495b"))
        .otherwise(alt.value(NEUTRAL))
    )
    tooltip = _tooltips(
        ("row", "", None),
        ("difference", "difference", "+.2f"),
        ("low", "from", "+.2f"),
        ("high", "to", "+.2f"),
    )
    zero = _base(pd.DataFrame({"difference": [0.0]}), "zero").mark_rule(color=NEUTRAL, strokeDash=[3, 3]).encode(x=x)
    bars = _base(rows, "bars").mark_rule(strokeWidth=3).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour)
    dots = (
        _base(rows, "dots").mark_point(filled=True, size=110, opacity=1).encode(x=x, y=y, color=colour, tooltip=tooltip)
    )
    return alt.layer(zero, bars, dots).properties(width="container", height=alt.Step(30))


def action_colours(methods: Sequence[Sequence[Action]]) -> dict[str, str]:
    """A colour for each action by name: blues where the frame is seen, by the size of the picture in all methods.

    Where it is not, from amber to brown by the number of frames that the action stays in force for, as far apart as
    the method with the most such actions allows.
    """
    actions = [action for of_method in methods for action in of_method]
    sizes = sorted({action.size for action in actions if action.size > 0}, reverse=True)
    blue_of = dict(zip(sizes, _ramp(SEEN, len(sizes)), strict=True))
    seen = sorted((action for action in actions if action.size > 0), key=lambda action: -action.size)
    colours = {action.name: blue_of[action.size] for action in seen}
    unseen = [[action for action in of_method if action.size == 0] for of_method in methods]
    for of_method in sorted(unseen, key=len, reverse=True):
        by_length = sorted(of_method, key=lambda action: (action.covers, action.name))
        for action, hue in zip(by_length, _ramp(UNSEEN, len(by_length)), strict=True):
            colours.setdefault(action.name, hue)
    return colours


def _ramp(hues: Sequence[str], num: int) -> list[str]:
    """`num` colours from the first of the hues to the last, in equal steps."""
    channels = np.array([[int(hue[i : i + 2], 16) for i in (1, 3, 5)] for hue in hues])
    steps = np.linspace(0, len(hues) - 1, num)
    mixed = np.stack([np.interp(steps, np.arange(len(hues)), channel) for channel in channels.T], axis=1)
    return ["#" + "".join(f"{part:02x}" for part in colour) for colour in mixed.round().astype(int)]


def to_png(chart: alt.TopLevelMixin) -> bytes:
    """The chart on white, twice the pixels of the screen."""
    import vl_convert as vlc

    spec = chart.to_dict() | {"width": PNG_WIDTH, "background": "white", "padding": 14}
    return vlc.vegalite_to_png(spec, vl_version=vegalite_version(), scale=2, config=LIGHT)


LIGHT = {
    "axis": {"gridColor": "#e8eaee", "domainColor": "#c9ced6", "tickColor": "#c9ced6",
             "labelColor": "#4a5160", "titleColor": "#1d2330",
             "titleFontWeight": 600, "labelFontSize": 11, "titleFontSize": 12},
    "legend": {"labelColor": "#1d2330", "titleColor": "#1d2330"},
    "view": {"stroke": None},
}  # fmt: skip


def vegalite_version() -> str:
    """'6.1', as vl-convert names the version that Altair writes."""
    return ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])


def _base(frame: pd.DataFrame, name: str) -> alt.Chart:
    return alt.Chart(frame, name=name)


def _line(frame: pd.DataFrame, x: alt.X, y: alt.Y, name: str, **mark: Any) -> alt.Chart:
    return _base(frame, name).mark_line(**mark).encode(x=x, y=y)


def _front(frame: pd.DataFrame, x: alt.X, y: alt.Y) -> alt.Chart:
    return _line(frame, x, y, "front", interpolate="step-after", strokeDash=[2, 3], strokeWidth=1.5, color=NEUTRAL)


def _labels(
    rows: pd.DataFrame,
    field: str,
    x: alt.X,
    y: alt.Y,
    value: str,
    encoding: Mapping[str, Any],
    marks: pd.DataFrame,
) -> list[alt.Chart]:
    """Names beside points, each where it covers the fewest of the other names and of the `marks`."""
    placed = rows.assign(place=_places(rows, field, value, marks))
    return [
        _base(of, f"labels{place}")
        .mark_text(align=align, dx=dx, dy=dy, fontSize=12, fontWeight=600)
        .encode(x=x, y=y, text=f"{field}:N", **encoding)
        for place, (align, dx, dy) in enumerate(PLACES)
        if len(of := placed[placed.place == place])
    ]


def _places(rows: pd.DataFrame, field: str, value: str, marks: pd.DataFrame) -> list[int]:
    """Indices into `PLACES`, chosen one after the other for a chart of about 900 x 420 pixels."""
    cost, score = np.log(marks.gflops_per_video), marks[value]
    scale = np.array([900 / max(np.ptp(cost), 1e-9), -360 / max(np.ptp(score), 1e-9)])
    mark_N2 = np.stack([cost, score], axis=1) * scale
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in mark_N2]
    (first, _), (last, _) = mark_N2.min(axis=0), mark_N2.max(axis=0)
    taken += [
        (first - 999, -np.inf, first - 30, np.inf),
        (last + 30, -np.inf, last + 999, np.inf),
    ]  # beyond the axes
    places = []
    for row in each(rows):
        x, y = np.array([np.log(row.gflops_per_video), getattr(row, value)]) * scale
        width = 7.2 * len(getattr(row, field))
        boxes = []
        for align, dx, dy in PLACES:
            left = x + dx if align == "left" else x + dx - width
            boxes.append((left, y + dy - 7, left + width, y + dy + 7))
        overlap = [sum(_overlap(box, other) for other in taken) for box in boxes]
        places.append(int(np.argmin(overlap)))
        taken.append(boxes[places[-1]])
    return places


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The area that two boxes (left, top, right, bottom) share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _finish(layers: Sequence[alt.Chart], height: int) -> alt.TopLevelMixin:
    zoom = alt.selection_interval(name="zoom", bind="scales", zoom="wheel![event.shiftKey]")
    first, *rest = (layer for layer in layers if len(layer.data))
    return alt.layer(first.add_params(zoom), *rest).properties(width="container", height=height)


def _cost_axis() -> alt.X:
    axis = alt.Axis(format="~g", tickCount=8)
    return alt.X(
        "gflops_per_video:Q",
        title="GFLOPs per video",
        axis=axis,
        scale=alt.Scale(type="log", nice=False, padding=36),
    )


def _colour(field: str, domain: Sequence[str], hues: Sequence[str], title: str | None = None) -> alt.Color:
    scale = alt.Scale(domain=list(domain), range=list(hues[: len(domain)]))
    return alt.Color(
        f"{field}:N", title=title, scale=scale, legend=alt.Legend(orient="top", columns=8, symbolOpacity=1)
    )


def _tooltips(*fields: tuple[str, str, str | None]) -> list[alt.Tooltip]:
    return [alt.Tooltip(field, title=title, format=form or alt.Undefined) for field, title, form in fields]
