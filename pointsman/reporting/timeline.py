"""Plots over the time of a run: lines with a shared time axis, bands for faults and gaps, marks where stages begin.

The colours are those of Okabe and Ito (2008), which the colour-blind tell apart; dashes say the same again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pointsman.reporting.plots import INK, Vega, layer, name, number, to_svg

Colour = Literal["grey", "black", "orange", "sky", "green", "blue", "vermillion", "purple"]
_COLOURS: dict[Colour, str] = {
    "grey": "#b8bfc6",
    "black": "#1c2126",
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "green": "#009e73",
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "purple": "#cc79a7",
}
_BANDS = {"fault": "#e69f00", "control": "#56b4e9", "gap": "#9aa5b1"}
_WIDTH, _HEIGHT = 860, 260
_GRID = "#e6e9ec"
_BANDS_DRAWN, _LABELLED, _STAGES_MARKED = 30, 8, 40
_LETTER = 6.2
"""The width of a letter of a label, in pixels: an estimate, to tell whether a label has room."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series. A value of None breaks the line: there nothing was measured."""

    name: str
    points: Sequence[tuple[float, float | None]]
    colour: Colour
    dashed: bool = False
    wide: bool = False
    dots: bool = False
    """Each point by itself, in no line."""


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time that explains what the lines do in it. Seconds."""

    start_s: float
    end_s: float
    label: str
    kind: Literal["fault", "control", "gap"] = "fault"


def timeline(
    drawn: Sequence[Line],
    *,
    until_s: float,
    y_title: str,
    bands: Sequence[Band] = (),
    stages: Sequence[tuple[float, str]] = (),
    log_y: bool = False,
) -> str:
    """Lines over 0 to `until_s` seconds. `stages` are (start, name); a name without room for it is left out.

    Of very many bands the longest are drawn, of many the longest have labels; very many stages are not marked at all.
    """
    unit, per_unit = _unit(until_s)
    x = {
        **number("x"),
        "title": f"time since the run's start, {unit}",
        "scale": {"domain": [0, until_s / per_unit], "nice": False},
        "axis": {"tickCount": 10, "grid": False},
    }
    longest = sorted(bands, key=lambda band: band.start_s - band.end_s)[:_BANDS_DRAWN]
    rects, labels = _bands(longest, until_s, per_unit, x)
    layers = [*rects, *_stages(stages, until_s, per_unit, x), *_lines(drawn, per_unit, x, y_title, log_y), *labels]
    return to_svg(layers, width=_WIDTH, height=_HEIGHT)


def _unit(until_s: float) -> tuple[str, float]:
    if until_s <= 600:
        return "s", 1.0
    return ("min", 60.0) if until_s <= 6 * 3600 else ("h", 3600.0)


def _lines(drawn: Sequence[Line], per_unit: float, x: Vega, y_title: str, log_y: bool) -> list[Vega]:
    names = [line.name for line in drawn]
    legend = {
        "orient": "top",
        "labelLimit": 300,
        "columnPadding": 18,
        "symbolStrokeWidth": 2.5,
        "symbolSize": 220,
        "symbolOpacity": 1,
        "symbolType": "stroke",
    }
    colours = {"domain": names, "range": [_COLOURS[line.colour] for line in drawn]}
    dashes = {"domain": names, "range": [[5, 3] if line.dashed else [1, 0] for line in drawn]}
    encoding = {
        "x": x,
        "y": _height_axis(drawn, y_title, log_y),
        "color": {**name("line"), "title": None, "sort": names, "scale": colours, "legend": legend},
        "strokeDash": {**name("line"), "sort": names, "scale": dashes},
    }
    return [
        layer(
            [
                {"line": line.name, "x": _short(at_s / per_unit), "y": _drawable(value, log_y)}
                for at_s, value in line.points
            ],
            {"type": "point", "filled": True, "size": 14, "opacity": 0.45}
            if line.dots
            else {
                "type": "line",
                "strokeWidth": 5 if line.wide else 1.8,
                "opacity": 0.5 if line.wide and line.dashed else 1,
                "strokeJoin": "round",
                "invalid": "break-paths-show-domains",
            },
            **encoding,
        )
        for line in drawn
    ]


def _height_axis(drawn: Sequence[Line], title: str, log: bool) -> Vega:
    """From 0, or from 1, 2 or 5 times a power of ten; with room above the lines for the labels of bands."""
    values = [float(value) for line in drawn for _, value in line.points if _drawable(value, log) is not None]  # type: ignore[arg-type]
    most = max(values, default=1.0)
    axis: dict[str, Any] = {"format": "~s" if most >= 1e6 else ",~r", "gridColor": _GRID}
    if not log:
        axis |= {"tickCount": 5, "labelOverlap": "greedy"}
        scale: dict[str, Any] = {"domain": [0, (most or 1.0) * 1.15], "nice": False}
    else:
        steps = [factor * 10.0**power for power in range(-7, 13) for factor in (1, 2, 5)]
        low = max((step for step in steps if step <= min(values, default=1.0)), default=steps[0])
        high = min((step for step in steps if step >= most * 1.3), default=steps[-1])
        shown = [step for step in steps if low <= step <= high]
        if len(shown) > 8:
            shown = [step for step in shown if f"{step:e}".startswith("1")]
        axis["values"] = shown
        scale = {"type": "log", "domain": [low, high], "nice": False}
    return {**number("y"), "title": title, "scale": scale, "axis": axis}


def _drawable(value: float | None, log_y: bool) -> float | None:
    if value is None or not math.isfinite(value) or (log_y and value <= 0):
        return None
    return _short(value)


def _short(value: float) -> float:
    """Five significant digits: more are not seen, and make the picture larger."""
    return float(f"{value:.5g}")


def _bands(bands: Sequence[Band], until_s: float, per_unit: float, x: Vega) -> tuple[list[Vega], list[Vega]]:
    """What lies below the lines, and the labels that lie above them. `bands` begin with those to label."""
    rects = []
    for kind, colour in _BANDS.items():
        ends = [(band.start_s, max(band.end_s, band.start_s + until_s / 300)) for band in bands if band.kind == kind]
        rows = [{"x": start / per_unit, "end": end / per_unit} for start, end in ends]
        rects.append(layer(rows, {"type": "rect", "color": colour, "opacity": 0.22}, x=x, x2={"field": "end"}))
    labels = []
    for place, band in enumerate(sorted(bands[:_LABELLED], key=lambda band: band.start_s)):
        on_the_left = band.start_s < until_s * 0.7
        row = {"at": (band.start_s if on_the_left else band.end_s) / per_unit, "label": band.label}
        mark = {
            "type": "text",
            "baseline": "top",
            "fontSize": 11,
            "fontWeight": "bold",
            "color": INK,
            **({"align": "left", "dx": 4} if on_the_left else {"align": "right", "dx": -4}),
        }
        halo = {"stroke": "#ffffff", "strokeWidth": 3, "strokeOpacity": 0.8}
        labels += [
            layer([row], {**mark, **around}, x=number("at"), y={"value": 4 + 14 * (place % 4)}, text=name("label"))
            for around in (halo, {})
        ]
    return rects, labels


def _stages(stages: Sequence[tuple[float, str]], until_s: float, per_unit: float, x: Vega) -> list[Vega]:
    if not 0 < len(stages) <= _STAGES_MARKED:
        return []
    ends = [start for start, _ in stages[1:]] + [until_s]
    rows = [
        {
            "x": start / per_unit,
            "name": title if (end - start) / until_s * _WIDTH > _LETTER * len(title) + 8 else "",
        }
        for (start, title), end in zip(stages, ends, strict=True)
    ]
    mark = {"type": "text", "align": "left", "baseline": "bottom", "dx": 3, "fontSize": 11, "color": "#5b6570"}
    return [
        layer(rows, {"type": "rule", "color": "#8a949e", "strokeDash": [2, 3]}, x=x),
        layer(rows, mark, x=x, y={"value": -3}, text=name("name")),
    ]
