"""Plots as small SVG texts: the same points give the same bytes. No browser, no network, no font is fetched.

They are written in Vega-Lite, as plain dictionaries: a library that builds these takes longer than to draw them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pointsman.model import Missing, Number

Vega = Mapping[str, Any]
"""A part of a Vega-Lite chart."""
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
    axis = {"tickCount": 6, "labelOverlap": "greedy"}
    scale = {"zero": False, "nice": True, "padding": 12}
    x = {**number("cost"), "title": cost_title, "axis": axis, "scale": scale}
    y = {**number("quality"), "title": "mean quality (0 to 100)", "scale": scale}
    roles = {"domain": ["candidate", "incumbent", "winner"], "range": ["#5b7fa6", "#c2571a", "#1a7f4b"]}
    colour = {**name("role"), "scale": roles, "title": None, "legend": {"orient": "top"}}
    line = {"type": "line", "interpolate": "step-after", "strokeDash": [5, 3], "color": "#8a949e"}
    dots = {"type": "point", "filled": True, "size": 90, "opacity": 1}
    layers = [
        layer([row for row in rows if row["on"]], line, x=x, y=y),
        layer(rows, dots, x=x, y=y, color=colour),
    ]
    for dy in (-7, 11):
        mark = {"type": "text", "align": "left", "dx": 8, "dy": dy, "fontSize": 11, "color": INK}
        layers.append(layer([row for row in rows if row["below"] == (dy > 0)], mark, x=x, y=y, text=name("text")))
    return to_svg(layers)


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
    rows = [{"from": float(low), "to": float(high), "count": int(count), "zero": 0} for low, high, count in counted]
    x = {
        **number("from"),
        "title": x_title,
        "scale": {"type": "log", "nice": False} if log_x else {"zero": False},
        "axis": {"labelOverlap": "greedy", "grid": False},
    }
    y = {**number("count"), "title": y_title, "axis": {"tickCount": 5, "format": ",~r"}}
    mark = {"type": "rect", "color": "#0072b2", "stroke": "#ffffff", "strokeWidth": 0.5}
    drawn = layer(rows, mark, x=x, x2={"field": "to"}, y=y, y2={"field": "zero"})
    return to_svg([drawn], width=width, height=height)


def layer(rows: Sequence[Vega], mark: Vega, **encoding: Vega) -> Vega:
    """Marks, one per row or one along all rows; `encoding` says what of a row is which of their properties."""
    return {"data": {"values": rows}, "mark": mark, "encoding": encoding}


def number(field: str) -> dict[str, Any]:
    return {"field": field, "type": "quantitative"}


def name(field: str) -> dict[str, Any]:
    return {"field": field, "type": "nominal"}


def to_svg(layers: Sequence[Vega], *, width: int = _WIDTH, height: int = _HEIGHT) -> str:
    """Draw a chart on white paper on purpose: dark text stays readable in the dark themes of both Prefect UIs."""
    import vl_convert  # takes a third of a second

    spec = {
        "layer": layers,
        "width": width,
        "height": height,
        "padding": _PADDING,
        "config": {
            "background": "#ffffff",
            "font": "sans-serif",
            "view": {"stroke": None},
            "axis": {"titlePadding": 10},
        },
    }
    # A picture in an <img> has no inner structure to a screen reader: what it shows is in its alternative text.
    return _FOR_READERS.sub("", str(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])))
