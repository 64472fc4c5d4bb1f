"""The page's charts, as Altair specifications with explicit names: the same input gives the same bytes.

Text and background colours are left to the embedding page, which knows whether it is light or dark.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from adavid.actions import Action
from adavid.evaluation.records import MAIN, SHUFFLED
from benchmarks.report import labels as labelling
from benchmarks.report.approaches import LOOKS, approach_of
from benchmarks.report.formats import plus_minus, pm
from benchmarks.report.tables import each, pareto_front

NEUTRAL = "#8a919e"
ACCENT = "#3b7ddd"
SECOND = "#f58518"
MEAN = "#f2b134"
SEEN = ("#1b4f8f", "#3579c4", "#64a3df", "#a3cbef", "#cfe3f7")  # from the largest picture down
UNSEEN = ("#f2c14e", "#e9a13b", "#d97a34", "#b9532f", "#8f3526")  # from the shortest skip up
FRONT = "#d1495b"
HEIGHT = 500
TARGET = 320  # square pixels around a point that a pointer or a finger hits
PICTURE_WIDTH = 1100  # of the pictures in files
LABELLED_WIDTHS = (930, 1180)  # of the plot, between which names are placed; a narrower page leaves them to a touch
PADDING = (36, 18)  # pixels between the outermost points and the frame
# The marks that are no points of methods, by their entry in the legend: shapes as paths in a square from -1 to 1.
LINE, FRONT_LINE, INTERVAL, SMALL, SHUFFLED_CROSS = (
    "equal-cost line",
    "Pareto front",
    "95 % interval",
    "variant or operating point",
    "decisions shuffled",
)
BAR = "M-1,-.2H1V.2H-1Z"
MARKS = {
    LINE: (NEUTRAL, BAR),
    FRONT_LINE: (FRONT, "M-1,-.15H-.6V.15H-1ZM-.2,-.15H.2V.15H-.2ZM.6,-.15H1V.15H.6Z"),
    INTERVAL: (NEUTRAL, "M-.12,-1H.12V1H-.12Z"),
    SMALL: (NEUTRAL, "M-.45,0A.45,.45,0,1,1,.45,0A.45,.45,0,1,1,-.45,0"),
    SHUFFLED_CROSS: (NEUTRAL, "M-.9,-.6L-.6,-.9L0,-.3L.6,-.9L.9,-.6L.3,0L.9,.6L.6,.9L0,.3L-.6,.9L-.9,.6L-.3,0Z"),
}
APPROACH = "What a method decides"


def tradeoff(points: pd.DataFrame, baseline: str, line: Sequence[tuple[float, float]]) -> alt.TopLevelMixin:
    """mAP over GFLOPs per video of one data set: points with intervals, curves, equal-cost line, front.

    Colour and shape are those of what a method decides. Variants and other operating points are small. A curve joins
    a series' operating points along one setting by rising cost; the baseline's are the equal-cost line's.

    Args:
        points: `tables.curve_points`.
        baseline: the method whose curve is not drawn.
        line: what is attained at equal cost, as (GFLOPs per video, mAP), by rising cost.
    """
    is_own = (points.variant == "") | ~points.method.isin(points.method[points.variant == ""])
    points = points.assign(
        is_main=is_own & (points.kind == MAIN),
        approach=[LOOKS[approach_of(method)].title for method in points.method],
        **_scores_in_words(points),
    )[is_own | (points.kind != SHUFFLED)]
    main = points[points.is_main]
    labels = _placed(main, "series", "map", points)
    front, equal_cost = front_of(points).assign(approach=FRONT_LINE), _sampled(line).assign(approach=LINE)
    lines = pd.concat([points.head(0).assign(line=""), *_curves(points[points.method != baseline])])
    lines = lines[["method", "approach", "line", "gflops_per_video", "map"]]

    x, y = _cost_axis(points), _score_axis(points, "map", "mAP (%)")
    looks = {look.title: (look.colour, look.shape) for look in LOOKS.values() if look.title in set(points.approach)}
    has_cross = (points.kind == SHUFFLED).any()
    looks |= {name: look for name, look in MARKS.items() if name != SHUFFLED_CROSS or has_cross}
    colour, shape = _legend_of(looks, alt.Color), _legend_of(looks, alt.Shape)
    pick = alt.selection_point(name="pick", fields=["approach"], bind="legend")
    chosen = alt.selection_point(name="chosen", fields=["method"], on="click", clear="dblclick")
    shown = alt.when(pick & chosen)
    plain = dict(opacity=shown.then(alt.value(1.0)).otherwise(alt.value(0.1)), color=colour)
    of_lines = dict(opacity=alt.when(pick).then(alt.value(1.0)).otherwise(alt.value(0.1)), color=colour)
    tooltip = _tooltips(
        ("series", "method", None), ("approach", "decides", None), ("point", "point", None),
        ("operating_point", "operating point", None), ("score", "mAP %", None),
        ("gflops_per_video", "GFLOPs/video", ".4~g"), ("gflops_per_frame", "GFLOPs/frame", ".4~g"),
        ("frames_used", "frames used", ".2f"), ("num_seeds", "seeds", None),
    )  # fmt: skip
    of_points = alt.Chart(points)
    layers = [
        _base(equal_cost, "line")
        .mark_line(strokeWidth=7, strokeCap="round")
        .encode(x=x, y=y, color=colour, opacity=alt.value(0.4)),
        _base(lines, "lines").mark_line(strokeWidth=1.6).encode(x=x, y=y, detail="line:N", **plain),
        _base(front, "front")
        .mark_line(interpolate="step-after", strokeDash=[2, 4], strokeWidth=2.4)
        .encode(x=x, y=y, **of_lines),
        of_points.properties(name="curve")
        .transform_filter("!datum.is_main && datum.kind != 'shuffled'")
        .mark_point(filled=True, size=24)
        .encode(x, y, shape=shape, **plain),
        of_points.properties(name="shuffled")
        .transform_filter("datum.kind == 'shuffled'")
        .mark_point(shape=MARKS[SHUFFLED_CROSS][1], filled=True, size=60)
        .encode(x, y, **plain),
        of_points.properties(name="intervals")
        .transform_filter("datum.is_main")
        .mark_rule(strokeWidth=1.6)
        .encode(x=x, y=alt.Y("map_low:Q"), y2="map_high:Q", **plain),
        of_points.properties(name="main")
        .transform_filter("datum.is_main")
        .mark_point(filled=True, size=120, stroke="white", strokeWidth=1)
        .encode(x, y, shape=shape, **plain)
        .add_params(pick),
        *_labels(labels, "series", x, y, plain),
        of_points.properties(name="targets")
        .mark_point(filled=True, size=TARGET, opacity=0)
        .encode(x, y, tooltip=tooltip)
        .add_params(chosen),
    ]
    return _finish(layers, HEIGHT)


def _scores_in_words(points: pd.DataFrame) -> dict[str, list[str]]:
    """'85.12 +- 0.31 (84.50 to 85.70)': mAP with its deviation over seeds and its interval, as far as there are."""
    bounds = ["" if np.isnan(row.map_low) else f" ({row.map_low:.2f} to {row.map_high:.2f})" for row in each(points)]
    scores = [plus_minus(pm(row.map, row.map_std)) for row in each(points)]
    return {"score": [score + bound for score, bound in zip(scores, bounds, strict=True)]}


def _curves(points: pd.DataFrame) -> list[pd.DataFrame]:
    """Two or more operating points of a series along one setting, by rising cost; `line` is what they have in common.

    The setting is the one with the most values of those that are numbers: between names, such as a cascade's ladders,
    there is nothing. Where a curve goes through several, each of the others' values has a line of its own; the main
    point is on that of its values, and on the only one where there is one.
    """
    curves = []
    for series, of in points[points.kind != SHUFFLED].groupby("series", sort=False):
        settings = [dict(part.partition("=")[::2] for part in text.split(", ")) for text in of.operating_point]
        of_curve = [setting for setting, kind in zip(settings, of.kind, strict=True) if kind != MAIN]
        if not of_curve:
            continue
        values = {
            key: {setting[key] for setting in of_curve if key in setting}
            for key in dict.fromkeys(itertools.chain(*of_curve))
        }
        numbers = [key for key in values if all(map(_is_number, values[key]))]
        along = max(numbers, key=lambda key: len(values[key]), default="")
        rest = [", ".join(f"{key}={setting.get(key)}" for key in values if key != along) for setting in settings]
        for _, line in of.assign(line=[f"{series} {fixed}" for fixed in rest]).groupby("line", sort=False):
            if along and len(line) > 1:
                curves.append(line.sort_values("gflops_per_video", kind="stable"))
    return curves


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def front_of(points: pd.DataFrame) -> pd.DataFrame:
    """The Pareto front over main and curve points; shuffled controls are no competitors."""
    return pareto_front(points[points.kind != SHUFFLED])[["gflops_per_video", "map"]]


def _sampled(line: Sequence[tuple[float, float]]) -> pd.DataFrame:
    """Points along a line: what is straight in GFLOPs bends on a logarithmic axis."""
    costs = [a + (b - a) * step / 12 for (a, _), (b, _) in zip(line, line[1:], strict=False) for step in range(13)]
    ends, maps = [cost for cost, _ in line], [value for _, value in line]
    return pd.DataFrame({"gflops_per_video": costs, "map": np.interp(costs, ends, maps) if costs else []})


def reported(rows: pd.DataFrame) -> alt.TopLevelMixin:
    """The papers' scores over their costs on one data set; the nearest method shows all of its rows.

    No front joins them: what other recipes, views and pretraining made does not compare. Named are those that one would
    hold.
    """
    value = "map" if rows["map"].notna().any() else "top1"
    rows = rows.dropna(subset=["gflops_per_video", value]).sort_values(["method", "gflops_per_video", "variant"])
    rows = rows[["method", "variant", "backbone", "num_frames", value, "gflops_per_video", "source", "note"]]
    rows = rows.assign(approach=[LOOKS[approach_of(method)].title for method in rows.method])
    labels = _placed(pareto_front(rows, value), "method", value, rows)
    hover = alt.selection_point(name="hover", fields=["method"], on="pointerover", clear="pointerout", empty=False)
    title = {"map": "mAP (%)", "top1": "top-1 (%)"}[value]
    x, y = _cost_axis(rows), _score_axis(rows, value, title)
    looks = {look.title: (look.colour, look.shape) for look in LOOKS.values() if look.title in set(rows.approach)}
    colour, shape = _legend_of(looks, alt.Color), _legend_of(looks, alt.Shape)
    tooltip = _tooltips(
        ("method", "method", None), ("variant", "variant", None), ("backbone", "backbone", None),
        ("num_frames", "frames", None), (value, title, ".1f"), ("gflops_per_video", "GFLOPs/video", ".4~g"),
        ("source", "source", None), ("note", "note", None),
    )  # fmt: skip
    layers = [
        _base(rows, "others")
        .mark_point(filled=True, stroke="white", strokeWidth=0.8)
        .encode(
            x, y, color=colour, shape=shape,
            opacity=alt.condition(hover, alt.value(1.0), alt.value(0.6)),
            size=alt.condition(hover, alt.value(170), alt.value(70)),
        ),
        _base(rows, "named")
        .transform_filter(hover)
        .mark_text(align="left", dx=9, dy=-8, fontSize=11)
        .encode(x, y, text="variant:N", color=colour),
        *_labels(labels, "method", x, y, {"color": colour}),
        _base(rows, "targets")
        .mark_point(filled=True, size=TARGET, opacity=0)
        .encode(x, y, tooltip=tooltip)
        .add_params(hover),
    ]  # fmt: skip
    return _finish(layers, HEIGHT)


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
    colour = _colour("series", list(dict.fromkeys(points.series)), [ACCENT, NEUTRAL, SECOND])
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

    picture: bytes = vlc.vegalite_to_png(_on_white(chart), vl_version=vegalite_version(), scale=2, config=LIGHT)
    return picture


def to_svg(chart: alt.TopLevelMixin) -> str:
    """The same picture as `to_png`, as vectors."""
    import vl_convert as vlc

    picture: str = vlc.vegalite_to_svg(_on_white(chart), vl_version=vegalite_version(), config=LIGHT)
    return picture


def _on_white(chart: alt.TopLevelMixin) -> dict[str, Any]:
    return chart.to_dict() | {"width": PICTURE_WIDTH, "background": "white", "padding": 14}


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


def _labels(placed: pd.DataFrame, field: str, x: alt.X, y: alt.Y, encoding: Mapping[str, Any]) -> list[alt.Chart]:
    """Names at the places of `_placed`, a thin line to those that stand apart from their points.

    A layer for each name: where it stands is a property of the mark.
    """
    base = _base(placed, "labels")
    text = base.mark_text(
        fontSize=11, fontWeight=600, dx=alt.expr("datum.dx"), dy=alt.expr("datum.dy"), baseline="middle"
    )
    leaders = (
        _base(placed, "leaders")
        .transform_filter("datum.is_far")
        .mark_rule(strokeWidth=0.8, x2Offset=alt.expr("datum.end_x"), y2Offset=alt.expr("datum.end_y"))
    )
    far = {"x": x, "y": y, "x2": alt.X2("gflops_per_video"), "y2": alt.Y2(y.shorthand.partition(":")[0])}
    return [leaders.encode(**far, **encoding), text.encode(x=x, y=y, text=f"{field}:N", **encoding)]


def _placed(rows: pd.DataFrame, field: str, value: str, marks: pd.DataFrame) -> pd.DataFrame:
    """The rows with where their names stand, `dx` and `dy` in pixels, and where a line to each would end.

    For a linear cost axis too, as a reader may choose one: `linear_dx` and so on.
    """
    places = [_places(rows, field, value, marks, scale, of) for scale, of in ((np.log, ""), (np.asarray, "linear_"))]
    return pd.concat(
        [rows[list(dict.fromkeys(["method", field, "approach", "gflops_per_video", value]))], *places], axis=1
    )


def _places(
    rows: pd.DataFrame, field: str, value: str, marks: pd.DataFrame, scale: Callable[[Any], Any], prefix: str
) -> pd.DataFrame:
    """Those of `_placed` on a cost axis of that scale."""
    (low_x, high_x), (low_y, high_y) = _cost_domain(marks), _score_domain(marks, value)

    def shares(of: pd.DataFrame) -> list[tuple[float, float]]:
        x = (scale(of.gflops_per_video) - scale(low_x)) / (scale(high_x) - scale(low_x))
        return list(zip(x, (high_y - of[value]) / (high_y - low_y), strict=True))

    names = list(rows[field])
    labels = labelling.place(shares(rows), names, shares(marks), LABELLED_WIDTHS, HEIGHT)
    boxes = [(labelling.WIDTH * len(name) / 2, labelling.HEIGHT / 2) for name in names]
    ends = [
        (float(np.clip(0, dx - half_x, dx + half_x)), float(np.clip(0, dy - half_y, dy + half_y)))
        for (dx, dy), (half_x, half_y) in zip(labels, boxes, strict=True)
    ]
    places = {
        "dx": [round(label.dx, 1) for label in labels],
        "dy": [round(label.dy, 1) for label in labels],
        "end_x": [round(x, 1) for x, _ in ends],
        "end_y": [round(y, 1) for _, y in ends],
        "is_far": [bool(np.hypot(*end) > 14) for end in ends],
    }
    return pd.DataFrame(places, index=rows.index).add_prefix(prefix)


def _finish(layers: Sequence[alt.Chart], height: int) -> alt.TopLevelMixin:
    zoom = alt.selection_interval(name="zoom", bind="scales", zoom="wheel![event.shiftKey]")
    first, *rest = (layer for layer in layers if len(layer.data))
    return alt.layer(first.add_params(zoom), *rest).properties(width="container", height=height)


def _cost_domain(marks: pd.DataFrame) -> tuple[float, float]:
    """Of a logarithmic axis: the costs, and room for `PADDING` at both ends."""
    low, high = np.log(marks.gflops_per_video.min()), np.log(marks.gflops_per_video.max())
    room = max(high - low, 0.1) * PADDING[0] / (PICTURE_WIDTH - 2 * PADDING[0])
    return float(f"{np.exp(low - room):.4g}"), float(f"{np.exp(high + room):.4g}")


def _score_domain(marks: pd.DataFrame, value: str) -> tuple[float, float]:
    bounds = pd.concat([marks[name] for name in (value, f"{value}_low", f"{value}_high") if name in marks])
    room = max(np.ptp(bounds.dropna()), 1.0) * PADDING[1] / (HEIGHT - 2 * PADDING[1])
    return round(float(bounds.min() - room), 2), round(float(bounds.max() + room), 2)


def _cost_axis(marks: pd.DataFrame) -> alt.X:
    return alt.X(
        "gflops_per_video:Q",
        title="GFLOPs per video",
        axis=alt.Axis(format="~g", tickCount=8, labelOverlap=True),
        scale=alt.Scale(type="log", nice=False, domain=_cost_domain(marks)),
    )


def _score_axis(marks: pd.DataFrame, value: str, title: str) -> alt.Y:
    scale = alt.Scale(zero=False, nice=False, domain=_score_domain(marks, value))
    return alt.Y(f"{value}:Q", title=title, scale=scale)


def _legend_of(looks: Mapping[str, tuple[str, str]], channel: Any) -> Any:
    """Colour or shape by approach, and by what else is drawn: one legend of both."""
    values = [look[channel is alt.Shape] for look in looks.values()]
    legend = alt.Legend(orient="top", columns=6, symbolOpacity=1, symbolSize=90, labelLimit=220)
    return channel("approach:N", title=APPROACH, scale=alt.Scale(domain=list(looks), range=values), legend=legend)


def _colour(field: str, domain: Sequence[str], hues: Sequence[str], title: str | None = None) -> alt.Color:
    scale = alt.Scale(domain=list(domain), range=list(hues[: len(domain)]))
    legend = alt.Legend(orient="top", columns=8, symbolOpacity=1, symbolLimit=0)
    return alt.Color(f"{field}:N", title=title, scale=scale, legend=legend)


def _tooltips(*fields: tuple[str, str, str | None]) -> list[alt.Tooltip]:
    return [alt.Tooltip(field, title=title, format=form or alt.Undefined) for field, title, form in fields]
