"""Plots as small SVG texts: the same points give the same bytes. No browser, no network, no font is fetched.

altair and vl-convert take a second to import, so each function imports them when it draws.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pointsman.model import Missing, Number

if TYPE_CHECKING:
    import altair as alt

_WIDTH, _HEIGHT = 620, 340
_PADDING = {"left": 8, "top": 8, "right": 40, "bottom": 8}
"""More on the right: the widths of labels that reach over the edge are only estimated."""
_LABELLED = 12
INK = "#1c2126"
_FOR_READERS = re.compile(r' (?:aria-[a-z]+|role)="[^"]*"')


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
        .mark_text(align="left", dx=8, dy=dy, fontSize=11, color=INK)
        .encode(x=x, y=y, text="text:N")
        for dy in (-7, 11)
    )
    return to_svg(line + dots + above + below)


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


def bars(
    counted: Sequence[tuple[float, float, int]],
    *,
    x_title: str,
    y_title: str,
    log_x: bool = False,
    width: int = _WIDTH,
    height: int = _HEIGHT,
) -> str:
    """What was counted in ranges, each (from, to, count)."""
    import altair as alt

    rows = [{"from": float(low), "to": float(high), "count": int(count), "zero": 0} for low, high, count in counted]
    scale = alt.Scale(type="log", nice=False) if log_x else alt.Scale(zero=False)
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(color="#0072b2", stroke="#ffffff", strokeWidth=0.5)
        .encode(
            x=alt.X("from:Q", title=x_title, scale=scale, axis=alt.Axis(labelOverlap="greedy", grid=False)),
            x2="to:Q",
            y=alt.Y("count:Q", title=y_title, axis=alt.Axis(tickCount=5, format=",~r")),
            y2="zero:Q",
        )
    )
    return to_svg(chart, width=width, height=height)


def to_svg(chart: alt.Chart | alt.LayerChart, *, width: int = _WIDTH, height: int = _HEIGHT) -> str:
    """Draw a chart on white paper on purpose: dark text stays readable in the dark themes of both Prefect UIs."""
    import vl_convert

    spec: dict[str, Any] = (
        chart.properties(width=width, height=height, padding=_PADDING)
        .configure(background="#ffffff", font="sans-serif", view={"stroke": None}, axis={"titlePadding": 10})
        .to_dict()
    )
    # A picture in an <img> has no inner structure to a screen reader: what it shows is in its alternative text.
    return _FOR_READERS.sub("", str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])))
