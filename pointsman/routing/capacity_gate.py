"""May a variant take the traffic of a peak? Only when what it was shown to sustain covers the peak and headroom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from pointsman.errors import GuardRefused, InputRefused
from pointsman.ids import VariantId
from pointsman.model import Missing, Number
from pointsman.scenario import latest_capacities
from pointsman.workspace import Workspace

HEADROOM = Decimal("1.5")
"""Searches offer evenly spaced arrivals; what callers send comes in bursts."""


def capacity_gate(capacity: Number, peak: Decimal, headroom: Decimal) -> str | None:
    """Why a variant of this capacity must not take this peak (both per second); None when it may.

    What is not known is not enough. Raises `InputRefused` for a peak that is not above 0 or a headroom below 1.
    """
    if not peak.is_finite() or peak <= 0:
        raise InputRefused("peak", peak, "more than 0 arrivals per second")
    if not headroom.is_finite() or headroom < 1:
        raise InputRefused("headroom", headroom, "1 or more")
    if isinstance(capacity, Missing):
        return f"its capacity is {capacity}"
    needed = peak * headroom
    if capacity < needed:
        return f"it sustains {capacity:f} per second, and {peak:f} x {headroom:f} = {needed:f} are needed"
    return None


def not_sustained(
    ws: Workspace, weights: Mapping[VariantId, int], *, peak: Decimal, headroom: Decimal
) -> Iterator[tuple[VariantId, str]]:
    """Every variant that was not shown to sustain its share of the route's peak with headroom, and why."""
    known = latest_capacities(ws, weights)
    for variant, percent in weights.items():
        found = known.get(variant)
        capacity = Missing("no capacity search of it has ended") if found is None else found.per_s
        if percent and (why := capacity_gate(capacity, peak * percent / 100, headroom)) is not None:
            yield variant, f"{percent} % of a peak of {peak:f} per second: {why}"


def ensure_capacity(ws: Workspace, weights: Mapping[VariantId, int], *, peak: Decimal, headroom: Decimal) -> None:
    """Raise `GuardRefused` unless each variant was shown to sustain its share of the route's peak with headroom."""
    for variant, why in not_sustained(ws, weights, peak=peak, headroom=headroom):
        raise GuardRefused(
            f"{variant.label} must not take {why}.",
            instruction=f"pointsman scenario capacity --variant {variant}",
            code="capacity_not_shown",
        )
