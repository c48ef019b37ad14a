"""How many inputs a comparison needs, found by simulating the whole procedure: clusters, margins, gates, max-T."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from pointsman.decision.procedure import ClusterTotals, Margins, sequential_winners, winners
from pointsman.errors import InputRefused
from pointsman.statistics import Floats, LabelSwaps, clusters_needed, most_by_chance

_SIMULATIONS = 400
_SWAPS = 499
_SWAPS_TIMES_ALPHA = 10
"""A smaller risk takes more swaps: p values in steps of a tenth of it."""
_MOST_CLUSTERS = 512
_LIMITS: dict[str, tuple[float, float]] = {
    "challengers": (1, 200),
    "saving": (0.0, 0.99),
    "cost_spread": (0.0, 3.0),
    "input_spread": (0.0, 3.0),
    "quality_spread": (0.0, 50.0),
    "success_rate": (0.01, 1.0),
    "cluster_share": (0.0, 1.0),
    "inputs_per_cluster": (1, 100),
    "alpha": (0.0001, 0.5),
    "success_margin": (0.0, 1.0),
    "quality_margin": (0.0, 100.0),
    "min_saving": (0.0, 0.98),
    "power": (0.1, 0.99),
}
_COUNTS = ("challengers", "inputs_per_cluster")


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is believed before measuring. One challenger has the true `saving`; the others equal the incumbent.

    `cost_spread`: standard deviation, between inputs, of log(challenger's cost / incumbent's cost). `input_spread`: the
    same of log(cost) between inputs, common to all variants. `quality_spread`: of the quality difference, in points.
    `cluster_share`: the share of these variances that inputs of one cluster have in common. `success_rate`: of every
    variant. `sequential`: looked at after every cluster; the size is then what is needed at most.

    Raises `InputRefused` naming the field.
    """

    saving: float
    challengers: int = 1
    cost_spread: float = 0.3
    input_spread: float = 0.5
    quality_spread: float = 3.0
    success_rate: float = 1.0
    cluster_share: float = 0.5
    inputs_per_cluster: int = 1
    alpha: float = 0.05
    success_margin: float = 0.02
    quality_margin: float = 2.0
    min_saving: float = 0.05
    power: float = 0.8
    sequential: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.sequential, bool):
            raise InputRefused("planner, sequential", self.sequential, "true or false")
        for field in fields(self):
            if field.name not in _LIMITS:
                continue
            low, high = _LIMITS[field.name]
            value = getattr(self, field.name)
            kind, word = (int, "whole number") if field.name in _COUNTS else ((int, float), "number")
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                raise InputRefused(f"planner, {field.name}", value, f"a {word} from {low:g} to {high:g}")
        if self.saving <= self.min_saving:
            raise InputRefused("planner, saving", self.saving, f"more than min_saving = {self.min_saving:g}")

    @property
    def margins(self) -> Margins:
        return Margins(self.success_margin, self.quality_margin, self.min_saving)


@dataclass(frozen=True, slots=True)
class PlanSize:
    """The smallest size found, and the share of the simulated comparisons that named the better challenger."""

    inputs: int
    clusters: int
    power: float
    simulations: int


def inputs_needed(assumptions: Assumptions, seed: int) -> PlanSize:
    """The smallest number of clusters (and inputs) at which the better challenger wins with the wanted power.

    Each size is simulated 400 times; it is enough when so many simulations find the winner as a smaller power than
    wanted would reach in fewer than 5 % of the cases. Doubling, then halving; equal arguments give equal answers.
    Raises `InputRefused` when 512 clusters are not enough.
    """
    bar = most_by_chance(_SIMULATIONS, assumptions.power, confidence=0.95) + 1
    too_few = clusters_needed(assumptions.alpha) - 1
    enough = too_few + 1
    while (found := wins(assumptions, enough, simulations=_SIMULATIONS, seed=seed)) < bar:
        too_few, enough = enough, 2 * enough
        if too_few >= _MOST_CLUSTERS:
            raise InputRefused(
                "planner, saving", assumptions.saving, f"one that {_MOST_CLUSTERS} clusters can show at this spread"
            )
        enough = min(enough, _MOST_CLUSTERS)
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        now = wins(assumptions, middle, simulations=_SIMULATIONS, seed=seed)
        if now >= bar:
            enough, found = middle, now
        else:
            too_few = middle
    return PlanSize(enough * assumptions.inputs_per_cluster, enough, found / _SIMULATIONS, _SIMULATIONS)


def wins(assumptions: Assumptions, clusters: int, *, simulations: int, seed: int) -> int:
    """How many of the simulated comparisons name the better challenger as winner."""
    generator = np.random.Generator(np.random.PCG64([seed, clusters]))
    totals = simulated_totals(assumptions, clusters, simulations, generator)
    if assumptions.sequential:
        return int((sequential_winners(totals, assumptions.margins, assumptions.alpha) == 0).sum())
    drawn = max(_SWAPS, math.ceil(_SWAPS_TIMES_ALPHA / assumptions.alpha))
    swaps = LabelSwaps.draw(clusters, swaps=drawn, seed=seed)
    return int((winners(totals, assumptions.margins, swaps, assumptions.alpha) == 0).sum())


def simulated_totals(
    assumptions: Assumptions, clusters: int, simulations: int, generator: np.random.Generator
) -> ClusterTotals:
    """Comparisons drawn from the assumptions: `[simulation, variant, cluster]`; variant 1 is the better challenger."""
    shape = (simulations, assumptions.challengers + 1, clusters, assumptions.inputs_per_cluster)

    def spread(size: float, variants: int) -> Floats:
        """Normal noise of standard deviation `size`, `cluster_share` of its variance common to a cluster."""
        noise = generator.standard_normal((simulations, variants, *shape[2:]))
        common = generator.standard_normal((simulations, variants, clusters, 1))
        share = assumptions.cluster_share
        scaled: Floats = size * (np.sqrt(share) * common + np.sqrt(1 - share) * noise)
        return scaled

    # A difference of two variants has twice the variance of each.
    cost = np.exp(spread(assumptions.input_spread, 1) + spread(assumptions.cost_spread / np.sqrt(2), shape[1]))
    cost[:, 1] *= 1 - assumptions.saving
    success = (generator.random(shape) < assumptions.success_rate).astype(np.float64)
    quality = (50 + spread(assumptions.quality_spread / np.sqrt(2), shape[1])) * success
    return ClusterTotals(
        success=success.sum(axis=3),
        quality=quality.sum(axis=3),
        cost=cost.sum(axis=3),
        inputs=np.full(clusters, float(assumptions.inputs_per_cluster)),
    )
