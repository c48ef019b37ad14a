"""How a run stands, in the form of CONTRACTS: live from its drive, and from its row once it has ended."""

from __future__ import annotations

from typing import Any

from pointsman.dispatch import DriveStatus, Percentiles, read_status
from pointsman.scenario.arrivals import plan_arrivals
from pointsman.scenario.metrics import NOT_PRICED, with_missing
from pointsman.scenario.record import RunRecord, read_run, run_folder, run_scenario
from pointsman.workspace import Workspace

_STAGE_FIGURES = ("sent", "completed", "failed", "dropped", "achieved_rate", "p50_ms", "p95_ms", "p99_ms")


def run_status(ws: Workspace, run_id: str) -> dict[str, Any]:
    """`status, counts, p95, lateness, stages, fault_events, runner, cost` of a run, and its ids.

    `counts` has every term of the conservation law. A figure that is not known is null, and `missing` beside it says
    why. Raises `NotFound`.
    """
    record = read_run(ws, run_id)
    metrics = record.metrics_json
    live = _ended(record) if "counts" in metrics else _live(ws, record, read_status(run_folder(ws, record)))
    return {
        "run_id": record.id,
        "context": record.context,
        "variant_id": record.variant_id,
        "status": record.status,
        **live,
        "fault_events": [],
        "runner": metrics["runner"],
        "failure": metrics.get("failure"),
    }


def _ended(record: RunRecord) -> dict[str, Any]:
    metrics = record.metrics_json
    return {
        "counts": metrics["counts"],
        "p95": metrics["p95"],
        "lateness": metrics["lateness_ms"],
        "stages": metrics["stages"],
        "cost": metrics["cost"],
    }


def _live(ws: Workspace, record: RunRecord, seen: DriveStatus) -> dict[str, Any]:
    scenario = run_scenario(ws, record)
    stages = plan_arrivals(scenario, record.seed)[1]
    late: Percentiles = seen.lateness_ms
    return {
        "counts": dict(seen.counts),
        "p95": with_missing(
            {"queue_ms": seen.queue_ms.p95, "run_ms": seen.run_ms.p95, "total_ms": seen.total_ms.p95},
            "no dispatch has completed yet",
        ),
        "lateness": with_missing({"p50": late.p50, "p99": late.p99, "max": late.max}, "no dispatch was sent yet"),
        "stages": [
            with_missing(
                {
                    "name": stage.name,
                    "planned": int((stages == index).sum()),
                    **dict.fromkeys(_STAGE_FIGURES),
                },
                "figures per stage are made when the run has ended",
            )
            for index, stage in enumerate(scenario.stages)
        ],
        "cost": record.metrics_json.get("cost", with_missing({"usd": None}, NOT_PRICED)),
    }
