"""Canaries: a route goes over to new weights in steps, each of them a generation, with a look at it in between.

`base_generation` is what served before and what an abort goes back to. A step that was found good, or that an operator
takes for good, is followed by the next, if the rules of the route still let it; the last one carries everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from pointsman.errors import GuardRefused, InputRefused
from pointsman.ids import RouteKey, VariantId, derive
from pointsman.model import Binding
from pointsman.routing import bindings
from pointsman.routing.changing import Change, foresee, make
from pointsman.routing.consent import require_guarded
from pointsman.routing.gateways import Gateway
from pointsman.routing.guards import Intended, ensure_allowed, ensure_ready
from pointsman.routing.verdicts import ensure_asked_for
from pointsman.safety import Consent
from pointsman.storage import tables
from pointsman.workspace import Workspace

_TABLE = tables.routing_rollouts
State = Literal["running", "paused", "completed", "aborted"]
_MOST_STEPS = 20


@dataclass(frozen=True, slots=True)
class Rollout:
    """One row of `routing_rollouts`. `findings` are what was found at its steps, as plain data, in their order."""

    id: str
    route_key: RouteKey
    steps: tuple[int, ...]
    weights: Mapping[VariantId, int]
    base_generation: int
    state: State
    why: str
    findings: Sequence[Mapping[str, Any]]
    created_at: datetime
    ended_at: datetime | None


def check_steps(steps: Sequence[int]) -> tuple[int, ...]:
    """Percents that grow up to 100. Raises `InputRefused`."""
    given = tuple(steps)
    good = all(type(one) is int and 1 <= one <= 100 for one in given) and list(given) == sorted(set(given))
    if not good or not given or given[-1] != 100 or len(given) > _MOST_STEPS:
        raise InputRefused("canary steps", list(given), f"at most {_MOST_STEPS} percents that grow, the last one 100")
    return given


def mixed(base: Mapping[VariantId, int], new: Mapping[VariantId, int], percent: int) -> dict[VariantId, int]:
    """`percent` of the traffic by the weights `new`, the rest by `base`, in whole percents that sum to 100."""
    exact = {one: base.get(one, 0) * (100 - percent) + new.get(one, 0) * percent for one in sorted({*base, *new})}
    whole = {one: parts // 100 for one, parts in exact.items()}
    by_rest = sorted(exact, key=lambda one: (-(exact[one] % 100), one))
    for one in by_rest[: 100 - sum(whole.values())]:
        whole[one] += 1
    return {one: weight for one, weight in whole.items() if weight or new.get(one) or base.get(one)}


def at_percent(base: Mapping[VariantId, int], new: Mapping[VariantId, int], percent: int) -> Mapping[VariantId, int]:
    """What serves at a step of a canary: the last one is `new` itself."""
    return new if percent == 100 else mixed(base, new, percent)


def insert(
    connection: sa.Connection,
    ws: Workspace,
    *,
    rollout_id: str,
    route_key: RouteKey,
    steps: Sequence[int],
    weights: Mapping[VariantId, int],
    base_generation: int,
    why: str,
) -> None:
    """Record a canary that begins."""
    connection.execute(
        sa.insert(_TABLE).values(
            id=rollout_id,
            route_key=str(route_key),
            steps=list(steps),
            weights={str(one): weight for one, weight in weights.items()},
            base_generation=base_generation,
            state="running",
            why=why,
            findings=[],
            created_at=ws.clock.now(),
        )
    )


def read_rollout(ws: Workspace, rollout_id: str) -> Rollout:
    """One that is known to exist."""
    with ws.database.connect() as connection:
        return _read(connection, rollout_id)


def under_way(ws: Workspace, route_key: RouteKey) -> tuple[Rollout, bindings.BindingRecord] | None:
    """The canary that the route is in, and the generation of its step; None when it is in none."""
    with ws.database.connect() as connection:
        found = bindings.serving(connection, route_key)
        if found is None or found.step is None or found.rollout_id is None:
            return None
        return _read(connection, found.rollout_id), found


def require_canary(ws: Workspace, route_key: RouteKey) -> tuple[Rollout, bindings.BindingRecord]:
    """The same. Raises `GuardRefused` (`no_canary`) when the route is in none."""
    found = under_way(ws, route_key)
    if found is None:
        raise GuardRefused(
            f"{route_key} is not in a canary.",
            instruction=f"pointsman route show {route_key}",
            code="no_canary",
            route_key=str(route_key),
        )
    return found


def note_finding(ws: Workspace, rollout_id: str, finding: Mapping[str, Any]) -> None:
    """Keep what was found at a step."""
    with ws.database.begin() as connection:
        known = _read(connection, rollout_id)
        values = {"findings": [*known.findings, {**finding, "at": ws.clock.now().isoformat()}]}
        connection.execute(sa.update(_TABLE).where(_TABLE.c.id == rollout_id).values(**values))


def pause(ws: Workspace, route_key: RouteKey, why: str) -> Rollout:
    """Stay at the step where it is, until an operator promotes or aborts. Raises `GuardRefused` (`no_canary`)."""
    rollout, _ = require_canary(ws, route_key)
    _set(ws, rollout.id, "paused", why)
    return read_rollout(ws, rollout.id)


def resume(ws: Workspace, rollout_id: str, why: str) -> None:
    """Let a canary that was paused go on."""
    _set(ws, rollout_id, "running", why)


def advance(
    ws: Workspace,
    gateway: Gateway,
    rollout_id: str,
    *,
    after: int,
    why: str,
    to_end: bool = False,
    consent: Consent | None = None,
) -> Binding:
    """Make the step that follows step `after`, or at once the last one, serve, and return its generation.

    The same again when it does already. Raises `GuardRefused` for a canary that is paused (`canary_paused`), and as
    `apply_binding` does: the next step is held to the rules of the route as they are now, and in production takes the
    `consent` of the guard like the first.
    """
    change, rules = _advancing(ws, gateway, rollout_id, after, to_end, why)

    def going_on(connection: sa.Connection, *_: object) -> None:
        rollout = _read(connection, rollout_id)
        if rollout.state == "paused":
            raise GuardRefused(
                f"The canary of {change.route_key} is paused at {rollout.steps[after]} %.",
                instruction=f"pointsman route promote {change.route_key}",
                code="canary_paused",
                route_key=str(change.route_key),
            )

    def check() -> None:
        with ws.database.connect() as connection:
            going_on(connection)
        rules()
        require_guarded(ws, change.route_key, consent, f"The canary of {change.route_key}")

    # Asked again when the step is recorded: whoever pauses is answered that it stays where it is.
    return make(ws, gateway, replace(change, also=going_on), check)


def ensure_may_advance(ws: Workspace, gateway: Gateway, rollout_id: str, *, after: int, to_end: bool = False) -> None:
    """Raise what the same call of `advance` would be refused for now, pause and consent apart, and write nothing."""
    change, rules = _advancing(ws, gateway, rollout_id, after, to_end, "")
    foresee(ws, gateway, change, rules)


def _advancing(
    ws: Workspace, gateway: Gateway, rollout_id: str, after: int, to_end: bool, why: str
) -> tuple[Change, Callable[[], None]]:
    rollout = read_rollout(ws, rollout_id)
    route_key, step = rollout.route_key, len(rollout.steps) - 1 if to_end else after + 1
    percent = rollout.steps[step]
    with ws.database.connect() as connection:
        base = bindings.generation(connection, route_key, rollout.base_generation).binding
        at = bindings.of_step(connection, rollout_id, after)
    weights = at_percent(base.weights, rollout.weights, percent)

    def rules() -> None:
        if at.verdict_id is not None:
            ensure_asked_for(ws, at.verdict_id, route_key, rollout.weights)
        ensure_allowed(ws, Intended(route_key, rollout.weights, [weights], at.binding, at.verdict_id, base))
        ensure_ready(gateway, route_key, weights)

    change = Change(
        kind="apply",
        route_key=route_key,
        expected=at.binding.generation,
        # Of the step that it follows as well: where that had to be restored, what was under way is over.
        idempotency_key=derive("step", rollout_id, step, at.binding.generation),
        details={"rollout": rollout_id, "step": step},
        content=lambda _connection, _serving: (weights, f"{percent} % of {rollout.why}: {why}"),
        verdict_id=at.verdict_id,
        rollout_id=rollout_id,
        step=None if percent == 100 else step,
    )
    return change, rules


def _set(ws: Workspace, rollout_id: str, state: State, why: str) -> None:
    """Of a canary that has ended nothing is changed."""
    with ws.database.begin() as connection:
        bindings.take_turn(connection, _read(connection, rollout_id).route_key)
        known = _read(connection, rollout_id)
        if known.ended_at is None:
            findings = [*known.findings, {"decision": state, "why": why, "at": ws.clock.now().isoformat()}]
            changed = sa.update(_TABLE).where(_TABLE.c.id == rollout_id)
            connection.execute(changed.values(state=state, findings=findings))


def _read(connection: sa.Connection, rollout_id: str) -> Rollout:
    row = connection.execute(sa.select(_TABLE).where(_TABLE.c.id == rollout_id)).mappings().one()
    return Rollout(
        id=row["id"],
        route_key=RouteKey.parse(row["route_key"]),
        steps=tuple(row["steps"]),
        weights={VariantId.parse(text): weight for text, weight in row["weights"].items()},
        base_generation=row["base_generation"],
        state=row["state"],
        why=row["why"],
        findings=row["findings"],
        created_at=row["created_at"],
        ended_at=row["ended_at"],
    )
