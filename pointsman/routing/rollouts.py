"""Canaries: a route goes over to new weights in steps, each of them a generation, with a look at it in between.

`base_generation` is what served before and what an abort goes back to. A step that was found good, or that an operator
takes for good, is followed by the next; the last one carries everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from pointsman.errors import GuardRefused, InputRefused
from pointsman.ids import RouteKey, VariantId, derive
from pointsman.model import Binding
from pointsman.routing import bindings
from pointsman.routing.changing import Change, make
from pointsman.routing.consent import require_guarded
from pointsman.routing.gateways import Gateway
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
    ws: Workspace, gateway: Gateway, rollout_id: str, *, after: int, why: str, consent: Consent | None = None
) -> Binding:
    """Make the step that follows step `after` serve, and return its generation; the same again when it does already.

    Raises `GuardRefused` for a canary that is paused (`canary_paused`), and as `apply_binding` does: in production the
    next step takes the `consent` of the guard like the first.
    """
    rollout = read_rollout(ws, rollout_id)
    route_key, step = rollout.route_key, after + 1
    percent = rollout.steps[step]
    with ws.database.connect() as connection:
        served = bindings.generation(connection, route_key, rollout.base_generation)
        at = bindings.of_step(connection, rollout_id, after)

    def content(
        _connection: sa.Connection, _serving: bindings.BindingRecord | None
    ) -> tuple[Mapping[VariantId, int], str]:
        weights = rollout.weights if percent == 100 else mixed(served.binding.weights, rollout.weights, percent)
        return weights, f"{percent} % of {rollout.why}: {why}"

    def check() -> None:
        if read_rollout(ws, rollout_id).state == "paused":
            raise GuardRefused(
                f"The canary of {route_key} is paused at {rollout.steps[after]} %.",
                instruction=f"pointsman route promote {route_key}",
                code="canary_paused",
                route_key=str(route_key),
            )
        require_guarded(ws, route_key, consent, f"The canary of {route_key}")

    change = Change(
        kind="apply",
        route_key=route_key,
        expected=at.binding.generation,
        # Of the step that it follows as well: where that had to be restored, what was under way is over.
        idempotency_key=derive("step", rollout_id, step, at.binding.generation),
        details={"rollout": rollout_id, "step": step},
        content=content,
        verdict_id=at.verdict_id,
        rollout_id=rollout_id,
        step=None if percent == 100 else step,
    )
    return make(ws, gateway, change, check)


def _set(ws: Workspace, rollout_id: str, state: State, why: str) -> None:
    going_on = _TABLE.c.state.in_(("running", "paused"))
    with ws.database.begin() as connection:
        connection.execute(sa.update(_TABLE).where(_TABLE.c.id == rollout_id, going_on).values(state=state))
        known = _read(connection, rollout_id)
        findings = [*known.findings, {"decision": state, "why": why, "at": ws.clock.now().isoformat()}]
        connection.execute(sa.update(_TABLE).where(_TABLE.c.id == rollout_id).values(findings=findings))


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
