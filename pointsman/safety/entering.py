"""Entering production with a matrix or a probe: the guard, consent by somebody else, and what they then go on by.

A load test passes the same guard in `pointsman.scenario.production`: its row is planned before somebody is asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from pointsman.errors import InputRefused
from pointsman.safety.admission import Admission, in_words, others_going_on, set_aside, tell_refused, tell_requested
from pointsman.safety.approvals import Approval, approval_of, request_approval
from pointsman.safety.forecast import Forecast
from pointsman.safety.guards import Intent, Limits
from pointsman.safety.identities import Identity
from pointsman.safety.places import registered_place
from pointsman.safety.production import (
    SCOPE,
    Consent,
    Place,
    ProductionPlan,
    ProductionRules,
    is_production,
)
from pointsman.safety.production_rules import UNDECIDED, refused, violations
from pointsman.safety.spending import lock_spending, month_of, reserve, spent_in
from pointsman.safety.survey import OpenAws, survey
from pointsman.settings.read_only import ReadOnlyAws
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Entrant:
    """What would send to an environment, as somebody asks for it.

    `production` is the environment that the request names as such; `drives` are the drives that send side by side, each
    of them at least one dispatch in a second.
    """

    run_id: str
    what: str
    environment_id: str
    production: str | None
    requester: Identity
    dispatches: int
    in_flight: int
    drives: int = 1


def place_of(connection: sa.Connection, environment_id: str, production: str | None) -> Place | None:
    """The environment if it is production. Raises `InputRefused` for another that the request names as production."""
    place = registered_place(connection, environment_id)
    if is_production(place):
        return place
    if production is not None:
        allowed = f"nothing, as {place.id} is {place.kind}; or a variant of that environment"
        raise InputRefused("production", production, allowed)
    return None


def enter_production(
    ws: Workspace,
    asked: Entrant,
    *,
    forecast: Callable[[], Forecast],
    rules: ProductionRules,
    limits: Limits,
    open_aws: OpenAws = ReadOnlyAws,
) -> Admission | None:
    """Admit to production, or ask somebody else to agree; None for an environment that is none of production.

    Raises `GuardRefused` (`production_refused`), after logging every rule of production that is broken, and
    `InputRefused` like `place_of`. AWS is only looked at, and nothing is written but refusal, request and the money
    that is set aside. Call it again to learn how it stands: everything is asked anew, also of what has begun before.
    What it sends is paced: to what is allowed in a second, and to what was approved where that is less.
    """
    with ws.database.connect() as connection:
        place = place_of(connection, asked.environment_id, asked.production)
    if place is None:
        return None
    expected = forecast()
    seen = survey(place, rules.alarms, open_aws)
    with ws.database.begin() as connection:
        lock_spending(connection)
        now = ws.clock.now()
        approval = approval_of(connection, SCOPE, asked.run_id)
        spent = spent_in(connection, month_of(now), now=now, without=asked.run_id)
        allowed = rules.within(limits)
        most = set_aside(expected, False, allowed, limits.month_usd - spent)
        plan = ProductionPlan(
            run_id=asked.run_id,
            parent_run_id=None,
            named=asked.production,
            place=place,
            requester=asked.requester,
            approval=approval,
            approved_usd=most if approval is None else approval.limit_usd,
            at=now,
            intent=Intent(asked.what, asked.dispatches, asked.in_flight, most),
            limits=limits,
            month=month_of(now),
            spent_usd=spent,
            per_s=_pace(asked, rules, approval),
            taken_away=0,
            going_on=others_going_on(connection, place.id, asked.run_id),
            seen=seen,
        )
        broken = [one for one in violations(plan, rules) if one.code not in UNDECIDED]
        if not broken:
            return _admit(ws, connection, asked, plan, expected, rules)
        tell_refused(ws, connection, asked.run_id, place.id, asked.requester, broken)
    raise refused(plan, broken)


def _pace(asked: Entrant, rules: ProductionRules, approval: Approval | None) -> int:
    allowed = math.floor(rules.per_s)
    if approval is not None and approval.limit_per_s is not None:
        allowed = min(allowed, approval.limit_per_s)
    return max(asked.drives, allowed)


def _admit(
    ws: Workspace,
    connection: sa.Connection,
    asked: Entrant,
    plan: ProductionPlan,
    expected: Forecast,
    rules: ProductionRules,
) -> Admission:
    approval = plan.approval
    if approval is None:
        approval = request_approval(
            ws,
            connection,
            scope=SCOPE,
            subject_id=asked.run_id,
            what=f"{asked.what}, {in_words(expected)}; in production ({plan.place.id}), {plan.per_s} in a second",
            limit_usd=plan.intent.usd,
            requester=asked.requester,
            environment_id=plan.place.id,
            limit_per_s=plan.per_s,
        )
        tell_requested(ws, connection, approval, context=asked.run_id)
    if approval.decision is None:
        return Admission(asked.run_id, "waiting", approval)
    reserve(connection, asked.run_id, plan.intent.usd, at=plan.at)
    consent = Consent(approval.id, plan.place.id, plan.per_s, approval.limit_usd, rules.alarms)
    return Admission(asked.run_id, "admitted", approval, consent)
