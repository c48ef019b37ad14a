"""Plots as small SVG texts: the same points give the same bytes. No browser, no network, no font is fetched.

altair and vl-convert take a second to import, so each function imports them when it draws.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pointsman.errors import InputRefused
from pointsman.model import Missing, Number

if TYPE_CHECKING:
    import altair as alt

_WIDTH, _HEIGHT = 620, 340
_PADDING = {"left": 8, "top": 8, "right": 40, "bottom": 8}
"""More on the right: the widths of labels that reach over the edge are only estimated."""
_POINTS_PER_PLOT = 1_500
_LABELLED = 12
_INK = "#1c2126"


@dataclass(frozen=True, slots=True)
class CostQuality:
    """One variant on the cost/quality plot: cost in USD, quality from 0 to 100, `role` names its colour."""

    label: str
    cost_usd: Number
    quality: Number
    role: str = "candidate"


def cost_quality(points: Sequence[CostQuality], frontier: Collection[str], *, cost_title: str) -> str:
    """Variants by cost and quality, with the Pareto frontier (given by labels) as a line.

    A point without a cost or a quality cannot be drawn and is left out; the caller's table names it. Of many variants
    only the frontier and those with a role of their own are labelled.
    """
    import altair as alt

    rows = [
        {
            "label": point.label,
            "cost": float(point.cost_usd),
            "quality": float(point.quality),
            "role": point.role,
            "text": point.label
            if len(points) <= _LABELLED or point.label in frontier or point.role != "candidate"
            else "",
            "on": point.label in frontier,
        }
        for point in points
        if not isinstance(point.cost_usd, Missing) and not isinstance(point.quality, Missing)
    ]
    rows.sort(key=lambda row: (row["cost"], row["label"]))
    _place_names(rows)
    axis = alt.Axis(tickCount=6, labelOverlap="greedy")
    x = alt.X("cost:Q", title=cost_title, axis=axis, scale=alt.Scale(zero=False, nice=True, padding=12))
    y = alt.Y("quality:Q", title="mean quality (0 to 100)", scale=alt.Scale(zero=False, nice=True, padding=12))
    roles = alt.Scale(domain=["candidate", "incumbent", "winner"], range=["#5b7fa6", "#c2571a", "#1a7f4b"])
    base = alt.Chart(alt.InlineData(values=rows))
    line = (
        alt.Chart(alt.InlineData(values=[row for row in rows if row["on"]]))
        .mark_line(interpolate="step-after", strokeDash=[5, 3], color="#8a949e")
        .encode(x=x, y=y)
    )
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=x, y=y, color=alt.Color("role:N", scale=roles, title=None, legend=alt.Legend(orient="top"))
    )
    above, below = (
        base.transform_filter(alt.datum.below == (dy > 0))
        .mark_text(align="left", dx=8, dy=dy, fontSize=11, color=_INK)
        .encode(x=x, y=y, text="text:N")
        for dy in (-7, 11)
    )
    return _svg(line + dots + above + below)


def _place_names(rows: Sequence[dict[str, Any]]) -> None:
    """Write the name of a point below it where the name of a cheaper one would cover it above."""
    widths = {
        axis: max((row[axis] for row in rows), default=0) - min((row[axis] for row in rows), default=0)
        for axis in ("cost", "quality")
    }
    for number, row in enumerate(rows):
        near = [
            one
            for one in rows[:number]
            if one["text"]
            and row["cost"] - one["cost"] <= widths["cost"] * 0.35
            and abs(row["quality"] - one["quality"]) <= widths["quality"] * 0.05
        ]
        row["below"] = bool(near) and not near[-1]["below"]


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], *, x_title: str, y_title: str, log_y: bool = False
) -> str:
    """Named series of (x, y) as lines. Long series are thinned evenly; points that are not finite are left out."""
    import altair as alt

    per_series = max(2, _POINTS_PER_PLOT // max(1, len(series)))
    rows = [
        {"series": name, "x": x, "y": y}
        for name, points in series.items()
        for x, y in _thin([(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)], per_series)
        if y > 0 or not log_y
    ]
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line()
        .encode(
            x=alt.X("x:Q", title=x_title, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", title=y_title, scale=alt.Scale(type="log" if log_y else "linear")),
            color=alt.Color("series:N", title=None, sort=list(series), legend=alt.Legend(orient="top", labelLimit=280)),
        )
    )
    return _svg(chart)


def histogram(values: Sequence[float], *, x_title: str, bins: int = 30) -> str:
    """How many of `values` fall into each of `bins` equal ranges. Raises `InputRefused` when none is finite."""
    import altair as alt

    finite = np.asarray([value for value in values if math.isfinite(value)], dtype=float)
    if not finite.size:
        raise InputRefused("histogram values", list(values)[:3], "at least one finite number")
    counts, edges = np.histogram(finite, bins=bins)
    rows = [
        {"from": float(low), "to": float(high), "count": int(count)}
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    ]
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(color="#5b7fa6")
        .encode(
            x=alt.X("from:Q", title=x_title, scale=alt.Scale(zero=False)), x2="to:Q", y=alt.Y("count:Q", title="count")
        )
    )
    return _svg(chart)


def _thin(points: Sequence[tuple[float, float]], most: int) -> Sequence[tuple[float, float]]:
    if len(points) <= most:
        return points
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]


def _svg(chart: alt.Chart | alt.LayerChart) -> str:
    import vl_convert

    # White paper on purpose: dark text stays readable in the dark themes of both Prefect UIs.
    spec: dict[str, Any] = (
        chart.properties(width=_WIDTH, height=_HEIGHT, padding=_PADDING)
        .configure(background="#ffffff", font="sans-serif")
        .to_dict()
    )
    return str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
