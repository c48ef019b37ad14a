"""The stated error of each mode of a verdict, by 2,000 A/A simulations of each; the power at the planned size; TOST.

Rates are held against the 99 % binomial bound of the stated rate for the number of simulations.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pointsman.clock import ManualClock
from pointsman.decision import Assumptions, decide, inputs_needed, share_risk
from pointsman.decision.over_time import Draw, allowance
from pointsman.decision.planner import simulated_totals
from pointsman.decision.procedure import (
    COST,
    ClusterTotals,
    Margins,
    contributions,
    cost_per_success,
    equivalent,
    gate_p_values,
    sequential_winners,
    sequentially_equivalent,
    winners,
)
from pointsman.errors import GuardRefused
from pointsman.statistics import Floats, LabelSwaps, fewest_by_chance, most_by_chance
from pointsman.storage import LocalResults, open_database
from pointsman.workspace import Workspace
from tests.decision.comparisons import measured, plan
from tests.decision.test_over_time import bind
from tests.decision.test_prove_verdict import equal_variants

pytestmark = pytest.mark.prove

ALPHA = 0.05
SIMULATIONS = 2_000
BATCH = 100
BATCHES = SIMULATIONS // BATCH


def generator(*seeds: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(list(seeds)))


@pytest.mark.parametrize("failures", [0.0, 0.03])
@pytest.mark.parametrize("tail", ["lognormal", "t"])
@pytest.mark.parametrize("clusters", [12, 48])
@pytest.mark.parametrize("margins", [Margins(0.02, 2.0, 0.05), Margins(1.0, 100.0, 0.0)])
def test_equal_variants_looked_at_after_every_cluster_have_a_false_winner_in_at_most_five_of_a_hundred(
    clusters: int, tail: str, failures: float, margins: Margins
) -> None:
    """p values only fall from look to look, so the last one says whether any look named a winner."""
    false = 0
    for batch in range(BATCHES):
        totals = equal_variants(generator(clusters, batch), clusters, tail, failures, variants=5)
        false += int((sequential_winners(totals, margins, ALPHA) >= 0).sum())
    assert false <= most_by_chance(SIMULATIONS, ALPHA)


def test_the_same_looks_with_the_test_of_a_fixed_size_would_name_far_too_many() -> None:
    """What sequential plans are for: stopping at the first significant look of a test that allows one look."""
    false, margins = 0, Margins(1.0, 100.0, 0.0)
    for batch in range(2):
        totals = equal_variants(generator(24, batch), 24, "lognormal", 0.0, variants=3)
        ever = np.zeros(BATCH, dtype=bool)
        for clusters in range(6, 25):
            drawn = LabelSwaps.draw(clusters, swaps=499, seed=clusters)
            ever |= winners(first(totals, clusters), margins, drawn, ALPHA) >= 0
        false += int(ever.sum())
    assert false > most_by_chance(2 * BATCH, 2 * ALPHA)


def first(totals: ClusterTotals, clusters: int) -> ClusterTotals:
    amounts = (totals.success, totals.quality, totals.cost)
    return ClusterTotals(*(amount[..., :clusters] for amount in amounts), inputs=totals.inputs[:clusters])


def test_decide_itself_at_every_look_names_a_false_winner_no_more_often() -> None:
    declared = plan(challengers=3, clusters=14, min_saving=0.0, sequential=True)
    comparisons, false = 100, 0
    for at in range(comparisons):
        drawn = generator(6, at)
        factor = drawn.lognormal(sigma=0.7, size=(4, 14)) * drawn.lognormal(size=(1, 14))
        data = measured(declared, cost=lambda cell, factor=factor: round(0.01 * factor[cell[0], cell[1]], 9))
        looks = range(6, 15)
        false += any(
            decide(declared, [cell for cell in data if int(cell.cluster[-3:]) < look]).winner is not None
            for look in looks
        )
    assert false <= most_by_chance(comparisons, ALPHA)


@pytest.mark.parametrize(("clusters", "per_cluster"), [(8, 12), (20, 5)])
def test_inputs_of_one_source_are_no_more_units_than_the_source(clusters: int, per_cluster: int) -> None:
    """Nearly all noise is common to a cluster: taken one by one, the inputs would name far too many false winners."""
    margins, clustered, one_by_one = Margins(1.0, 100.0, 0.0), 0, 0
    for batch in range(BATCHES):
        draw = generator(31, clusters, batch)
        common = draw.standard_normal((BATCH, 5, clusters, 1))
        own = draw.standard_normal((BATCH, 5, clusters, per_cluster))
        cost = np.exp(0.6 * (np.sqrt(0.95) * common + np.sqrt(0.05) * own))
        ones = np.ones((BATCH, 5, clusters))
        sizes = np.full(clusters, float(per_cluster))
        totals = ClusterTotals(per_cluster * ones, 90 * per_cluster * ones, cost.sum(axis=3), sizes)
        swaps = LabelSwaps.draw(clusters, swaps=1_999, seed=batch)
        clustered += int((winners(totals, margins, swaps, ALPHA) >= 0).sum())
        if batch < 2:
            flat = cost.reshape(BATCH, 5, -1)
            apart = ClusterTotals(np.ones_like(flat), 90 * np.ones_like(flat), flat, np.ones(flat.shape[2]))
            each = LabelSwaps.draw(flat.shape[2], swaps=499, seed=batch)
            one_by_one += int((winners(apart, margins, each, ALPHA) >= 0).sum())
    assert clustered <= most_by_chance(SIMULATIONS, ALPHA)
    assert one_by_one > most_by_chance(2 * BATCH, 4 * ALPHA)


@pytest.mark.parametrize(
    "assumed",
    [
        Assumptions(saving=0.25, challengers=8),
        Assumptions(saving=0.4, challengers=3, cost_spread=0.6, inputs_per_cluster=3),
        Assumptions(saving=0.3, challengers=1, success_rate=0.98, success_margin=0.1, quality_margin=10),
        Assumptions(saving=0.25, challengers=4, sequential=True),
        Assumptions(saving=0.4, challengers=1, cost_spread=0.5, inputs_per_cluster=2, sequential=True),
    ],
)
def test_the_planned_size_finds_the_better_challenger_in_eighty_of_a_hundred_comparisons(assumed: Assumptions) -> None:
    size = inputs_needed(assumed, seed=1)
    found = 0
    for batch in range(BATCHES):
        totals = simulated_totals(assumed, size.clusters, BATCH, generator(991, batch))
        if assumed.sequential:
            named = sequential_winners(totals, assumed.margins, assumed.alpha)
        else:
            swaps = LabelSwaps.draw(size.clusters, swaps=1_999, seed=1_000 + batch)
            named = winners(totals, assumed.margins, swaps, assumed.alpha)
        found += int((named == 0).sum())
    assert found >= fewest_by_chance(SIMULATIONS, assumed.power)


def nearly_equal(seed: int, clusters: int, *, cost: float, quality: float) -> ClusterTotals:
    """One challenger whose true cost and quality differ from the incumbent's by so much."""
    draw = generator(17, seed, clusters)
    base = np.exp(0.5 * draw.standard_normal((BATCH, 1, clusters)))
    noise = np.exp(0.06 * draw.standard_normal((BATCH, 2, clusters)))
    costs, ones = base * noise, np.ones((BATCH, 2, clusters))
    costs[:, 1] *= cost
    scores = 80 + 2 * draw.standard_normal((BATCH, 2, clusters))
    scores[:, 1] += quality
    return ClusterTotals(ones, scores, costs, np.ones(clusters))


