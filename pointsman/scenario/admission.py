"""Admitting a planned run: what it may cost is forecast, limits are held, and consent is asked for where it is needed.

What a run may spend is fixed here, set aside for the month, and watched while it runs (`spending.py`). A run that
needed no consent may spend what needs none; one that was approved, what was approved.

Steps of one parent are held together against what needs no consent: many cheap runs are a dear one. A capacity search,
of which nobody knows beforehand what it will cost, is a single run to every limit of a run's money, and somebody is
asked once for all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import GuardRefused
from pointsman.model import Missing
from pointsman.safety import production
from pointsman.safety.admission import Admission, in_words, others_going_on, set_aside, tell_refused, tell_requested
from pointsman.safety.approvals import Approval, approval_of, consent_to_step, request_approval
from pointsman.safety.forecast import Forecast
from pointsman.safety.guards import Intent, Limits, Refusal, first_refusal, guards
from pointsman.safety.identities import Identity, require
from pointsman.safety.places import registered_place
from pointsman.safety.production import Permit, is_production
from pointsman.safety.spending import lock_spending, month_of, reserve, spent_by_steps, spent_in
from pointsman.scenario.arrivals import plan_arrivals
from pointsman.scenario.metrics import NOT_PRICED, with_missing
from pointsman.scenario.record import RunRecord, failure_of, overlay, read_in, read_run, run_scenario
from pointsman.scenario.trace import kept_traces
from pointsman.states import LOAD_TEST_RUN
from pointsman.storage import move, tables
from pointsman.workspace import Workspace

SCOPE = "load-test run"


@dataclass(frozen=True, slots=True)
class Steps:
    """The other steps of a run's parent: what they spent or set aside, and what is left of a consent to all of them."""

    usd: Decimal = Decimal(0)
    said: str = ""
    of_search: bool = False
    consent: Approval | None = None
    agreed_usd: Decimal | None = None

    @classmethod
    def of(cls, connection: sa.Connection, run_id: str, parent: str | None, now: datetime, scope: str) -> Steps:
        if parent is None:
            return cls()
        usd = spent_by_steps(connection, parent, now=now, without=run_id)
        said = f", after {usd:.2f} USD for other steps of {parent}" if usd else ""
        searches = tables.capacities.c.id
        if connection.execute(sa.select(searches).where(searches == parent)).first() is None:
            return cls(usd, said)
        consent = consent_to_step(connection, scope, parent)
        if consent is None:
            return cls(usd, said, of_search=True)
        used = spent_by_steps(connection, parent, now=now, without=run_id, since=consent.subject_id)
        return cls(usd, said, of_search=True, consent=consent, agreed_usd=consent.limit_usd - used)


def awaits_admission(record: RunRecord) -> bool:
    """Whether nobody has let the run begin, and it has not ended."""
    return record.status in ("created", "awaiting_approval")


def require_admission(record: RunRecord) -> None:
    """Raise `GuardRefused` for a run that would begin without having been held against the limits."""
    if awaits_admission(record) and not record.metrics_json.get("admitted"):
        raise GuardRefused(
            f"The run {record.id} was not admitted: nobody has held it against the limits, or it waits for consent.",
            instruction="Start it by a command that does so: pointsman scenario run --help",
            code="not_admitted",
        )


def planned_dispatches(ws: Workspace, record: RunRecord) -> int:
    """How many dispatches the run's schedule has."""
    scenario = run_scenario(ws, record)
    return int(plan_arrivals(scenario, record.seed, kept_traces(ws, scenario))[0].size)


