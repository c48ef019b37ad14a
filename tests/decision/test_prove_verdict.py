"""The promises of a verdict of fixed size, by simulation: false winners at most 5 %, and what is detectable is found.

Rates are held against the 99 % binomial bound of the promised rate for the number of simulations.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from pointsman.decision import Assumptions, decide, minimum_detectable_saving
from pointsman.decision.planner import simulated_totals
from pointsman.decision.procedure import ClusterTotals, Margins, winners
from pointsman.statistics import LabelSwaps, most_by_chance
from tests.decision.comparisons import measured, plan

pytestmark = pytest.mark.prove

ALPHA = 0.05
MATRICES = 2_000
BATCH = 100


def equal_variants(
    generator: np.random.Generator,
    clusters: int,
    tail: str,
    failures: float,
    *,
    matrices: int = BATCH,
    variants: int = 9,
) -> ClusterTotals:
    """A/A matrices: all variants drawn alike, 1 to 4 inputs in a cluster, half of the noise common to the cluster."""
    sizes = generator.integers(1, 5, size=clusters)
    of_cluster = np.repeat(np.arange(clusters), sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def noise(columns: int) -> np.ndarray:
        shape = (matrices, variants, columns)
        return generator.standard_t(3, size=shape) if tail == "t" else generator.standard_normal(shape)

    error = np.sqrt(0.5) * (noise(clusters)[:, :, of_cluster] + noise(len(of_cluster)))
    base = generator.standard_normal((matrices, 1, len(of_cluster)))
    cost = np.exp(0.8 * base + 0.8 * error) if tail == "lognormal" else np.exp(0.5 * base) * np.abs(10 + 2 * error)
    success = (generator.random(error.shape) >= failures).astype(np.float64)
    quality = np.clip(90 + 3 * generator.standard_normal(error.shape), 0, 100) * success
    totals = (np.add.reduceat(amount, starts, axis=2) for amount in (success, quality, cost))
    return ClusterTotals(*totals, inputs=sizes.astype(np.float64))


def false_winners(clusters: int, tail: str, failures: float, margins: Margins, swaps: int) -> int:
    found = 0
    for batch in range(MATRICES // BATCH):
        generator = np.random.Generator(np.random.PCG64([clusters, batch, len(tail)]))
        drawn = LabelSwaps.draw(clusters, swaps=swaps, seed=batch)
        found += int((winners(equal_variants(generator, clusters, tail, failures), margins, drawn, ALPHA) >= 0).sum())
    return found


@pytest.mark.parametrize("failures", [0.0, 0.03])
@pytest.mark.parametrize("tail", ["lognormal", "t"])
@pytest.mark.parametrize(("clusters", "swaps"), [(8, 10_000), (12, 10_000), (24, 1_999)])
@pytest.mark.parametrize("min_saving", [0.0, 0.05])
def test_equal_variants_have_a_false_winner_in_at_most_five_of_a_hundred_comparisons(
    clusters: int, swaps: int, tail: str, failures: float, min_saving: float
) -> None:
    false = false_winners(clusters, tail, failures, Margins(0.02, 2.0, min_saving), swaps)
    assert false <= most_by_chance(MATRICES, ALPHA)


@pytest.mark.parametrize("tail", ["lognormal", "t"])
def test_the_cost_gate_by_itself_uses_its_error_rate_and_no_more(tail: str) -> None:
    """With the other gates wide open nothing but the cost gate stands between equals and a false winner."""
    false = false_winners(10, tail, 0.0, Margins(1.0, 100.0, 0.0), 10_000)
    assert 0.03 * MATRICES < false <= most_by_chance(MATRICES, ALPHA)


def test_challengers_at_the_edge_of_different_gates_have_a_false_winner_no_more_often() -> None:
    """Six much cheaper ones whose quality is lower by exactly the margin, two as good that save exactly the least."""
    false = 0
    for batch in range(MATRICES // BATCH):
        totals = equal_variants(np.random.Generator(np.random.PCG64([77, batch])), 20, "lognormal", 0.0)
        totals.cost[:, 1:7] *= 0.3
        totals.cost[:, 7:] *= 0.95
        totals.quality[:, 1:7] -= 2.0 * totals.inputs
        drawn = LabelSwaps.draw(20, swaps=1_999, seed=batch)
        false += int((winners(totals, Margins(0.02, 2.0, 0.05), drawn, ALPHA) >= 0).sum())
    assert false <= most_by_chance(MATRICES, ALPHA)


def test_decide_itself_names_a_false_winner_no_more_often() -> None:
    """The same promise through measurements, with two repeats of each input and failures that cost."""
    declared = plan(challengers=8, clusters=8, inputs_per_cluster=2, repeats=2, min_saving=0.0, success_margin=0.1)
    comparisons = 300
    false = 0
    for at in range(comparisons):
        generator = np.random.Generator(np.random.PCG64([5, at]))
        factor = generator.lognormal(sigma=0.7, size=(9, 16, 2)) * generator.lognormal(size=(1, 16, 1))
        failed = generator.random((9, 16, 2)) < 0.01
        data = measured(
            declared,
            cost=lambda cell, factor=factor: round(0.01 * factor[cell], 9),
            failed=lambda cell, failed=failed: bool(failed[cell]),
        )
        false += decide(replace(declared, seed=at), data).winner is not None
    assert false <= most_by_chance(comparisons, ALPHA)


@pytest.mark.parametrize("clusters", [16, 40])
def test_a_saving_of_the_minimum_detectable_size_is_found_about_as_often_as_promised(clusters: int) -> None:
    """Measured once without any difference; then comparisons of the same kind with that saving in one challenger."""
    assumed = Assumptions(saving=0.5, challengers=4, quality_spread=1.0)
    declared = plan(challengers=4, clusters=clusters)
    rates = []
    for at in range(10):
        pilot = simulated_totals(assumed, clusters, 1, np.random.Generator(np.random.PCG64([3, clusters, at])))
        pilot.cost[:, 1] /= 1 - assumed.saving
        data = measured(
            declared,
            cost=lambda cell, pilot=pilot: round(float(pilot.cost[0, cell[0], cell[1]]), 9),
            quality=lambda cell, pilot=pilot: round(float(pilot.quality[0, cell[0], cell[1]]), 6),
        )
        detectable = minimum_detectable_saving(declared, data)
        assert isinstance(detectable, Decimal)
        one = replace(assumed, saving=float(detectable))
        totals = simulated_totals(one, clusters, 200, np.random.Generator(np.random.PCG64([4, clusters, at])))
        drawn = LabelSwaps.draw(clusters, swaps=999, seed=at)
        rates.append((winners(totals, one.margins, drawn, one.alpha) == 0).mean())
    assert 0.7 <= np.mean(rates) <= 0.9
