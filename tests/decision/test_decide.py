"""The verdict: each gate, each way to have no winner, and the mistakes that would crown a false one."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.decision import decide
from pointsman.decision.cells import cells
from pointsman.decision.procedure import (
    COST,
    ClusterTotals,
    Margins,
    contributions,
    cost_per_success,
    gate_p_values,
    winners,
)
from pointsman.model import Gate, Measurement, Missing, Verdict, VerdictOutcome
from pointsman.statistics import LabelSwaps
from tests.decision.comparisons import Cell, measured, plan, variant, wobble


def gates_of(verdict: Verdict, number: int) -> dict[str, Gate]:
    return {gate.name: gate for gate in verdict.gates if gate.challenger == variant(number)}


def cheaper(by: float, *, winner: int = 1) -> Any:
    return lambda cell: 0.01 * wobble(cell) * (1 - by if cell[0] == winner else 1)


def test_a_challenger_as_good_and_much_cheaper_wins() -> None:
    declared = plan()
    verdict = decide(declared, measured(declared, cost=cheaper(0.4), quality=lambda cell: 90 * wobble(cell, 0.005)))
    assert verdict.outcome == "WINNER"
    assert verdict.winner == variant(1)
    assert [gate.passed for gate in gates_of(verdict, 1).values()] == [True, True, True]
    assert list(gates_of(verdict, 1)) == ["success", "quality", "cost"]
    assert gates_of(verdict, 1)["cost"].estimate == pytest.approx(0.4, abs=0.05)
    assert "wf1@lab-cpu wins" in verdict.why
    assert (verdict.plan_sha256, verdict.code_version) == (declared.sha256, "0.1.0")


def test_deterministic_encoders_without_any_spread_are_compared_without_a_division_by_zero() -> None:
    declared = plan(challengers=1)
    verdict = decide(declared, measured(declared, cost=lambda cell: "0.005" if cell[0] else "0.01"))
    assert verdict.outcome == "WINNER"
    for gate in verdict.gates:
        assert gate.p_value == 1 / 2**8


def test_among_several_that_pass_the_cheapest_wins() -> None:
    declared = plan(challengers=3)
    saving = {1: 0.3, 2: 0.6, 3: 0.45}
    data = measured(declared, cost=lambda cell: 0.01 * wobble(cell, 0.02) * (1 - saving.get(cell[0], 0)))
    verdict = decide(declared, data)
    assert verdict.winner == variant(2)
    assert "3 challengers pass all gates" in verdict.why


def test_a_saving_below_the_smallest_worth_a_switch_does_not_win() -> None:
    data = measured(plan(), cost=lambda cell: "0.0096" if cell[0] == 1 else "0.01")
    verdict = decide(plan(), data)
    assert verdict.outcome == "EQUIVALENT"
    assert verdict.winner is None
    cost = gates_of(verdict, 1)["cost"]
    assert not cost.passed
    assert "cost per success -4.00 %" in cost.why
    without_minimum = plan(min_saving=0.0)
    assert decide(without_minimum, measured(without_minimum, cost=lambda c: "0.0096" if c[0] == 1 else "0.01")).winner


def test_cheap_but_clearly_worse_fails_at_quality_and_is_not_asked_for_its_cost() -> None:
    declared = plan(challengers=1)
    verdict = decide(declared, measured(declared, cost=cheaper(0.5), quality=lambda cell: 80 if cell[0] else 90))
    assert verdict.outcome == "NO_SIGNIFICANT_WINNER"
    assert "fails the quality gate: mean quality -10.00 points" in verdict.why
    cost = gates_of(verdict, 1)["cost"]
    assert (cost.passed, cost.p_value) == (False, None)
    assert cost.estimate == pytest.approx(0.5, abs=0.1)
    assert "not asked, because the quality gate failed" in cost.why


def test_a_quality_lower_by_less_than_the_margin_is_good_enough() -> None:
    declared = plan(challengers=1, quality_margin=2)
    quality = lambda cell: 90 - (1.5 if cell[0] else 0)  # noqa: E731
    assert decide(declared, measured(declared, cost=cheaper(0.5), quality=quality)).outcome == "WINNER"
    strict = plan(challengers=1, quality_margin=1)
    assert decide(strict, measured(strict, cost=cheaper(0.5), quality=quality)).outcome == "NO_SIGNIFICANT_WINNER"


def test_failed_cells_count_as_quality_zero_whatever_they_were_scored() -> None:
    declared = plan(challengers=1, success_margin=1.0)
    data = measured(
        declared, cost=cheaper(0.9), quality=lambda cell: 99, failed=lambda cell: cell[0] == 1 and cell[1] < 2
    )
    verdict = decide(declared, data)
    quality = gates_of(verdict, 1)["quality"]
    assert quality.estimate == pytest.approx(-99 * 2 / 8)
    assert not quality.passed


def test_failed_cells_are_no_success_but_cost_what_they_cost() -> None:
    declared = plan(challengers=1, success_margin=1.0, quality_margin=100)
    data = measured(declared, failed=lambda cell: cell[0] == 1 and cell[1] < 4, cost=lambda cell: "0.01")
    cost = gates_of(decide(declared, data), 1)["cost"]
    assert cost.estimate == pytest.approx(-1.0), "half the cells fail: each success costs twice as much"
    refused = [replace(cell, outcome="refused") if cell.outcome == "failure" else cell for cell in data]
    assert gates_of(decide(declared, refused), 1)["cost"].estimate == pytest.approx(-1.0)


def test_a_challenger_that_fails_more_often_fails_at_success() -> None:
    declared = plan(challengers=1)
    data = measured(declared, cost=cheaper(0.9), failed=lambda cell: cell[0] == 1 and cell[1] == 3)
    verdict = decide(declared, data)
    assert verdict.outcome == "NO_SIGNIFICANT_WINNER"
    assert "fails the success gate: success rate -12.50 points of a hundred" in verdict.why


def test_cost_per_success_is_a_ratio_of_sums_and_not_a_mean_of_ratios() -> None:
    """Cheap on the many small inputs and ruinous on one large: the mean of the cost ratios says 35 % cheaper."""
    declared = plan(challengers=1, clusters=12, min_saving=0.0)

    def cost(cell: Cell) -> float:
        large = cell[1] == 0
        return (10.0 if large else 0.01) * ((1.4 if large else 0.6) if cell[0] else 1)

    verdict = decide(declared, measured(declared, cost=cost))
    estimate = gates_of(verdict, 1)["cost"].estimate
    assert estimate == pytest.approx(-0.395, abs=0.01)
    assert verdict.outcome == "NO_SIGNIFICANT_WINNER"


def test_repeats_are_averaged_and_make_no_new_units() -> None:
    once, often = plan(challengers=1, clusters=8), plan(challengers=1, clusters=8, repeats=9)
    cost = lambda cell: 0.01 * wobble((cell[0], cell[1], 0), 0.5) * (0.6 if cell[0] else 1)  # noqa: E731
    first, second = (gates_of(decide(some, measured(some, cost=cost)), 1)["cost"] for some in (once, often))
    assert second.estimate == pytest.approx(first.estimate)
    assert second.p_value == first.p_value
    assert 0.01 < first.p_value < 0.2, "with nine times the units this would be significant"


def test_inputs_of_a_cluster_are_one_unit() -> None:
    apart = plan(challengers=1, clusters=24, min_saving=0.0)
    together = plan(challengers=1, clusters=6, inputs_per_cluster=4, min_saving=0.0)
    cost = lambda cell: "0.009" if cell[0] else "0.01"  # noqa: E731
    assert gates_of(decide(together, measured(together, cost=cost)), 1)["cost"].p_value == 1 / 2**6
    assert gates_of(decide(apart, measured(apart, cost=cost)), 1)["cost"].p_value == 1 / 10_001


def test_too_few_clusters_say_how_many_are_needed() -> None:
    declared = plan(clusters=4, inputs_per_cluster=50)
    verdict = decide(declared, measured(declared, cost=cheaper(0.9)))
    assert verdict.outcome == "INSUFFICIENT_DATA"
    assert "4 clusters of inputs can never reach alpha = 0.05; 5 or more are needed." in verdict.why
    alone = plan(clusters=1)
    assert "1 cluster of inputs can never reach" in decide(alone, measured(alone)).why
    enough = plan(challengers=1, clusters=5)
    assert decide(enough, measured(enough, cost=lambda cell: "0.005" if cell[0] else "0.01")).outcome == "WINNER"


def test_a_successful_cell_without_a_quality_is_not_enough_data() -> None:
    data = measured(plan(), cost=cheaper(0.5), changed={(1, 3, 0): {"quality": Missing("judge gave up")}})
    verdict = decide(plan(), data)
    assert verdict.outcome == "INSUFFICIENT_DATA"
    assert "1 successful cells have no quality (the first: d-001-0003-0)" in verdict.why


def test_checks_without_a_source_alone_make_no_winner_however_much_is_saved() -> None:
    alone = {"quality": Missing("checks without a source make no quality")}
    every = {(v, i, 0): alone for v in range(3) for i in range(8)}
    assert decide(plan(), measured(plan(), cost=cheaper(0.1), changed=every)).outcome == "INSUFFICIENT_DATA"
    kept = {cell: alone for cell in every if cell[1] == 0}
    assert decide(plan(), measured(plan(), cost=cheaper(0.1), changed=kept)).outcome == "INSUFFICIENT_DATA"


def test_beside_an_incumbent_whose_outputs_all_scored_0_nothing_wins() -> None:
    bad = measured(plan(), cost=cheaper(0.5), quality=lambda cell: "0")
    verdict = decide(plan(), bad)
    assert verdict.outcome == "INSUFFICIENT_DATA"
    assert "All outputs of the incumbent wf0@lab-cpu scored 0" in verdict.why


def test_a_failed_cell_needs_no_quality() -> None:
    declared = plan(challengers=1, success_margin=0.5, quality_margin=50)
    gone = {"quality": Missing("nothing to judge"), "outcome": "failure"}
    data = measured(declared, cost=cheaper(0.8), changed={(1, 3, 0): gone})
    assert decide(declared, data).outcome == "WINNER"


def test_an_unpriced_challenger_has_no_cost_gate_and_cannot_win() -> None:
    declared = plan()
    data = measured(declared, cost=cheaper(0.9), changed={(1, 0, 0): {"cost_usd": Missing("no price for gpu-second")}})
    verdict = decide(declared, data)
    assert verdict.outcome == "NO_SIGNIFICANT_WINNER"
    assert list(gates_of(verdict, 1)) == ["success", "quality"]
    assert "wf1@lab-cpu is UNPRICED (no price for gpu-second) and can not win." in verdict.why
    assert list(gates_of(verdict, 2)) == ["success", "quality", "cost"]


def test_an_unpriced_challenger_does_not_keep_a_priced_one_from_winning() -> None:
    declared = plan()
    changed = {(1, 0, 0): {"cost_usd": Missing("no price")}}
    assert decide(declared, measured(declared, cost=cheaper(0.5, winner=2), changed=changed)).winner == variant(2)


@pytest.mark.parametrize(
    ("unpriced", "sentence"),
    [((0,), "The cost of the incumbent wf0@lab-cpu is not known (no price)."), ((1, 2), "The cost of no challenger")],
)
def test_without_a_price_on_both_sides_there_is_not_enough_data(unpriced: tuple[int, ...], sentence: str) -> None:
    changed = {(number, 0, 0): {"cost_usd": Missing("no price")} for number in unpriced}
    verdict = decide(plan(), measured(plan(), changed=changed))
    assert verdict.outcome == "INSUFFICIENT_DATA"
    assert sentence in verdict.why


def drop(data: list[Measurement]) -> list[Measurement]:
    return data[1:]


def double(data: list[Measurement]) -> list[Measurement]:
    return [*data, data[3]]


def repeat_a_cell(data: list[Measurement]) -> list[Measurement]:
    return [*data, replace(data[3], dispatch_id="another")]


def stray_variant(data: list[Measurement]) -> list[Measurement]:
    return [*data, replace(data[0], variant=variant(9), dispatch_id="stray")]


def stray_input(data: list[Measurement]) -> list[Measurement]:
    return [*data, replace(data[0], input_id="other", dispatch_id="stray")]


def stray_repeat(data: list[Measurement]) -> list[Measurement]:
    return [*data, replace(data[0], repeat=1, dispatch_id="stray")]


def move_cluster(data: list[Measurement]) -> list[Measurement]:
    return [replace(data[0], cluster="photo-007"), *data[1:]]


def lose(data: list[Measurement]) -> list[Measurement]:
    return [replace(data[0], outcome="infrastructure"), *data[1:]]


def set_number(**numbers: Decimal) -> Any:
    return lambda data: [replace(data[0], **numbers), *data[1:]]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (drop, "1 planned cells have no measurement (wf0@lab-cpu on clip-000, repeat 0)."),
        (double, "1 measurements are of a cell or dispatch that was measured already (d-000-0003-0)."),
        (repeat_a_cell, "1 measurements are of a cell or dispatch that was measured already (another)."),
        (stray_variant, "1 measurements are of cells that the plan does not name (stray)."),
        (stray_input, "1 measurements are of cells that the plan does not name (stray)."),
        (stray_repeat, "1 measurements are of cells that the plan does not name (stray)."),
        (move_cluster, "1 measurements name another cluster than the plan (d-000-0000-0)."),
        (lose, "1 cells were lost by our own infrastructure (d-000-0000-0)."),
        (set_number(cost_usd=Decimal("-1")), "impossible numbers"),
        (set_number(cost_usd=Decimal("NaN")), "impossible numbers"),
        (set_number(quality=Decimal("101")), "impossible numbers"),
        (set_number(quality=Decimal("Infinity")), "impossible numbers"),
    ],
)
def test_data_that_is_not_the_planned_cells_is_invalid(spoil: Any, sentence: str) -> None:
    verdict = decide(plan(), spoil(measured(plan(), cost=cheaper(0.5))))
    assert verdict.outcome == "INVALID"
    assert verdict.gates == ()
    assert verdict.winner is None
    assert sentence in verdict.why


def test_no_data_at_all_is_invalid_and_says_how_much_is_missing() -> None:
    verdict = decide(plan(), [])
    assert verdict.outcome == "INVALID"
    assert "24 planned cells have no measurement" in verdict.why
    assert "and 21 more" in verdict.why


def test_without_a_single_success_nobody_wins() -> None:
    verdict = decide(plan(), measured(plan(), cost=cheaper(0.9), failed=lambda cell: True))
    assert verdict.outcome == "NO_SIGNIFICANT_WINNER"
    assert "no cost per success to compare with" in verdict.why


def test_a_challenger_beats_an_incumbent_that_never_succeeds() -> None:
    declared = plan(challengers=1)
    verdict = decide(declared, measured(declared, failed=lambda cell: cell[0] == 0))
    assert verdict.winner == variant(1)
    assert gates_of(verdict, 1)["cost"].estimate is None


def test_free_against_free_is_no_saving() -> None:
    verdict = decide(plan(), measured(plan(), cost=lambda cell: 0))
    assert verdict.outcome == "NO_SIGNIFICANT_WINNER"


def test_identical_measurements_never_win() -> None:
    declared = plan(challengers=8, clusters=12, min_saving=0.0)
    verdict = decide(declared, measured(declared, cost=lambda cell: 0.01 * wobble((0, cell[1], 0), 0.5)))
    assert verdict.outcome == "NO_SIGNIFICANT_WINNER"
    assert {gate.p_value for gate in verdict.gates if gate.name == "cost"} == {1.0}


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False), st.floats(0.0, 0.6))
def test_the_order_of_the_measurements_does_not_matter(order: random.Random, by: float) -> None:
    declared = plan(repeats=2, inputs_per_cluster=2)
    data = measured(declared, cost=cheaper(by), quality=lambda cell: round(90 * wobble(cell, 0.01), 6))
    shuffled = order.sample(data, k=len(data))
    assert decide(declared, shuffled) == decide(declared, data)


def test_the_order_of_the_challengers_does_not_matter() -> None:
    declared = plan(challengers=3)
    data = measured(declared, cost=cheaper(0.3, winner=2))
    turned = replace(declared, challengers=declared.challengers[::-1])
    first, second = decide(declared, data), decide(turned, data)
    assert first.winner == second.winner
    for number in (1, 2, 3):
        assert gates_of(first, number) == gates_of(second, number)


def random_totals(seed: int, variants: int = 4, clusters: int = 9) -> ClusterTotals:
    generator = np.random.Generator(np.random.PCG64(seed))
    success = generator.integers(1, 4, size=(variants, clusters)).astype(np.float64)
    cost = generator.lognormal(size=(variants, clusters))
    return ClusterTotals(success, 90 * success, cost, np.full(clusters, 3.0))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.05, 0.3]))
def test_cost_contributions_sum_above_zero_exactly_when_the_ratio_of_sums_saves_enough(seed: int, least: float) -> None:
    totals = random_totals(seed)
    favour = contributions(totals, Margins(0.02, 2.0, least))[COST].sum(axis=-1)
    price = cost_per_success(totals)
    assert (favour > 0).tolist() == (price[1:] < (1 - least) * price[0]).tolist()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 8))
def test_swapping_the_labels_of_a_cluster_turns_the_sign_of_its_contribution_and_nothing_else(
    seed: int, cluster: int
) -> None:
    totals = random_totals(seed, variants=2)
    margins = Margins(0.0, 0.0, 0.0)
    before = contributions(totals, margins)
    swapped = ClusterTotals(totals.success.copy(), totals.quality.copy(), totals.cost.copy(), totals.inputs)
    for amounts in (swapped.success, swapped.quality, swapped.cost):
        amounts[:, cluster] = amounts[::-1, cluster]
    sign = np.where(np.arange(9) == cluster, -1.0, 1.0)
    assert contributions(swapped, margins) == pytest.approx(sign * before)


def test_the_arrays_that_simulations_use_and_decide_agree() -> None:
    generator = np.random.Generator(np.random.PCG64(21))
    declared = plan(challengers=4, clusters=8, inputs_per_cluster=2, swaps=500)
    outcomes: set[VerdictOutcome] = set()
    for _ in range(40):
        factor = generator.lognormal(sigma=0.15, size=(5, 16))
        factor[1] *= generator.choice([0.6, 0.8, 1.0])
        bad = generator.random((5, 16)) < 0.01
        score = generator.normal(85, 1, size=(5, 16))
        data = measured(
            declared,
            cost=lambda cell, factor=factor: round(0.01 * factor[cell[0], cell[1]], 9),
            quality=lambda cell, score=score: round(score[cell[0], cell[1]], 4),
            failed=lambda cell, bad=bad: bool(bad[cell[0], cell[1]]),
        )
        verdict = decide(declared, data)
        totals = cells(declared, data).totals
        swaps = LabelSwaps.draw(8, swaps=declared.swaps, seed=declared.seed)
        at = int(winners(totals, declared.margins, swaps, declared.alpha))
        assert verdict.winner == (None if at < 0 else declared.challengers[at])
        p = gate_p_values(totals, declared.margins, swaps)
        for gate in verdict.gates:
            if gate.p_value is not None:
                row = ("success", "quality", "cost").index(gate.name)
                assert gate.p_value == p[row, declared.challengers.index(gate.challenger)]
        outcomes.add(verdict.outcome)
    assert outcomes == {"WINNER", "NO_SIGNIFICANT_WINNER"}
