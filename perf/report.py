"""How long the report of a run takes, with all its files, and how much memory: ledgers of 1e5, 1e6 and 1e7 rows.

Limits: 6 s and 2 GB for ten million rows, and a row of ten million costs at most 1.5 times one of a million. Each is
measured from the start of a new process, its imports included, to its end, when the last file is written; the quickest
of three counts. The ledgers lie as drives close them: in many files, with all columns.
Run: python -m perf.report
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from pointsman.clock import SystemClock
from pointsman.dispatch import PLANNED_TERMS, SENT_TERMS, DriveSummary, Percentiles
from pointsman.scenario import Scenario, Stage, publish_report
from pointsman.storage import LocalResults, open_database, tables
from pointsman.workspace import Workspace

LIMIT_S, LIMIT_GB, GROWTH_LIMIT = 6.0, 2.0, 1.5
SIZES = (100_000, 1_000_000, 10_000_000)
RUNS = 3
PART = 10_000
"""Rows of a file of a closed drive."""
RUN_S = 3_600
VARIANT = "er:e1:wf:fast:env:lab:stage:demo:provider:cpu:exp:base"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def workspace(root: Path) -> Workspace:
    return Workspace(open_database(f"sqlite:///{root / 'p.db'}"), LocalResults(root / "results"), SystemClock(), "perf")


def rows(first: int, count: int, of: int) -> pl.DataFrame:
    """A piece of a ledger, with every column that a driver writes."""
    rng = np.random.default_rng(first)
    seq = np.arange(first, first + count)
    due = (seq * (RUN_S * 1e9 / of)).astype(np.int64)
    frame = pl.DataFrame(
        {
            "seq": seq,
            "planned_ns": due,
            "sent_ns": due + np.abs(rng.normal(0, 3e5, count)).astype(np.int64),
            "took": (rng.lognormal(13, 0.6, count) * 1e3).astype(np.int64),
            "state": rng.choice(["completed", "failed", "dropped"], count, p=[0.97, 0.02, 0.01]),
        }
    )
    done = pl.col("state") == "completed"
    text = pl.col("seq").cast(pl.String)
    return (
        frame.with_columns(pl.when(pl.col("state") != "dropped").then(pl.col("sent_ns")).alias("sent_ns"))
        .with_columns(
            ("studio_load_test_run_" + text + "_9f2a6c1e-5a3b-5c1d-8e77-0123456789ab").alias("dispatch_id"),
            pl.lit(VARIANT).alias("route"),
            pl.lit(VARIANT).alias("variant"),
            pl.lit(None, pl.Int64).alias("generation"),
            pl.lit("model-7").alias("version"),
            ("clip-" + (pl.col("seq") % 8).cast(pl.String)).alias("input_id"),
            (pl.col("seq") // 8).alias("repeat"),
            pl.lit(0, pl.Int64).alias("stage"),
            (pl.col("sent_ns") - pl.col("planned_ns")).alias("lateness_ns"),
            (pl.col("sent_ns") + 1_000_000).alias("ack_ns"),
            (pl.col("sent_ns") + pl.col("took")).alias("done_ns"),
            pl.lit(None, pl.String).alias("reason"),
            ("job-" + text).alias("job_id"),
            pl.when(done).then(pl.col("took") * 0.3e-6).alias("queue_ms"),
            pl.when(done).then(pl.col("took") * 0.6e-6).alias("run_ms"),
            pl.when(done).then(pl.col("took") / 1e6).alias("raw_total_ms"),
            pl.when(done).then("runs/run/outputs/" + text + ".mp4").alias("output_uri"),
            pl.lit(None, pl.String).alias("output_sha256"),
            pl.when(done).then(pl.col("took") % 100_000).alias("output_bytes"),
        )
        .with_columns((pl.col("raw_total_ms") + pl.col("lateness_ns") / 1e6).alias("total_ms"))
        .drop("took")
    )


def write_run(root: Path, size: int) -> None:
    """A run that has ended, with a ledger of `size` rows."""
    ws = workspace(root)
    folder = root / "results" / "run"
    folder.mkdir(parents=True)
    states = Counter[str]()
    for number in range(size // PART):
        part = rows(number * PART, PART, size)
        part.write_parquet(folder / f"dispatches-{number:05d}.parquet")
        states.update(part["state"].to_list())
    counts = {term: states[term] for term in (*PLANNED_TERMS, *SENT_TERMS)}
    counts |= {"planned": size, "sent": size - counts["dropped"]}
    times = {name: Percentiles() for name in ("queue_ms", "run_ms", "total_ms", "raw_total_ms", "lateness_ms")}
    summary = DriveSummary(
        outcome="completed",
        epoch=EPOCH,
        wall_s=RUN_S,
        counts=counts,
        answered={},
        achieved_per_s=1,
        interruptions=(),
        **times,
    )
    (folder / "summary.json").write_text(summary.model_dump_json())
    known = {"p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "achieved_rate": 1.0}
    stage = {"name": "steady", **{name: counts[name] for name in ("planned", "sent", "completed", "failed", "dropped")}}
    metrics = {
        "runner": {"mode": "inline"},
        "counts": counts,
        "stages": [{**stage, **known}],
        "p95": {"queue_ms": 1.0, "run_ms": 1.0, "total_ms": 1.0},
        "lateness_ms": {"p50": 1.0, "p99": 1.0, "max": 1.0},
        "cost": {"usd": None, "missing": {"usd": "not priced"}},
        "interruptions": [],
        "epoch": EPOCH.isoformat(),
        "wall_s": RUN_S,
    }
    scenario = Scenario(name="large", stages=(Stage(name="steady", rate=200, duration_s=RUN_S),))
    times_of_row = {"created_at": EPOCH, "started_at": EPOCH, "ended_at": EPOCH}
    row = {
        "id": "run",
        "context": "large-20260101T000000",
        "scenario_id": "large",
        "environment_id": "lab",
        "seed": 1,
        "variant_id": VARIANT,
        "status": "completed",
        "results_path": "run",
        "submitted_count": counts["sent"],
        "metrics_json": metrics,
        **times_of_row,
    }
    definition = {"id": "large", "definition": scenario.model_dump(mode="json"), "sha256": scenario.sha256}
    with ws.database.begin() as connection:
        connection.execute(sa.insert(tables.scenarios), [{**definition, "created_at": EPOCH}])
        connection.execute(sa.insert(tables.load_test_runs), [row])


def measure(root: Path) -> tuple[float, float, float]:
    """(seconds, CPU seconds, gigabytes at most) of a process that writes one report."""
    start = time.perf_counter()
    child = os.posix_spawn(sys.executable, [sys.executable, __file__, str(root)], os.environ)
    _, status, used = os.wait4(child, 0)
    if status:
        raise RuntimeError(f"no report: exit status {status}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def main() -> int:
    found: dict[int, tuple[float, float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            root = Path(folder) / str(size)
            root.mkdir()
            write_run(root, size)
            found[size] = min(measure(root) for _ in range(RUNS))
    seconds, _, gigabytes = found[SIZES[-1]]
    growth = (seconds / SIZES[-1]) / (found[SIZES[-2]][0] / SIZES[-2])
    good = seconds <= LIMIT_S and gigabytes <= LIMIT_GB, growth <= GROWTH_LIMIT
    table = Table(title="Report of a run: page, artifact, k6 summary and JUnit")
    for column in ("rows", "seconds", "CPU seconds", "us a row", "peak GB", "limit", ""):
        table.add_column(column, justify="right")
    for size, (took, cpu, memory) in found.items():
        limit = (f"{LIMIT_S:g} s, {LIMIT_GB:g} GB", "ok" if good[0] else "MISSED") if size == SIZES[-1] else ("", "")
        table.add_row(f"{size:,}", f"{took:.2f}", f"{cpu:.2f}", f"{1e6 * took / size:.2f}", f"{memory:.2f}", *limit)
    limit = f"{GROWTH_LIMIT:g} x that of 1e6", "ok" if good[1] else "MISSED"
    table.add_row("a row of 1e7", f"{growth:.2f} x", "", "", "", *limit)
    Console().print(table)
    return 0 if all(good) else 1


if __name__ == "__main__":
    if len(sys.argv) == 2:
        publish_report(workspace(Path(sys.argv[1])), "run")
    else:
        sys.exit(main())
