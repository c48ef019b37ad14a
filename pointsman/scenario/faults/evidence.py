"""What a run's row shows of its faults: `stages[].fault` and `fault_events`, live and after the end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from pointsman.errors import PointsmanError
from pointsman.model import Missing
from pointsman.scenario.faults.effect import Served, fault_effect
from pointsman.scenario.faults.injection import Injection
from pointsman.scenario.ledger import scan_ledger
from pointsman.scenario.model import Scenario
from pointsman.scenario.record import RunRecord
from pointsman.workspace import Workspace

NAME = "faults"
"""Under which the director's state is kept in `metrics_json.watchers`."""
_NOT_SERVED = ("failed", "unknown", "dropped")


_DELTAS = {"p95_delta_ms": "p95", "failure_rate_delta": "failure rate"}


def evidence(known: Injection, effect: Mapping[str, Any] | Missing) -> dict[str, Any]:
    """The `fault` of a stage. What is not known is null, and `missing` beside it says why."""
    found = {
        "method": "fis",
        "fis_experiment_arn": known.experiment_arn,
        "target_instance_ids": list(known.target_instance_ids),
        "state": known.state,
        "started_at": None if known.started_at is None else known.started_at.isoformat(),
        "ended_at": None if known.ended_at is None else known.ended_at.isoformat(),
        "verdict": known.verdict,
        "reason": known.reason,
        "effect": None if isinstance(effect, Missing) else effect,
    }
    reasons = {
        "fis_experiment_arn": "no experiment was started",
        "state": "no experiment was started",
        "started_at": "no experiment was started",
        "ended_at": "the experiment has not ended",
        "verdict": "the fault has not ended",
        "effect": effect.reason if isinstance(effect, Missing) else "",
    }
    missing = {name: reason for name, reason in reasons.items() if found[name] is None}
    return {**found, **({"missing": missing} if missing else {})}


def live_faults(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`fault` by stage, of a run that is being driven."""
    kept = metrics.get("watchers", {}).get(NAME, {}).get("injections", {})
    known = {name: Injection.model_validate(one) for name, one in kept.items()}
    return {name: evidence(one, _unmeasured(one)) for name, one in known.items()}


def _unmeasured(known: Injection) -> Missing:
    harmless = known.verdict not in (None, "happened")
    return Missing("the fault did not run to its end" if harmless else "it is measured when the run has ended")


def measured(
    ws: Workspace, record: RunRecord, known: Injection, span: tuple[float, float], epoch: datetime | None
) -> dict[str, Any] | Missing:
    """The effect of a fault that happened, from the run's ledger."""
    if known.verdict != "happened":
        return _unmeasured(known)
    if epoch is None or known.started_at is None or known.ended_at is None:
        return Missing("it is not known when its experiment began and ended")
    try:
        dispatches = scan_ledger(ws, record)
    except PointsmanError as error:  # its books are wrong or were never closed, and the run says so itself
        return Missing(f"the run's books cannot be read: {error.message.rstrip('.')}")
    found = fault_effect(
        served(dispatches, *span),
        stage_from_s=span[0],
        start_s=(known.started_at - epoch).total_seconds(),
        end_s=(known.ended_at - epoch).total_seconds(),
        seed=record.seed,
    )
    return found.document()


def why_not_effective(fault: Mapping[str, Any]) -> str | None:
    """Of the `evidence` of a fault that happened: why nothing shows that it changed anything. None: something does."""
    effect = fault["effect"]
    if effect is None:
        return f"its effect was not measured: {fault['missing']['effect']}"
    if effect["effective"]:
        return None
    unknown = {name: effect["missing"][name] for name in _DELTAS if effect[name] is None}
    if not unknown:
        return "it changed nothing: neither p95 nor failure rate were worse than in the control before it"
    said = [f"the {_DELTAS[name]} could not be compared ({why})" for name, why in unknown.items()]
    said += [f"the {_DELTAS[name]} was not worse than in the control before it" for name in _DELTAS if effect[name]]
    return f"nothing shows that it changed anything: {', and '.join(said)}"


def control_effects(ws: Workspace, record: RunRecord, scenario: Scenario) -> dict[str, dict[str, Any]]:
    """By stage whose fault is switched off: the same figures for the time in which it would have been."""
    found: dict[str, dict[str, Any]] = {}
    from_s = 0.0
    for stage, segment in zip(scenario.stages, scenario.segments, strict=True):
        to_s, fault = from_s + segment.us / 1_000_000, stage.fault
        if fault is not None and not fault.fault_enabled:
            start_s = from_s + fault.offset_s
            effect = fault_effect(
                served(scan_ledger(ws, record), from_s, to_s),
                stage_from_s=from_s,
                start_s=start_s,
                end_s=start_s + fault.duration_s,
                seed=record.seed,
            )
            found[stage.name] = effect.document()
        from_s = to_s
    return found


def served(dispatches: pl.DataFrame | pl.LazyFrame, from_s: float, to_s: float) -> Served:
    """The dispatches planned between two seconds after the epoch; those that a cancel took back are left out."""
    planned = pl.col("planned_ns") / 1e9
    rows = (
        dispatches.lazy()
        .filter((planned >= from_s) & (planned < to_s) & pl.col("state").is_in(["completed", *_NOT_SERVED]))
        .select("planned_ns", "total_ms", "state")
        .sort("planned_ns")
        .collect()
    )
    return Served(
        planned_s=rows["planned_ns"].to_numpy() / 1e9,
        total_ms=rows["total_ms"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        completed=(rows["state"] == "completed").to_numpy(),
    )
