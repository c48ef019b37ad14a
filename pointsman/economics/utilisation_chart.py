"""What an output costs on self-hosted capacity by its utilisation, beside the prices per output, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pointsman.reporting import Chart
from pointsman.reporting.plots import layer, name, number, to_svg

_COLOURS = ["#0072b2", "#c2571a", "#1a7f4b", "#8a4f9e", "#b08800", "#5b7fa6", "#a3324e", "#4d4d4d", "#2a9d8f"]


def utilisation_chart(found: Mapping[str, Any]) -> Chart:
    """`found` is the part `utilisation` of a money document; there is at least one curve."""
    curves = [
        {"label": one["label"], "share": 100 * float(share), "usd": float(usd)}
        for one in found["curves"]
        for share, usd in one["points"]
    ]
    declared = [
        {"label": one["label"], "share": 100 * float(share), "usd": float(usd)}
        for one in found["curves"]
        for share, usd in one["points"]
        if share == one["declared"]
    ]
    flat = [
        {"label": one["label"], "share": share, "usd": float(one["usd"])}
        for one in found["per_output"]
        for share in (10.0, 100.0)
    ]
    labels = [one["label"] for one in (*found["curves"], *found["per_output"])]
    colour = {
        **name("label"),
        "scale": {"domain": labels, "range": [_COLOURS[at % len(_COLOURS)] for at in range(len(labels))]},
        "title": None,
        "legend": {"orient": "right", "labelLimit": 260},
    }
    x = {**number("share"), "title": "utilisation, %", "scale": {"domain": [0, 100]}}
    y = {**number("usd"), "title": "USD per accepted output", "scale": {"zero": True}}
    svg = to_svg(
        [
            layer(curves, {"type": "line", "strokeWidth": 2}, x=x, y=y, color=colour),
            layer(flat, {"type": "line", "strokeDash": [5, 3]}, x=x, y=y, color=colour),
            layer(declared, {"type": "point", "filled": True, "size": 90, "opacity": 1}, x=x, y=y, color=colour),
        ]
    )
    shown = f"{len(found['curves'])} self-hosted variants by utilisation, {len(found['per_output'])} paid per output"
    caption = "Lines: capacity that is paid by the hour; dashed: a price per output; dots: the utilisation declared."
    return Chart("What an accepted output costs by utilisation", svg, shown, caption)
