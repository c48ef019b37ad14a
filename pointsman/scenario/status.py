"""How a run stands, in the form of CONTRACTS: live from what its shards say, and from its row once it has ended.

One call reads a few small files per shard and two rows or so, however long the run is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pointsman.dispatch import Figures, StageFigures, read_figures, read_status
from pointsman.scenario.faults.evidence import live_faults
from pointsman.scenario.judging import live_verdicts
from pointsman.scenario.metrics import NOT_PRICED, with_missing
from pointsman.scenario.model import Scenario
from pointsman.scenario.record import RunRecord, read_run, read_shards, run_drives, run_scenario
from pointsman.scenario.words import bring_words
from pointsman.statistics.sketch import Sketch
from pointsman.workspace import Workspace

_COUNTS = ("sent", "completed", "failed", "dropped")
_SHARD = ("shard", "state", "planned", "processes", "process_id", "task_id")


def run_status(ws: Workspace, run_id: str) -> dict[str, Any]:
    """`status, counts, p95, lateness, stages, fault_events, runner, cost` of a run, and its ids.

    `slos` and `stop_conditions` hold the verdicts, while the run goes on those so far.

    `counts` has every term of the conservation law. A figure that is not known is null, and `missing` beside it says
    why. The same keys before, while and after the run; while it lasts percentiles are within 1 % of what was measured.
    Raises `NotFound`.
    """
    record = read_run(ws, run_id)
    metrics = record.metrics_json
    figures = metrics if "counts" in metrics else _live(ws, record)
    verdicts = metrics if "slos" in metrics else live_verdicts(metrics)
    return {
        "run_id": record.id,
        "context": record.context,
        "variant_id": record.variant_id,
        "status": record.status,
        "counts": figures["counts"],
        "p95": figures["p95"],
        "lateness": figures["lateness_ms"],
        "stages": figures["stages"],
        "slos": verdicts.get("slos", []),
        "stop_conditions": verdicts.get("stop_conditions", []),
        "fault_events": _fault_events(metrics),
        "runner": {"launch": None, "stop": None, **metrics["runner"], "shards": _shards(ws, run_id)},
        "cost": figures["cost"],
        "failure": metrics.get("failure"),
        "refused": record.refused,
    }


def _live(ws: Workspace, record: RunRecord) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    figures = Figures()
    elapsed_s = 0.0
    bring_words(ws, record)
    for drive_dir in run_drives(ws, record):
        told = read_status(drive_dir)
        for term, number in told.counts.items():
            counts[term] += number
        elapsed_s = max(elapsed_s, told.elapsed_s)
        figures.merge(read_figures(drive_dir))
    scenario = run_scenario(ws, record)
    judged = figures.overall(without=scenario.warm_up)
    lateness_ms = figures.overall().lateness_ms
    return {
        "counts": dict(counts),
        "p95": with_missing(
            {name: _ms(getattr(judged, name), 0.95) for name in ("queue_ms", "run_ms", "total_ms")},
            "no dispatch has completed with a known time yet",
        ),
        "lateness_ms": with_missing(
            {name: _ms(lateness_ms, q) for name, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))},
            "no dispatch was sent yet",
        ),
        "stages": _stages(scenario, record, figures, elapsed_s),
        "cost": record.metrics_json.get("cost", with_missing({"usd": None}, NOT_PRICED)),
    }


def _stages(scenario: Scenario, record: RunRecord, figures: Figures, elapsed_s: float) -> list[dict[str, Any]]:
    found = []
    start_s = 0.0
    segments = scenario.segments
    faults = live_faults(record.metrics_json)
    for index, (stage, segment) in enumerate(zip(record.metrics_json["stages"], segments, strict=True)):
        own = figures.stages.get(index, StageFigures())
        length_s = segment.us / 1e6
        lasted_s = min(length_s, elapsed_s - start_s)
        known: dict[str, Any] = {
            **stage,
            **{name: own.counts[name] for name in _COUNTS},
            "achieved_rate": round(own.counts["sent"] / lasted_s, 6) if lasted_s > 0 else None,
            **{f"p{percent}_ms": _ms(own.total_ms, percent / 100) for percent in (50, 95, 99)},
        }
        why = dict.fromkeys(known, "no dispatch of this stage has completed yet")
        fault = {"fault": faults[stage["name"]]} if stage["name"] in faults else {}
        found.append(with_missing(known, {**why, "achieved_rate": "the stage has not begun"}) | fault)
        start_s += length_s
    return found


def _ms(sketch: Sketch, q: float) -> float | None:
    value = sketch.quantile(q)
    return None if value is None else round(value, 3)


def _fault_events(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the run's watchers keep under `fault_events` in their states."""
    return [event for state in metrics.get("watchers", {}).values() for event in state.get("fault_events", [])]


def _shards(ws: Workspace, run_id: str) -> list[dict[str, Any]]:
    return [
        {name: row[name] for name in _SHARD}
        | {"heartbeat_at": row["heartbeat_at"].isoformat() if row["heartbeat_at"] else None}
        for row in read_shards(ws, run_id)
    ]