EDGES = [(0.95, 0.0), (1 / 0.95, 0.0), (1.0, 2.0), (1.0, -2.0), (0.95, 2.0)]
"""Differences that just are what was declared to matter: a saving of 5 % either way, two points of quality."""


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(("cost", "quality"), EDGES)
def test_a_difference_that_matters_is_called_equivalent_in_at_most_five_of_a_hundred(
    cost: float, quality: float, sequential: bool
) -> None:
    false, margins, clusters = 0, Margins(0.02, 2.0, 0.05), 30
    for batch in range(BATCHES):
        totals = nearly_equal(batch, clusters, cost=cost, quality=quality)
        swaps = LabelSwaps.draw(clusters, swaps=1_999, seed=batch)
        found = (
            sequentially_equivalent(totals, margins, ALPHA) if sequential else equivalent(totals, margins, swaps, ALPHA)
        )
        false += int(found.sum())
    assert false <= most_by_chance(SIMULATIONS, ALPHA)


@pytest.mark.parametrize(("sequential", "clusters"), [(False, 40), (True, 60)])
def test_what_is_equal_is_mostly_found_to_be(sequential: bool, clusters: int) -> None:
    found, margins = 0, Margins(0.02, 2.0, 0.05)
    for batch in range(BATCHES):
        totals = nearly_equal(batch, clusters, cost=1.0, quality=0.0)
        swaps = LabelSwaps.draw(clusters, swaps=1_999, seed=batch)
        one = (
            sequentially_equivalent(totals, margins, ALPHA) if sequential else equivalent(totals, margins, swaps, ALPHA)
        )
        found += int(one.sum())
    assert found >= fewest_by_chance(SIMULATIONS, 0.8)


