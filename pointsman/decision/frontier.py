"""The Pareto frontier of cost and quality: the variants that no other one beats in both."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.ids import VariantId
from pointsman.model import Missing, Number


def pareto_frontier(points: Iterable[tuple[VariantId, Number, Number]]) -> tuple[VariantId, ...]:
    """Of (variant, cost per success, quality) those that no other one equals in both and beats in one.

    A variant whose cost or quality is not known is on no frontier and beats nobody. Ordered by cost; two variants with
    equal cost and quality stand or fall together.
    """
    known = sorted(
        (cost, -quality, variant)
        for variant, cost, quality in points
        if not isinstance(cost, Missing) and not isinstance(quality, Missing)
    )
    frontier: list[VariantId] = []
    best = None
    for cost, negated, variant in known:
        if best is None or negated < best[1] or (cost, negated) == best:
            frontier.append(variant)
            best = cost, negated
    return tuple(frontier)
