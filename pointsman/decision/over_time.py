"""Error over time: repeated decisions of one route share a budget of risk, and rest after a switch.

A decision is wrong with at most its `alpha`; one a day at 5 % would move traffic between equals some 18 times a year.
The shared budget is a bucket: it holds one decision's `alpha` at most, each decision takes what it holds, and it fills
by (`alpha_per_year` - `alpha`) / 365 a day. So the decisions of any 365 days take at most `alpha_per_year` together,
however they are spaced. As each is wrong with at most what it took, whatever came before, false switches are expected
at most `alpha_per_year` times a year, and come twice with a chance of at most half its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pointsman.decision.plan import LEAST_ALPHA, VerdictPlan
from pointsman.errors import Conflict, GuardRefused
from pointsman.ids import RouteKey
from pointsman.states import BINDING
from pointsman.statistics import smallest_sequential_p
from pointsman.storage import tables
from pointsman.workspace import Workspace

_YEAR = timedelta(days=365)
_SWITCHED = ("applying", "canary", "active", "superseded", "rolled_back")
_MOVES = ("applying", "canary", "active")


@dataclass(frozen=True, slots=True)
class Draw:
    """What one decision took of its route's budget."""

    at: datetime
    alpha: float


def held(alpha: float, alpha_per_year: float, draws: Sequence[Draw], now: datetime) -> float:
    """What the bucket holds now, after these draws in the order of their times."""
    per_year = alpha_per_year - alpha
    level, since = alpha, draws[0].at if draws else now
    for draw in draws:
        level = min(alpha, level + per_year * ((draw.at - since) / _YEAR)) - draw.alpha
        since = draw.at
    return max(0.0, min(alpha, level + per_year * ((now - since) / _YEAR)))


def least_useful(plan: VerdictPlan) -> float:
    """The smallest alpha that this plan's tests can reach at all."""
    clusters = len(plan.clusters)
    by_tests = smallest_sequential_p(clusters) if plan.sequential else max(2.0**-clusters, 1 / (plan.swaps + 1))
    return max(by_tests, LEAST_ALPHA)


def share_risk(ws: Workspace, benchmark_id: str, plans: Sequence[VerdictPlan]) -> list[VerdictPlan]:
    """The plans of a benchmark with the alpha that their route's budget leaves them; as they are without a budget.

    What a benchmark took stays taken, and asking again for it is answered alike. Raises `GuardRefused` while the route
    rests after a switch, and when the budget holds less than could ever decide anything; both say until when.
    `Conflict` when another decision of the route is declared in this moment.
    """
    plan = plans[0]
    route = plan.incumbent.route_key
    table = tables.alpha_draws
    now = ws.clock.now()
    with ws.database.begin() as connection:
        rows = _taken(connection, route)
        known = next((row.alpha for row in rows if row.benchmark_id == benchmark_id), None)
        if known is None:
            drawn = [Draw(row.at, row.alpha) for row in rows]
            alpha = allowance(plan, drawn, _switched(connection, route), now)
        if plan.alpha_per_year is None:
            return list(plans)
        if known is None:
            known = alpha
            taken = {"route_key": str(route), "number": len(rows) + 1, "benchmark_id": benchmark_id}
            try:
                connection.execute(sa.insert(table).values(**taken, alpha=known, at=now))
            except sa.exc.IntegrityError as error:
                raise Conflict(
                    f"Another decision of {route} was declared in this moment.",
                    instruction="Repeat the same request.",
                    code="alpha_taken",
                ) from error
    return [replace(one, alpha=known) for one in plans]


def left_for(ws: Workspace, route: RouteKey, alpha: float, alpha_per_year: float) -> float:
    """The alpha that the route's budget would leave a decision which is declared now; nothing is taken."""
    with ws.database.connect() as connection:
        drawn = [Draw(row.at, row.alpha) for row in _taken(connection, route)]
    return held(alpha, alpha_per_year, drawn, ws.clock.now())


def allowance(plan: VerdictPlan, draws: Sequence[Draw], switched: datetime | None, now: datetime) -> float:
    """The alpha of a decision that is declared now, after these draws of its route and its last switch.

    Raises `GuardRefused` (`route_resting`, `alpha_spent`).
    """
    _ensure_rested(plan, switched, now)
    if plan.alpha_per_year is None:
        return plan.alpha
    found, least = held(plan.alpha, plan.alpha_per_year, draws, now), least_useful(plan)
    if found >= least:
        return found
    if least > plan.alpha:
        return plan.alpha  # which `decide` says can never be reached
    days = (least - found) * 365 / (plan.alpha_per_year - plan.alpha) if plan.alpha_per_year > plan.alpha else None
    when = "never again" if days is None else f"from {now + timedelta(days=days):%Y-%m-%d %H:%M} UTC"
    raise GuardRefused(
        f"The decisions of {plan.incumbent.route_key} have taken their share of this year's risk of a false switch: "
        f"{found:.2g} is left, and {len(plan.clusters)} independent inputs cannot decide anything below {least:.2g}. "
        f"There is enough {when}.",
        instruction="Decide less often, with inputs of more sources, or with a larger `alpha_per_year`.",
        code="alpha_spent",
        held=found,
        least=least,
    )


def _taken(connection: sa.Connection, route: RouteKey) -> Sequence[sa.Row[Any]]:
    """What the decisions of the route took, in order."""
    table = tables.alpha_draws
    return connection.execute(sa.select(table).where(table.c.route_key == str(route)).order_by(table.c.number)).all()


def _switched(connection: sa.Connection, route: RouteKey) -> datetime | None:
    """When traffic moved last, which may be long after it was asked for; the first generation is no switch."""
    table, moves = tables.routing_bindings, tables.state_transitions
    of_it = (
        (moves.c.entity == BINDING.name)
        & (moves.c.entity_id == table.c.route_key + "#" + sa.cast(table.c.generation, sa.String))
        & moves.c.to_state.in_(_MOVES)
    )
    switches = (
        sa.select(sa.func.coalesce(sa.func.max(moves.c.at), sa.func.max(table.c.created_at)).label("at"))
        .select_from(table.outerjoin(moves, of_it))
        .where(table.c.route_key == str(route), table.c.generation > 1, table.c.status.in_(_SWITCHED))
        .group_by(table.c.generation)
    )
    return max(connection.execute(switches).scalars(), default=None)


def _ensure_rested(plan: VerdictPlan, switched: datetime | None, now: datetime) -> None:
    rest = timedelta(days=plan.cooldown_days)
    if switched is not None and now < switched + rest:
        raise GuardRefused(
            f"{plan.incumbent.route_key} was switched on {switched:%Y-%m-%d %H:%M} UTC and rests for "
            f"{plan.cooldown_days:g} days.",
            instruction=f"Decide again from {switched + rest:%Y-%m-%d %H:%M} UTC.",
            code="route_resting",
        )