YEARS = 2_000
DAYS = 365
DAILY_CLUSTERS = 12
PER_YEAR = 0.25
START = datetime(2026, 1, 1, tzinfo=UTC)


def smallest_alphas(draw: np.random.Generator, comparisons: int, margins: Margins, swaps: LabelSwaps) -> Floats:
    """For each of so many A/A comparisons the smallest alpha at which it would name a false winner.

    Only those are tested whose cost statistic is above 1, its standard deviation under swaps: no sum of random signs
    exceeds its own with a chance below 6/64, so the others have p above 0.09.
    """
    base = np.exp(0.5 * draw.standard_normal((comparisons, 1, DAILY_CLUSTERS)))
    cost = base * np.exp(0.3 * draw.standard_normal((comparisons, 3, DAILY_CLUSTERS)))
    ones = np.ones_like(cost)
    totals = ClusterTotals(ones, 90 * ones, cost, np.ones(DAILY_CLUSTERS))
    favour = contributions(totals, margins)[:, COST]
    hopeful = (favour.sum(axis=-1) > np.sqrt((favour**2).sum(axis=-1))).any(axis=-1)
    kept = ClusterTotals(ones[hopeful], 90 * ones[hopeful], cost[hopeful], totals.inputs)
    found = np.ones(comparisons)
    found[hopeful] = gate_p_values(kept, margins, swaps).max(axis=-2).min(axis=-1)
    assert np.isfinite(cost_per_success(totals)).all()
    return found


DAILY = plan(
    challengers=3,
    clusters=DAILY_CLUSTERS,
    alpha=ALPHA,
    alpha_per_year=PER_YEAR,
    cooldown_days=14.0,
    swaps=2**DAILY_CLUSTERS,
)


def switches_of(alphas: Floats) -> tuple[list[int], list[Draw]]:
    """The days on which a route is switched in a year of daily decisions that share its budget, and what these took."""
    draws: list[Draw] = []
    switches: list[int] = []
    for day, needed in enumerate(alphas):
        now = START + timedelta(days=day)
        switched = START + timedelta(days=switches[-1]) if switches else None
        try:
            alpha = allowance(DAILY, draws, switched, now)
        except GuardRefused:
            continue
        draws.append(Draw(now, alpha))
        if needed <= alpha:
            switches.append(day)
    return switches, draws


def false_switches(alphas: Floats, undisturbed: Floats) -> int:
    """`undisturbed` is what each day has as long as nothing was switched, which is the same for every route."""
    return len(switches_of(alphas)[0]) if (alphas <= undisturbed).any() else 0


def undisturbed_alphas() -> Floats:
    _, draws = switches_of(np.ones(DAYS))
    assert len(draws) == DAYS
    return np.array([draw.alpha for draw in draws])


