"""How long the HUD takes: decide with 10,000 label swaps and build the document, from 200 variants x 1,000 inputs.

Limits: 5 s together (the middle of three runs) and 1 GB for the whole process; 1 s for 50 variants x 100 inputs. Also
prints what reading and pricing a matrix costs per cell, which must not grow with the matrix.
Run: python -m perf.hud
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from pointsman.clock import ManualClock
from pointsman.decision import decide
from pointsman.decision.hud import HudContext, build_hud
from pointsman.economics import ExperimentCost, PriceBook, measurements, price_cells, waterfalls
from pointsman.model import Missing
from pointsman.storage import LocalResults, open_database, tables
from pointsman.workspace import Workspace
from tests.decision.comparisons import measured, plan, variant

GROWTH_LIMIT = 1.5
MEMORY_LIMIT_MB = 1_000
SIZES = {(50, 100): 1.0, (200, 1_000): 5.0}
"""Variants and inputs, and the seconds that they may take."""
VARIANTS, SWAPS = 50, 10_000


def seconds_for_hud(variants: int, inputs: int, runs: int = 3) -> tuple[float, float]:
    """The middle of several runs: (decide, build_hud)."""
    rng = random.Random(1)
    planned = plan(challengers=variants - 1, clusters=inputs, swaps=SWAPS)
    data = measured(
        planned,
        cost=lambda cell: f"{rng.uniform(0.001, 0.003) * (1 - 0.2 * cell[0] / variants):.12f}",
        quality=lambda cell: f"{rng.uniform(80, 99):.6f}",
    )
    unknown = Missing("not part of this measurement")
    context = HudContext(
        verdict_id="vd_perf",
        benchmark_id="bm_perf",
        evaluation_set_id="es_perf",
        waterfalls=(),
        experiment_cost=ExperimentCost(unknown, unknown, unknown),
        minimum_detectable_saving=unknown,
        measure_again="pointsman benchmark run",
    )
    took = []
    for _ in range(runs):
        start = time.perf_counter()
        verdict = decide(planned, data)
        decided = time.perf_counter()
        build_hud(planned, data, verdict, context)
        took.append((decided - start, time.perf_counter() - decided))
    return sorted(took, key=sum)[runs // 2]


def seconds_per_cell(folder: Path, inputs: int) -> float:
    """Fill a workspace with a matrix of `VARIANTS` x `inputs` cells; time reading, pricing and measuring it."""
    now = datetime(2026, 11, 21, tzinfo=UTC)
    ws = Workspace(
        open_database(f"sqlite:///{folder / f'{inputs}.db'}"), LocalResults(folder), ManualClock(now), "perf"
    )
    items, attempts, usage, artifacts, evaluations = [], [], [], [], []
    for seq in range(VARIANTS * inputs):
        dispatch = f"d-{seq}"
        items.append(
            {"dispatch_id": dispatch, "benchmark_id": "bm", "seq": seq, "round": 0, "repeat": 0, "status": "completed"}
            | {"variant_id": str(variant(seq % VARIANTS)), "input_id": f"clip-{seq // VARIANTS}", "cluster": "c"}
            | {"total_ms": 500.0, "ended_at": now}
        )
        attempts.append(
            {"id": f"{dispatch}#1", "run_id": "bm", "subject_id": dispatch, "subject_kind": "cell", "number": 1}
            | {"provider": "lab-cpu", "outcome": "completed", "started_at": now, "detail": {}}
        )
        usage += [
            {"id": f"{dispatch}#1/{sku}", "run_id": "bm", "subject_id": f"{dispatch}#1", "sku": sku}
            | {"quantity": Decimal("1.234567"), "basis": "measured"}
            for sku in ("lab-cpu:vcpu-second", "lab-cpu:gb-second")
        ]
        artifacts.append(
            {"id": f"a-{seq}", "run_id": "bm", "subject_id": dispatch, "uri": "file:///x", "sha256": "0" * 64}
            | {"artifact_type": "benchmark_variant_dispatches", "bytes": 40_000, "created_at": now}
        )
        evaluations.append(
            {"id": f"e-{seq}", "evaluation_set_id": "es", "benchmark_id": "bm", "dispatch_id": dispatch}
            | {"quality": Decimal("90.5"), "scores": {}, "created_at": now}
        )
    matrix = {"id": "bm", "status": "ready", "input_set_id": "i", "environment_id": "lab", "seed": 1, "plan": {}}
    matrix |= {"plan_sha256": "0" * 64, "results_path": "bm", "created_at": now}
    judged = {"id": "es", "benchmark_id": "bm", "judge": "local", "identity": {}, "status": "complete"}
    with ws.database.begin() as connection:
        connection.execute(sa.insert(tables.benchmark_matrix_runs), [matrix])
        connection.execute(sa.insert(tables.evaluation_sets), [judged | {"created_at": now}])
        for table, rows in (
            (tables.benchmark_matrix_run_items, items),
            (tables.attempts, attempts),
            (tables.usage, usage),
            (tables.run_artifacts, artifacts),
            (tables.quality_evaluations, evaluations),
        ):
            connection.execute(sa.insert(table), rows)
    book = PriceBook.load()
    start = time.perf_counter()
    priced = measurements(ws, "bm", "es", book, deliveries_per_output=100)
    waterfalls(price_cells(ws, "bm", book, deliveries_per_output=100))
    return (time.perf_counter() - start) / len(priced)


def main() -> int:
    table = Table(title=f"HUD of variants x inputs, {SWAPS:,} swaps")
    for column in ("what", "measured", "limit", ""):
        table.add_column(column)
    missed = False

    def add(what: str, measured: str, limit: str = "", good: bool = True) -> None:
        nonlocal missed
        missed |= not good
        table.add_row(what, measured, limit, ("ok" if good else "MISSED") if limit else "")

    for (variants, inputs), limit_s in SIZES.items():
        decided, built = seconds_for_hud(variants, inputs)
        size = f"{variants} x {inputs:,}"
        add(f"{size}: decide", f"{decided:.3f} s")
        add(f"{size}: build_hud", f"{built:.3f} s")
        add(f"{size}: together", f"{decided + built:.3f} s", f"{limit_s:g} s", decided + built <= limit_s)
    used_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
    add("memory of the process at most", f"{used_mb:.0f} MB", f"{MEMORY_LIMIT_MB} MB", used_mb <= MEMORY_LIMIT_MB)
    with tempfile.TemporaryDirectory() as folder:
        seconds_per_cell(Path(folder), 1)  # imports and caches
        small, large = (min(seconds_per_cell(Path(folder), n) for n in (size, size + 1)) for size in (10, 100))
    add("measure and price a cell of 500", f"{1e6 * small:.0f} us")
    limit = f"{GROWTH_LIMIT:g} x that of 500"
    add("measure and price a cell of 5,000", f"{1e6 * large:.0f} us", limit, large <= GROWTH_LIMIT * small)
    Console().print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
