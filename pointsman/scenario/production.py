"""Holding a run against the guard of production: what was asked, who agreed and what AWS says, before anything is done.

AWS is only looked at. Nothing but the refusal is written, and the request for consent only when the run is admitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import numpy as np
import sqlalchemy as sa

from pointsman.errors import NotFound
from pointsman.safety.admission import others_going_on, set_aside, tell_refused
from pointsman.safety.approvals import approval_of
from pointsman.safety.entering import place_of
from pointsman.safety.forecast import Forecast
from pointsman.safety.guards import Intent, Limits
from pointsman.safety.identities import Identity
from pointsman.safety.production import (
    SCOPE,
    Permit,
    Place,
    ProductionPlan,
    ProductionRules,
    Seen,
)
from pointsman.safety.production_rules import UNDECIDED, refused, violations
from pointsman.safety.spending import lock_spending, month_of, spent_in
from pointsman.safety.survey import OpenAws, survey
from pointsman.scenario.admission import Steps, awaits_admission, end_refused
from pointsman.scenario.arrivals import plan_arrivals
from pointsman.scenario.faults.environment import faulty_stages
from pointsman.scenario.model import Scenario
from pointsman.scenario.record import RunRecord, read_in
from pointsman.scenario.trace import known_traces
from pointsman.settings.read_only import ReadOnlyAws
from pointsman.storage import tables
from pointsman.workspace import Workspace

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class AskedRun:
    """A run as somebody asks for it; `production` is the environment that the request names as such."""

    run_id: str
    parent_run_id: str | None
    scenario: Scenario
    seed: int
    environment_id: str
    production: str | None
    requester: Identity


def planned_size(ws: Workspace, asked: AskedRun) -> tuple[int, int]:
    """Dispatches in all, and in the fullest second, of a run that need not have been planned."""
    scenario = asked.scenario
    due = np.sort(plan_arrivals(scenario, asked.seed, known_traces(ws, scenario))[0])
    if not due.size:
        return 0, 0
    within = np.searchsorted(due, due + _SECOND_NS, side="left") - np.arange(due.size)
    return int(due.size), int(within.max())


def guard_production(
    ws: Workspace,
    asked: AskedRun,
    *,
    forecast: Callable[[int], Forecast],
    rules: ProductionRules,
    limits: Limits,
    open_aws: OpenAws = ReadOnlyAws,
) -> Permit | None:
    """Let a run pass, or refuse it with every rule of production that it breaks, before anything of it is begun.

    None: it is not against production, or it was admitted before. Raises `GuardRefused` (`production_refused`; the run,
    if it was planned, has then failed), and `InputRefused` for a request that names an environment which is none of
    production. That nobody has decided about the run yet is no refusal: `admit_run` asks.
    `forecast` says what so many dispatches cost.
    """
    with ws.database.connect() as connection:
        place = place_of(connection, asked.environment_id, asked.production)
        record = _planned(connection, asked.run_id)
    if place is None or (record is not None and not awaits_admission(record)):
        return None
    size = planned_size(ws, asked)
    expected = forecast(size[0])
    seen = survey(place, rules.alarms, open_aws)
    with ws.database.begin() as connection:
        lock_spending(connection)
        plan = _plan(connection, ws.clock.now(), asked, place, size, expected, limits, rules, seen)
        broken = [one for one in violations(plan, rules) if one.code not in UNDECIDED]
        if not broken:
            return Permit(place.id, plan.per_s, rules.within(limits), rules.alarms)
        error = refused(plan, broken)
        tell_refused(ws, connection, asked.run_id, place.id, asked.requester, broken)
        if record is not None and record.environment_id == place.id:  # else it is somebody else's run of this id
            end_refused(ws, connection, record, error)
    raise error


def _plan(
    connection: sa.Connection,
    now: datetime,
    asked: AskedRun,
    place: Place,
    size: tuple[int, int],
    forecast: Forecast,
    limits: Limits,
    rules: ProductionRules,
    seen: Seen,
) -> ProductionPlan:
    dispatches, per_s = size
    spent = spent_in(connection, month_of(now), now=now, without=asked.run_id)
    most = set_aside(forecast, False, rules.within(limits), limits.month_usd - spent)
    steps = Steps.of(connection, asked.run_id, asked.parent_run_id, now, SCOPE)
    own = approval_of(connection, SCOPE, asked.run_id)
    approval, approved = own, Decimal(0) if own is None else own.limit_usd
    if own is None and steps.consent is not None and most <= (steps.agreed_usd or 0):
        approval, approved = steps.consent, steps.agreed_usd or Decimal(0)
    what = f"The load test {asked.scenario.name} with {dispatches:,} dispatches{steps.said}"
    return ProductionPlan(
        run_id=asked.run_id,
        parent_run_id=asked.parent_run_id,
        named=asked.production,
        place=place,
        requester=asked.requester,
        approval=approval,
        approved_usd=approved,
        at=now,
        intent=Intent(what, dispatches, min(asked.scenario.max_in_flight, dispatches), most),
        limits=limits,
        month=month_of(now),
        spent_usd=spent,
        per_s=max(per_s, _search_per_s(connection, asked.parent_run_id)),
        taken_away=sum(stage.fault.instances for stage in faulty_stages(asked.scenario) if stage.fault is not None),
        going_on=others_going_on(connection, place.id, asked.run_id),
        seen=seen,
    )


def _planned(connection: sa.Connection, run_id: str) -> RunRecord | None:
    try:
        return read_in(connection, run_id)
    except NotFound:
        return None


def _search_per_s(connection: sa.Connection, parent_run_id: str | None) -> int:
    """How far the capacity search may go that the run is a step of: somebody is asked once for all of it."""
    searches = tables.capacities
    wanted = sa.select(searches.c.settings).where(searches.c.id == (parent_run_id or ""))
    found = connection.execute(wanted).scalar()
    return 0 if found is None else math.ceil(found["highest_per_s"])
