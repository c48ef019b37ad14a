"""The minimum detectable saving: it follows the spread, and says why when there is none."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from pointsman.decision import VerdictPlan, minimum_detectable_saving
from pointsman.model import Measurement, Missing
from tests.decision.comparisons import measured, plan


def noisy(declared: VerdictPlan, spread: float, *, quality: float = 0.5, **options: Any) -> list[Measurement]:
    generator = np.random.Generator(np.random.PCG64(17))
    shape = (len(declared.variants), len(declared.inputs))
    cost, score = generator.lognormal(sigma=spread, size=shape), generator.normal(85, quality, size=shape)
    return measured(
        declared,
        cost=lambda cell: round(0.01 * cost[cell[0], cell[1]], 9),
        quality=lambda cell: round(float(np.clip(score[cell[0], cell[1]], 0, 100)), 6),
        **options,
    )


def detectable(spread: float, *, clusters: int = 24, challengers: int = 4, **options: Any) -> Decimal:
    declared = plan(clusters=clusters, challengers=challengers)
    found = minimum_detectable_saving(declared, noisy(declared, spread, **options))
    assert isinstance(found, Decimal), found
    return found


def test_it_grows_with_the_spread_and_shrinks_with_more_clusters() -> None:
    assert Decimal("0.05") < detectable(0.05) < detectable(0.15) < detectable(0.4)
    assert detectable(0.15, clusters=80) < detectable(0.15, clusters=24)


def test_without_spread_it_is_the_smallest_saving_worth_a_switch() -> None:
    assert detectable(0.0, quality=0.0) == Decimal("0.0500")


def test_the_same_comparison_gives_the_same_figure() -> None:
    assert detectable(0.2) == detectable(0.2)


def test_more_challengers_hide_smaller_savings() -> None:
    assert detectable(0.2, challengers=1) < detectable(0.2, challengers=20)


def test_quality_that_varies_too_much_leaves_no_saving_to_be_found() -> None:
    declared = plan(clusters=12, challengers=3)
    found = minimum_detectable_saving(declared, noisy(declared, 0.1, quality=12))
    assert isinstance(found, Missing)
    assert "spread between inputs is so large" in found.reason


def test_a_small_alpha_is_no_reason_to_find_nothing() -> None:
    declared = plan(clusters=24, challengers=2, alpha=0.0003)
    found = minimum_detectable_saving(declared, noisy(declared, 0.05))
    assert isinstance(found, Decimal), found
    assert found > detectable(0.05, challengers=2)


def test_a_sequential_plan_is_not_told_what_another_test_would_find() -> None:
    declared = plan(clusters=24, sequential=True)
    found = minimum_detectable_saving(declared, noisy(declared, 0.05))
    assert isinstance(found, Missing)
    assert "hud plan --sequential" in found.reason


@pytest.mark.parametrize(
    ("clusters", "changed", "reason"),
    [
        (8, {(0, 0, 0): {"outcome": "infrastructure"}}, "invalid: 1 cells were lost by our own infrastructure"),
        (8, {(0, 0, 0): {"quality": Missing("x")}}, "not judged"),
        (3, {}, "3 clusters can never reach"),
        (1, {}, "1 cluster can never reach"),
        (8, {(0, 0, 0): {"cost_usd": Missing("x")}}, "no cost per success"),
        (8, {(v, 0, 0): {"cost_usd": Missing("x")} for v in (1, 2)}, "no cost per success"),
    ],
)
def test_where_there_is_no_figure_it_says_why(clusters: int, changed: Any, reason: str) -> None:
    declared = plan(clusters=clusters)
    found = minimum_detectable_saving(declared, measured(declared, changed=changed))
    assert isinstance(found, Missing)
    assert reason in found.reason


def test_challengers_without_a_cost_are_left_out() -> None:
    unknown = {(1, 0, 0): {"cost_usd": Missing("no price")}}
    assert detectable(0.1, changed=unknown) > Decimal("0.05")
    assert detectable(0.1, failed=lambda cell: cell[0] == 2) > Decimal("0.05")


def test_challengers_that_are_worse_than_the_incumbent_do_not_hide_what_an_equal_one_would_show() -> None:
    declared = plan(clusters=24, challengers=4)
    worse = {
        (v, i, 0): {"quality": Decimal(60 + (v + i) % 3)} for v in range(1, 5) for i in range(len(declared.inputs))
    }
    assert Decimal("0.05") < detectable(0.1, changed=worse) < Decimal("0.3")