def admit_run(
    ws: Workspace,
    run_id: str,
    *,
    dispatches: int,
    forecast: Forecast,
    unbilled: bool,
    limits: Limits,
    requester: Identity,
    permit: Permit | None = None,
) -> Admission:
    """Hold the run against every limit, ask for consent when its upper end is above `limits.approval_usd`, or go on.

    What other steps of its parent have spent or set aside counts with it.

    `unbilled` says that nobody is paid for what the target does: only then may a run of unknown cost go on without
    consent. One against production needs the `permit` of its guard, and consent whatever it costs. Call it again to
    learn how the run stands. Raises `NotFound`, and `GuardRefused` when the run is refused or was rejected: it is then
    `failed`, with the same words. Who may not start runs is refused without touching it.
    """
    require(requester, "operator", "starting a load test")
    max_in_flight = run_scenario(ws, read_run(ws, run_id)).max_in_flight
    refusal: Refusal | None
    scope, limits = (SCOPE, limits) if permit is None else (production.SCOPE, permit.limits)
    with ws.database.begin() as connection:
        record = read_in(connection, run_id)
        if not awaits_admission(record):
            return Admission(run_id, "admitted", None)
        _require_permit(connection, record, permit)
        lock_spending(connection)
        now = ws.clock.now()
        left = limits.month_usd - spent_in(connection, month_of(now), now=now, without=run_id)
        steps = Steps.of(connection, run_id, record.parent_run_id, now, scope)
        if steps.of_search:
            limits = replace(limits, run_usd=max(Decimal(0), limits.run_usd - steps.usd))
        most = set_aside(forecast, unbilled, limits, left)
        what = f"Load test {record.context} with {dispatches:,} dispatches{steps.said}"
        intent = Intent(what, dispatches, min(max_in_flight, dispatches), most)
        refusal = first_refusal(guards(limits, month=month_of(now), spent=limits.month_usd - left), intent)
        if permit is not None and refusal is None:
            others = others_going_on(connection, record.environment_id, run_id)
            refusal = production.not_alone(record.environment_id, others)
        approval = asked = approval_of(connection, scope, run_id)
        if refusal is None and approval is not None:
            refusal = _refusal_of(approval, approval.state(now), most)
        unknown = isinstance(forecast.high, Missing) and not unbilled
        needed = permit is not None or unknown or (most > 0 and steps.usd + most > limits.approval_usd)
        agreed = steps.agreed_usd is not None and most <= steps.agreed_usd
        if refusal is None and (approval is not None or (needed and not agreed)):
            approval = request_approval(
                ws,
                connection,
                scope=scope,
                subject_id=run_id,
                what=f"{what}, {in_words(forecast)}"
                f"{', and all that its search does after it' if steps.of_search else ''}"
                f"{'' if permit is None else f'; in production ({permit.environment_id}), {permit.per_s} in a second'}",
                limit_usd=max(most, min(limits.run_usd, left)) if steps.of_search else most,
                requester=requester,
                environment_id=None if permit is None else permit.environment_id,
                limit_per_s=None if permit is None else permit.per_s,
            )
        if permit is not None and approval is not None and asked is None:
            tell_requested(ws, connection, approval, context=record.context)
        if refusal is None:
            reserve(connection, run_id, most, at=now)
            free = min(limits.approval_usd - steps.usd, limits.run_usd, left)
            limit = max(free, steps.agreed_usd or Decimal(0)) if approval is None else approval.limit_usd
            known = {"forecast": forecast.document(), "limit_usd": format(limit, "f")}
            cost = {**with_missing({"usd": None}, NOT_PRICED), **known}
            if approval is None or approval.decision == "approved":
                metrics = {"cost": cost, "admitted": True, **_of_production(permit, approval or steps.consent)}
                _lay(ws, connection, record, metrics, None, "")
                return Admission(run_id, "admitted", approval)
            waits = {"cost": cost, "admitted": False}
            _lay(ws, connection, record, waits, "awaiting_approval", f"{approval.id} waits for a decision")
            return Admission(run_id, "waiting", approval)
        if refusal.code in ("over_run_budget", "over_month_budget"):
            ActionLog(ws).record_in(
                connection,
                "budget_exceeded",
                run_id=run_id,
                context=record.context,
                asked_usd=most,
                reason=refusal.message,
            )
        if permit is not None:
            tell_refused(ws, connection, run_id, permit.environment_id, requester, [refusal])
        end_refused(ws, connection, record, refusal.error())
    raise refusal.error()


def end_refused(ws: Workspace, connection: sa.Connection, record: RunRecord, error: GuardRefused) -> None:
    """A planned run that may not begin has failed, in the words of the refusal."""
    _lay(ws, connection, record, {"failure": failure_of(record.id, error)}, "failed", error.message)


def _require_permit(connection: sa.Connection, record: RunRecord, permit: Permit | None) -> None:
    needed = record.environment_id if is_production(registered_place(connection, record.environment_id)) else None
    if needed != (None if permit is None else permit.environment_id):
        raise GuardRefused(
            f"The run {record.id} in {record.environment_id} did not pass the guard of production.",
            instruction="Start it by a command that asks it: pointsman scenario run --help",
            code="production_not_guarded",
        )


def _of_production(permit: Permit | None, approval: Approval | None) -> dict[str, Any]:
    """What whoever drives and watches the run must know: by whose consent it goes on, and which alarms end it."""
    if permit is None or approval is None:
        return {}
    return {"production": {"approval_id": approval.id, "alarms": list(permit.alarms)}}


def _refusal_of(approval: Approval, state: str, most: Decimal) -> Refusal | None:
    again = "Start the scenario as a new run, which asks again."
    if state == "rejected":
        why = f": {approval.reason}" if approval.reason else ""
        return Refusal("approval_rejected", f"{approval.decided_by} rejected {approval.id}{why}.", again)
    if state == "expired":
        said = f"Nobody decided {approval.id} until {approval.expires_at:%F %T} UTC."
        return Refusal("approval_expired", said, again)
    if most > approval.limit_usd:
        said = f"{approval.id} is for {approval.limit_usd} USD; the run may now cost {most} USD."
        return Refusal("approval_over_limit", said, again)
    return None


def _lay(
    ws: Workspace, connection: sa.Connection, record: RunRecord, metrics: dict[str, Any], new: str | None, reason: str
) -> None:
    """Lay `metrics` over those of the run, and move it to `new` if that is a state."""
    runs, now = tables.load_test_runs, ws.clock.now()
    values: dict[str, Any] = {"metrics_json": overlay(record.metrics_json, metrics)}
    if new in LOAD_TEST_RUN.terminal:
        values["ended_at"] = now
    connection.execute(sa.update(runs).where(runs.c.id == record.id).values(**values))
    if new is not None:
        move(connection, LOAD_TEST_RUN, runs, record.id, new, at=now, actor=ws.actor, reason=reason)
