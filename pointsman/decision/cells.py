"""From measurements to totals per cluster: every planned cell exactly once, or the reason why it is no comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pointsman.canonical import sha256_of
from pointsman.decision.plan import VerdictPlan
from pointsman.decision.procedure import ClusterTotals
from pointsman.economics.plain import exact
from pointsman.ids import VariantId
from pointsman.model import Json, Measurement, Missing
from pointsman.statistics import Floats

MEASUREMENT_COLUMNS = (
    "dispatch_id",
    "variant",
    "input_id",
    "cluster",
    "repeat",
    "outcome",
    "quality",
    "cost_usd",
    "total_ms",
    "scores",
)
_SHOWN = 3


def canonical_rows(data: Sequence[Measurement]) -> list[tuple[Any, ...]]:
    """The measurements as rows of `MEASUREMENT_COLUMNS`, sorted by dispatch id: equal for equal data in any order.

    Tuples, which the garbage collector leaves alone: of lists it would look through hundreds of thousands again and
    again.
    """
    ordered = sorted(data, key=lambda cell: (cell.dispatch_id, cell.variant, cell.input_id, cell.repeat))
    return [
        (
            cell.dispatch_id,
            str(cell.variant),
            cell.input_id,
            cell.cluster,
            cell.repeat,
            cell.outcome,
            exact(cell.quality),
            exact(cell.cost_usd),
            exact(cell.total_ms),
            tuple((name, exact(score)) for name, score in cell.scores) if cell.scores else (),
        )
        for cell in ordered
    ]


def data_sha256(data: Sequence[Measurement], services: Mapping[str, Json] | None = None) -> str:
    """The hash of the measurements and, where gates asked for them, of the services' figures."""
    return sha256_of({"measurements": canonical_rows(data), "services": dict(services or {})})


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """The planned cells as arrays `[variant, cluster]` (`totals`), and what is not known about them.

    `unpriced` holds the variants with at least one cell of unknown cost and why; `unjudged` the dispatch ids of
    successful cells without a quality, or without a score that the plan names.
    """

    totals: ClusterTotals
    unpriced: dict[VariantId, str]
    unjudged: tuple[str, ...]


def faults(plan: VerdictPlan, data: Sequence[Measurement]) -> list[str]:
    """Why this data is no comparison under this plan, as sentences; empty when it is one."""
    clusters = {planned.input_id: planned.cluster for planned in plan.inputs}
    rows = {variant: at for at, variant in enumerate(plan.variants)}
    seen: set[tuple[int, str, int]] = set()
    ids: set[str] = set()
    unplanned, moved, twice, lost, impossible = [], [], [], [], []
    for cell in data:
        row = rows.get(cell.variant)
        if row is None or cell.input_id not in clusters or not 0 <= cell.repeat < plan.repeats:
            unplanned.append(cell.dispatch_id)
            continue
        key = (row, cell.input_id, cell.repeat)
        if key in seen or cell.dispatch_id in ids:
            twice.append(cell.dispatch_id)
        seen.add(key)
        ids.add(cell.dispatch_id)
        if cell.cluster != clusters[cell.input_id]:
            moved.append(cell.dispatch_id)
        if cell.outcome == "infrastructure":
            lost.append(cell.dispatch_id)
        if not is_possible(cell):
            impossible.append(cell.dispatch_id)
    missing = []
    if len(seen) < len(rows) * len(plan.inputs) * plan.repeats:
        missing = [
            f"{variant.label} on {planned.input_id}, repeat {repeat}"
            for variant, row in rows.items()
            for planned in plan.inputs
            for repeat in range(plan.repeats)
            if (row, planned.input_id, repeat) not in seen
        ]
    return [
        f"{len(cells)} {what} ({_some(cells)})."
        for cells, what in (
            (missing, "planned cells have no measurement"),
            (unplanned, "measurements are of cells that the plan does not name"),
            (twice, "measurements are of a cell or dispatch that was measured already"),
            (moved, "measurements name another cluster than the plan"),
            (lost, "cells were lost by our own infrastructure"),
            (
                impossible,
                "measurements hold impossible numbers: cost or time below 0, quality not 0 to 100, or not finite",
            ),
        )
        if cells
    ]


def is_possible(cell: Measurement) -> bool:
    """Whether its numbers can be true, so far as they are known."""
    quality = cell.quality
    for amount in (cell.cost_usd, cell.total_ms):
        if not isinstance(amount, Missing) and not (amount.is_finite() and amount >= 0):
            return False
    if not isinstance(quality, Missing) and not (quality.is_finite() and 0 <= quality <= 100):
        return False
    return all(isinstance(score, Missing) or score.is_finite() for _, score in cell.scores)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def cells(plan: VerdictPlan, data: Sequence[Measurement]) -> Cells:
    """Total the cells of data without `faults`.

    A cell that did not succeed has no success, quality 0 and scores 0; it costs what it costs.
    """
    rank = {cluster: at for at, cluster in enumerate(plan.clusters)}
    inputs = sorted(plan.inputs, key=lambda planned: (rank[planned.cluster], planned.input_id))
    row = {variant: at for at, variant in enumerate(plan.variants)}
    column = {planned.input_id: at for at, planned in enumerate(inputs)}
    success, quality, cost = np.zeros((3, len(row), len(column), plan.repeats))
    further = np.zeros((len(plan.further), *success.shape))
    refusals = "refusals" in plan.further
    unpriced: dict[VariantId, str] = {}
    unjudged: list[str] = []
    for cell in sorted(data, key=lambda cell: cell.dispatch_id):
        at = row[cell.variant], column[cell.input_id], cell.repeat
        if isinstance(cell.cost_usd, Missing):
            unpriced.setdefault(cell.variant, cell.cost_usd.reason)
            cost[at] = np.nan
        else:
            cost[at] = float(cell.cost_usd)
        if cell.outcome == "refused" and refusals:
            further[(0, *at)] = -1.0
        if cell.outcome != "success":
            continue
        success[at] = 1.0
        scores = _scores(plan, cell) if plan.scores else []
        if isinstance(cell.quality, Missing) or scores is None:
            unjudged.append(cell.dispatch_id)
            continue
        quality[at] = float(cell.quality)
        if scores:
            further[(slice(int(refusals), None), *at)] = scores
    names = [planned.cluster for planned in inputs]
    starts = [at for at, name in enumerate(names) if at == 0 or names[at - 1] != name]

    def per_cluster(amount: Floats) -> Floats:
        return np.add.reduceat(amount.mean(axis=2), starts, axis=1)

    totals = ClusterTotals(
        success=per_cluster(success),
        quality=per_cluster(quality),
        cost=per_cluster(cost),
        inputs=np.add.reduceat(np.ones(len(names)), starts),
        further=tuple(per_cluster(amount) for amount in further),
    )
    return Cells(totals, unpriced, tuple(unjudged))


def _scores(plan: VerdictPlan, cell: Measurement) -> list[float] | None:
    """The scores that the plan names, in its order; None when one is not known."""
    given = dict(cell.scores)
    known = [given.get(name) for name in plan.scores]
    numbers = [float(one) for one in known if one is not None and not isinstance(one, Missing)]
    return numbers if len(numbers) == len(known) else None
