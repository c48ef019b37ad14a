"""Names decide nothing, and nobody wins or stands on the frontier who is not priced, judged and valid."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.decision import VerdictPlan, decide, verdict_document
from pointsman.decision.hud import build_hud
from pointsman.ids import VariantId
from pointsman.model import Gate, Measurement, Missing, Verdict
from tests.decision.comparisons import measured, plan, variant
from tests.decision.test_hud import context

_WAYS, _CLUSTERS = 5, 9


def comparison(seed: int, *, sequential: bool = False, **rules: Any) -> tuple[VerdictPlan, list[Measurement]]:
    """Challengers of any saving and quality; costs may tie, cells may fail."""
    draw = np.random.Generator(np.random.PCG64(seed))
    declared = plan(challengers=_WAYS - 1, clusters=_CLUSTERS, swaps=600, sequential=sequential, **rules)
    level = draw.choice([0.4, 0.4, 0.7, 1.0], size=_WAYS)
    noise = draw.lognormal(sigma=0.05, size=(_WAYS, _CLUSTERS)) ** draw.integers(0, 2)
    quality = 90 + draw.choice([0.0, -1.0, -5.0], size=_WAYS)[:, None] + draw.normal(0, 0.3, (_WAYS, _CLUSTERS))
    failing = draw.random((_WAYS, _CLUSTERS)) < draw.choice([0.0, 0.02])
    return declared, measured(
        declared,
        cost=lambda cell: round(0.01 * level[cell[0]] * noise[cell[0], cell[1]], 9),
        quality=lambda cell: round(min(100.0, quality[cell[0], cell[1]]), 4),
        failed=lambda cell: bool(failing[cell[0], cell[1]]),
    )


def renamed(names: dict[VariantId, VariantId], declared: VerdictPlan, data: list[Measurement]) -> Any:
    challengers = tuple(names[one] for one in declared.challengers)
    other = replace(declared, incumbent=names[declared.incumbent], challengers=challengers)
    return other, [replace(cell, variant=names[cell.variant]) for cell in data]


def with_names(names: dict[VariantId, VariantId], verdict: Verdict) -> tuple[Any, ...]:
    def gate(one: Gate) -> Gate:
        return replace(one, challenger=names[one.challenger])

    winner = None if verdict.winner is None else names[verdict.winner]
    return verdict.outcome, winner, tuple(gate(one) for one in verdict.gates)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(_WAYS)), st.booleans())
def test_other_names_permute_the_verdict_and_change_nothing_else(seed: int, order: list[int], sequential: bool) -> None:
    declared, data = comparison(seed, sequential=sequential)
    names = {variant(at): variant(to) for at, to in enumerate(order)}
    found, other = decide(declared, data), decide(*renamed(names, declared, data))
    assert with_names(names, found) == (other.outcome, other.winner, other.gates)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(1, _WAYS)))
def test_the_place_of_a_challenger_in_the_plan_decides_nothing(seed: int, order: list[int]) -> None:
    declared, data = comparison(seed)
    turned = replace(declared, challengers=tuple(variant(at) for at in order))
    found, other = decide(declared, data), decide(turned, data)
    assert (found.outcome, {*found.gates}) == (other.outcome, {*other.gates})
    if found.winner != other.winner:
        costs = [sum(c.cost_usd for c in data if c.variant == one) for one in (found.winner, other.winner)]  # type: ignore[misc]
        assert costs[0] == costs[1], "only among those that cost exactly the same the first one is taken"


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, _WAYS - 1), st.integers(0, _CLUSTERS - 1), st.booleans(), st.data())
def test_what_is_unpriced_unjudged_or_invalid_neither_wins_nor_stands_on_the_frontier(
    seed: int, spoilt: int, cluster: int, sequential: bool, data: st.DataObject
) -> None:
    declared, cells = comparison(seed, sequential=sequential)
    beside = (cluster + 1) % _CLUSTERS
    change: dict[str, Any] = data.draw(
        st.sampled_from(
            [
                {"cost_usd": Missing("no price")},
                {"quality": Missing("the judge gave up"), "outcome": "success"},
                {"outcome": "infrastructure"},
                {"cost_usd": Decimal(-1)},
                {"quality": Decimal(101)},
                {"total_ms": Decimal("NaN")},
                {"cost_usd": Decimal("NaN")},
                {"quality": Decimal("Infinity")},
                {"cluster": "photo-999"},
                {"input_id": "clip-999"},
                {"repeat": 1},
                {"input_id": f"clip-{beside:03d}", "cluster": f"photo-{beside:03d}"},
            ]
        )
    )
    at = next(
        place
        for place, cell in enumerate(cells)
        if cell.variant == variant(spoilt) and cell.input_id == f"clip-{cluster:03d}"
    )
    cells[at] = replace(cells[at], **change)
    verdict = decide(declared, cells)
    assert verdict.winner != variant(spoilt)
    if "cost_usd" in change and isinstance(change["cost_usd"], Missing):
        assert verdict.outcome != "INVALID", "the others are still compared"
    hud = build_hud(declared, cells, verdict, context(waterfalls=()))
    assert str(variant(spoilt)) not in hud["frontier"]
    (row,) = (one for one in hud["rows"] if one["variant"] == str(variant(spoilt)))
    assert not row["on_frontier"]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.randoms(use_true_random=False))
def test_replaying_gives_the_same_bytes(seed: int, sequential: bool, random: Any) -> None:
    declared, data = comparison(seed, sequential=sequential, scores={"ssim": 0.1})
    data = [replace(cell, scores=(("ssim", Decimal("0.98")),)) for cell in data]
    shuffled = random.sample(data, k=len(data))
    one, two = (verdict_document(declared, cells, decide(declared, cells)) for cells in (data, shuffled))
    assert one == two
