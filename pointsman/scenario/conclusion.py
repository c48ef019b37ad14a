"""What an ended drive amounts to: the figures of `metrics_json` once its books are checked, and `results.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pointsman.dispatch import DriveSummary
from pointsman.scenario.arrivals import plan_arrivals
from pointsman.scenario.conservation import check_terms, count_terms
from pointsman.scenario.ledger import scan_ledger
from pointsman.scenario.metrics import run_figures, stage_figures
from pointsman.scenario.provenance import provenance
from pointsman.scenario.record import RunRecord, run_scenario
from pointsman.scenario.trace import kept_traces
from pointsman.versions import note_versions
from pointsman.workspace import Workspace


def conclude(ws: Workspace, record: RunRecord, summaries: Sequence[DriveSummary]) -> dict[str, Any]:
    """The figures of a run from the closed drives of its shards.

    Raises `DataCheckFailed` (`conservation_broken`) for wrong books.
    """
    scenario = run_scenario(ws, record)
    stages = plan_arrivals(scenario, record.seed, kept_traces(ws, scenario))[1]
    figures = ("stage", "state", "sent_ns", "lateness_ns", "queue_ms", "run_ms", "total_ms")
    dispatches = scan_ledger(ws, record).select(figures).collect(engine="streaming")
    counts = count_terms(len(stages), dispatches, summaries)
    check_terms(counts, summaries)
    return {
        "counts": counts,
        "stages": stage_figures(scenario, stages, dispatches),
        "interruptions": [
            {"shard": shard, **gap.model_dump(mode="json")}
            for shard, summary in enumerate(summaries)
            for gap in summary.interruptions
        ],
        "epoch": min(summary.epoch for summary in summaries).isoformat(),
        "wall_s": max(summary.wall_s for summary in summaries),
        **run_figures(scenario, dispatches),
    }


def note_run_versions(ws: Workspace, record: RunRecord) -> None:
    """Keep which models, or versions, did the jobs of a run; those whose arrivals chose their own parameters aside."""
    ledger = scan_ledger(ws, record)
    named = pl.col("version").is_not_null() & pl.col("params").is_null()
    versions = ledger.filter(named).select(pl.col("version").unique()).collect(engine="streaming")
    now = ws.clock.now()
    with ws.database.begin() as connection:
        note_versions(connection, ws, record.id, [(record.variant_id, text, now) for text in versions["version"]])


def write_results(ws: Workspace, record: RunRecord, metrics: Mapping[str, Any]) -> None:
    """Write `results.json` beside the ledger segments: where the results come from, and the totals."""
    ws.results.write_json(
        f"{record.results_path}/results.json",
        {
            **provenance(),
            "run_id": record.id,
            "context": record.context,
            "variant_id": record.variant_id,
            "environment_id": record.environment_id,
            "scenario_id": record.scenario_id,
            "scenario_sha256": run_scenario(ws, record).sha256,
            "seed": record.seed,
            "totals": metrics["counts"],
        },
    )
