"""Each variant's latency and success under the offered load, for the HUD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import polars as pl

from pointsman.ids import VariantId
from pointsman.model import Missing, Number
from pointsman.scenario.ledger import counted, scan_ledger
from pointsman.scenario.metrics import completed_ms, percentile
from pointsman.scenario.record import read_run, run_scenario
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """One variant under load, warm-up left out. `p95_ms` counts from the planned time, over the completed dispatches.

    `success_share` is completed of planned: what was dropped, failed or is unknown counts against the variant. In
    `p95_of_planned_ms` such a dispatch took longer than all others, so that one which still waits in a queue when the
    run ends shows.
    """

    p95_ms: Number
    success_share: Number
    p95_of_planned_ms: Number


def p95_under_load(ws: Workspace, run_ids: Sequence[str]) -> dict[VariantId, Number]:
    """The p95 of `load_figures` by variant, in milliseconds."""
    return {variant: figures.p95_ms for variant, figures in load_figures(ws, run_ids).items()}


def load_figures(ws: Workspace, run_ids: Sequence[str]) -> dict[VariantId, LoadFigures]:
    """Figures by variant over the given runs; several runs of one variant are read as one.

    A variant with a run that did not complete has no figures, and they say why. Raises `NotFound`.
    """
    found: dict[VariantId, list[pl.DataFrame]] = {}
    unfinished: dict[VariantId, Missing] = {}
    for run_id in run_ids:
        record = read_run(ws, run_id)
        variant = VariantId.parse(record.variant_id)
        rows = found.setdefault(variant, [])
        if record.status == "completed":
            ledger = scan_ledger(ws, record).filter(counted(run_scenario(ws, record)))
            rows.append(ledger.select("state", "total_ms").collect())
        else:
            unfinished[variant] = Missing(f"load-test run {run_id} is {record.status}")
    return {
        variant: LoadFigures(*[unfinished[variant]] * 3) if variant in unfinished else _figures(rows)
        for variant, rows in found.items()
    }


def _figures(frames: Sequence[pl.DataFrame]) -> LoadFigures:
    rows = pl.concat(frames)
    times = completed_ms(rows, "total_ms")
    p95 = percentile(times, 0.95)
    of_planned = percentile(np.concatenate([times, np.full(rows.height - times.size, np.inf)]), 0.95)
    completed = rows.filter(pl.col("state") == "completed").height
    return LoadFigures(
        p95_ms=Missing("no dispatch completed under load") if p95 is None else Decimal(str(p95)),
        success_share=Decimal(completed) / Decimal(rows.height),
        p95_of_planned_ms=Missing(f"only {completed} of {rows.height} dispatches completed under load")
        if of_planned is None or of_planned == np.inf
        else Decimal(str(of_planned)),
    )
