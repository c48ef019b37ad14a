"""Ledgers of runs whose every time is drawn with a seed, and runs that have ended with one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from pointsman.dispatch import PLANNED_TERMS, SENT_TERMS, DriveSummary, Percentiles
from pointsman.scenario import Scenario, plan_arrivals, read_run, run_folder, scan_ledger
from pointsman.scenario.metrics import run_figures, stage_figures
from pointsman.scenario.record import advance
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import plan

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def ledger(due_ns: Any, *, seed: int = 1, stage: Any = 0, **columns: Any) -> pl.DataFrame:
    """Dispatches due at these times: late by little, most completed, some failed or dropped; columns as told."""
    rng = np.random.default_rng(seed)
    due = np.asarray(due_ns, dtype=np.int64)
    late = np.abs(rng.normal(0, 3e5, due.size)).astype(np.int64)
    usual: dict[str, Any] = {
        "took_ms": rng.lognormal(6, 0.5, due.size),
        "state": rng.choice(["completed", "failed", "dropped"], due.size, p=[0.94, 0.04, 0.02]),
        "lateness_ns": late,
    }
    given = pl.DataFrame({**usual, **columns}).with_columns(pl.Series("planned_ns", due), stage=pl.lit(stage))
    sent, completed = pl.col("state") != "dropped", pl.col("state") == "completed"
    took_ns = (pl.col("took_ms") * 1e6).cast(pl.Int64)
    return (
        given.with_row_index("seq")
        .with_columns(
            pl.col("seq").cast(pl.Int64),
            pl.when(sent).then(pl.col("lateness_ns")).alias("lateness_ns"),
            pl.when(sent).then(pl.col("planned_ns") + pl.col("lateness_ns")).alias("sent_ns"),
        )
        .with_columns(
            (pl.col("sent_ns") + 1_000_000).alias("ack_ns"),
            pl.when(pl.col("state") != "unknown").then(pl.col("sent_ns") + took_ns).alias("done_ns"),
            pl.when(completed).then(pl.col("took_ms") * 0.3).alias("queue_ms"),
            pl.when(completed).then(pl.col("took_ms") * 0.6).alias("run_ms"),
            pl.when(completed).then(pl.col("took_ms")).alias("raw_total_ms"),
            pl.when(completed).then(pl.col("took_ms") + pl.col("lateness_ns") / 1e6).alias("total_ms"),
        )
        .drop("took_ms")
    )


def dispatches_of(ws: Workspace, run_id: str) -> pl.DataFrame:
    """All rows of a run's ledger, in order of `seq`."""
    return scan_ledger(ws, read_run(ws, run_id)).sort("seq").collect()


def ended_run(
    ws: Workspace,
    scenario: Scenario,
    *,
    run_id: str = "run1",
    seed: int = 1,
    metrics: Mapping[str, Any] | None = None,
    variant: Any = None,
    status: str = "completed",
    **columns: Any,
) -> pl.DataFrame:
    """Plan a run and end it with a drawn ledger, as a drive would have left it; return the ledger."""
    plan(ws, run_id, scenario=scenario, seed=seed, **({"variant": variant} if variant else {}))
    due, stages = plan_arrivals(scenario, seed)
    rows = ledger(due, **{"seed": seed, **columns}).with_columns(pl.Series("stage", stages))
    folder = run_folder(ws, read_run(ws, run_id))
    rows.write_parquet(folder / "dispatches-00000.parquet")
    states = Counter(rows["state"].to_list())
    counts = {term: states[term] for term in (*PLANNED_TERMS, *SENT_TERMS)}
    counts |= {"planned": rows.height, "sent": rows.height - states["dropped"]}
    unknown = dict.fromkeys(("queue_ms", "run_ms", "total_ms", "raw_total_ms", "lateness_ms"), Percentiles())
    summary = DriveSummary(
        outcome="completed",
        epoch=EPOCH,
        wall_s=scenario.duration_s,
        counts=counts,
        answered={},
        **{"achieved_per_s": 1.0, "interruptions": (), **unknown},  # type: ignore[arg-type]
    )
    (folder / "summary.json").write_text(summary.model_dump_json())
    figures = {
        "counts": counts,
        "stages": stage_figures(scenario, stages, rows),
        "interruptions": [],
        "epoch": EPOCH.isoformat(),
        "wall_s": scenario.duration_s,
        "failure": {"code": "made_up", "message": "It failed.", "instruction": "pointsman doctor"}
        if status == "failed"
        else None,
        **run_figures(scenario, rows),
        **(metrics or {}),
    }
    for state in ("starting", "running", "draining", status):
        advance(ws, run_id, state, metrics=figures, submitted=counts["sent"])
    return rows