@pytest.mark.parametrize("min_saving", [0.0, 0.05])
def test_a_year_of_daily_decisions_between_equals_makes_at_most_one_false_switch(min_saving: float) -> None:
    """2,000 routes. Without a minimum saving the test is used to its limit: that is where the budget alone holds."""
    swaps = LabelSwaps.draw(DAILY_CLUSTERS, swaps=2**DAILY_CLUSTERS, seed=1)
    assert swaps.exact
    margins = Margins(0.02, 2.0, min_saving)
    undisturbed = undisturbed_alphas()
    assert (undisturbed >= 2.0**-DAILY_CLUSTERS).all()
    counts, unshared = [], []
    for year in range(YEARS):
        alphas = smallest_alphas(generator(365, year), DAYS, margins, swaps)
        counts.append(false_switches(alphas, undisturbed))
        unshared.append(int((alphas <= ALPHA).sum()))
    more_than_one = sum(count > 1 for count in counts)
    assert more_than_one <= most_by_chance(YEARS, PER_YEAR**2 / 2)
    assert sum(counts) <= most_by_chance(YEARS, PER_YEAR)
    if not min_saving:
        assert np.mean(unshared) > 10, "each by itself, the same decisions would have switched again and again"
        assert sum(counts) > 0.1 * YEARS * PER_YEAR, "the budget is used"


def test_the_simulated_year_is_the_one_that_the_database_and_decide_make(migrated: Path, tmp_path: Path) -> None:
    """Day by day through `share_risk`, `decide` and the bindings of the route; challengers that save a little, so that
    something is switched.
    """
    (tmp_path / "state.db").write_bytes(migrated.read_bytes())
    database = open_database(f"sqlite:///{tmp_path}/state.db", migrate=False)
    clock = ManualClock(START)
    ws = Workspace(database, LocalResults(tmp_path / "results"), clock, "somebody")
    swaps = LabelSwaps.draw(DAILY_CLUSTERS, swaps=2**DAILY_CLUSTERS, seed=1)
    needed, cost = [], []
    for day in range(DAYS):
        drawn = generator(12, day).lognormal(-4.6, 0.2, (4, DAILY_CLUSTERS)).round(9)
        drawn[1:] = (0.85 * drawn[1:]).round(9)
        ones = np.ones_like(drawn)
        totals = ClusterTotals(ones, 90 * ones, drawn, np.ones(DAILY_CLUSTERS))
        needed.append(float(gate_p_values(totals, DAILY.margins, swaps).max(axis=-2).min()))
        cost.append(drawn)
    expected, draws = switches_of(np.array(needed))
    switches, taken = [], []
    for day in range(DAYS):
        with suppress(GuardRefused):
            (declared,) = share_risk(ws, f"bm_{day}", [DAILY])
            taken.append(declared.alpha)
            data = measured(declared, cost=lambda cell, day=day: f"{cost[day][cell[0], cell[1]]:.9f}")
            if decide(declared, data).outcome == "WINNER":
                switches.append(day)
                bind(ws, 1 + len(switches), "superseded")
        clock.sleep(86_400)
    assert switches == expected
    assert 2 <= len(switches) < 30
    assert taken == pytest.approx([draw.alpha for draw in draws])


def test_a_better_challenger_that_appears_is_still_found_by_daily_decisions_within_weeks() -> None:
    """What the budget costs: a true saving of a third has to be seen at a small alpha, one day or another."""
    assumed = Assumptions(saving=0.33, challengers=2, success_rate=1.0)
    swaps = LabelSwaps.draw(20, swaps=9_999, seed=2)
    daily = (PER_YEAR - ALPHA) / DAYS
    found = 0
    for batch in range(4):
        totals = simulated_totals(assumed, 20, BATCH, generator(88, batch))
        found += int((winners(totals, replace(assumed, min_saving=0.05).margins, swaps, daily) == 0).sum())
    chance = found / (4 * BATCH)
    assert 1 - (1 - chance) ** 21 > 0.8
