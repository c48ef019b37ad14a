"""The record of bindings: append-only generations per route key in `routing_bindings`, and how to read them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.states import BINDING
from pointsman.storage import record_creation, tables
from pointsman.workspace import Workspace

_TABLE = tables.routing_bindings
SERVED = frozenset({"active", "superseded", "rolled_back"})
"""The states of generations that serve traffic or once did; those with a step only served a part of it for a while."""
SERVING = frozenset({"active", "canary"})
"""The states in which a generation serves traffic; of each route at most one generation is in them."""


@dataclass(frozen=True, slots=True)
class BindingRecord:
    """One generation as the state of record holds it. `status` is a state of `states.BINDING`."""

    binding: Binding
    status: str
    kind: str
    """apply, rollback or restore."""
    actor: str
    verdict_id: str | None
    rollout_id: str | None
    """The canary that it is a step of, its last one included."""
    step: int | None
    """Which step of it, from 0; None for the last one and for what is no canary."""
    created_at: datetime


def current(ws: Workspace, route_key: RouteKey) -> Binding | None:
    """The generation that is to serve traffic, or None when none ever became active."""
    with ws.database.connect() as connection:
        found = serving(connection, route_key)
    return found.binding if found else None


def history(ws: Workspace, route_key: RouteKey) -> list[BindingRecord]:
    """Every generation of a route, newest first, whatever became of it."""
    wanted = sa.select(_TABLE).where(_TABLE.c.route_key == str(route_key)).order_by(_TABLE.c.generation.desc())
    with ws.database.connect() as connection:
        return [_record(row) for row in connection.execute(wanted).mappings()]


def asked_for_with(ws: Workspace, idempotency_key: str) -> BindingRecord | None:
    """The generation that the change with this key got, if it was ever recorded."""
    wanted = sa.select(_TABLE).where(_TABLE.c.idempotency_key == idempotency_key)
    with ws.database.connect() as connection:
        row = connection.execute(wanted).mappings().one_or_none()
    return _record(row) if row else None


def routes(ws: Workspace) -> list[RouteKey]:
    """The route keys that have bindings, in order."""
    with ws.database.connect() as connection:
        found = connection.execute(sa.select(_TABLE.c.route_key).distinct().order_by(_TABLE.c.route_key)).scalars()
        return [RouteKey.parse(text) for text in found]


def resolve(binding: Binding, targeting_key: str) -> VariantId:
    """The variant that a request with this targeting key gets: always the same one, in proportion to the weights.

    A flagd client hashes differently: it gives the same shares, but may place a single key elsewhere.
    """
    digest = hashlib.sha256(f"{binding.route_key}\x1f{targeting_key}".encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") * 100 >> 64
    for variant, weight in sorted(binding.weights.items()):
        bucket -= weight
        if bucket < 0:
            return variant
    raise AssertionError("weights sum to 100 and the bucket is below 100")


def take_turn(connection: sa.Connection, route_key: RouteKey) -> None:
    """Until the transaction ends nobody else changes the record of this route."""
    if connection.dialect.name == "postgresql":  # a SQLite transaction of ours is alone already
        number = int.from_bytes(hashlib.sha256(f"route {route_key}".encode()).digest()[:8], "big", signed=True)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number)))


def serving(connection: sa.Connection, route_key: RouteKey) -> BindingRecord | None:
    """The generation that serves; at most one does, because letting one serve takes the place of the other."""
    wanted = sa.select(_TABLE).where(_TABLE.c.route_key == str(route_key), _TABLE.c.status.in_(SERVING))
    row = connection.execute(wanted).mappings().one_or_none()
    return _record(row) if row else None


def served_before(connection: sa.Connection, serving: BindingRecord) -> Binding | None:
    """What served before that: no step of a canary, and none that never became active.

    The same content over again, restored or applied twice, is no way back: what served before it is meant.
    """
    came, at = _TABLE.c.generation, serving
    older = _served(at.binding.route_key).where(came < at.binding.generation).order_by(came.desc())
    with connection.execute(older, execution_options={"yield_per": 10}) as found:  # the first few are enough
        for row in found.mappings():
            before = _record(row)
            again = at.kind != "rollback" and at.step is None and before.binding.shares == at.binding.shares
            if not again:
                return before.binding
            at = before
    return None


def served_as(connection: sa.Connection, route_key: RouteKey, number: int) -> Binding | None:
    """The generation of this number, if it serves or once did, and was no step of a canary."""
    row = connection.execute(_served(route_key).where(_TABLE.c.generation == number)).mappings().one_or_none()
    return _record(row).binding if row else None


def served_generations(connection: sa.Connection, route_key: RouteKey) -> list[int]:
    """The numbers of those, newest first."""
    numbers = _served(route_key).with_only_columns(_TABLE.c.generation).order_by(_TABLE.c.generation.desc())
    return list(connection.execute(numbers).scalars())


def _served(route_key: RouteKey) -> sa.Select[Any]:
    served = sa.select(_TABLE).where(_TABLE.c.route_key == str(route_key), _TABLE.c.status.in_(SERVED))
    return served.where(_TABLE.c.step.is_(None))


def newest_generation(connection: sa.Connection, route_key: RouteKey) -> int:
    """The highest generation ever given out for a route, 0 for none."""
    highest = sa.select(sa.func.max(_TABLE.c.generation)).where(_TABLE.c.route_key == str(route_key))
    return connection.execute(highest).scalar() or 0


def under_way(
    connection: sa.Connection, route_key: RouteKey, states: Collection[str] = ("applying", "awaiting_approval")
) -> list[BindingRecord]:
    """Generations on their way to the gateway, or that wait for consent."""
    wanted = sa.select(_TABLE).where(_TABLE.c.route_key == str(route_key), _TABLE.c.status.in_(states))
    return [_record(row) for row in connection.execute(wanted).mappings()]


def generation(connection: sa.Connection, route_key: RouteKey, number: int) -> BindingRecord:
    """One generation that is known to exist."""
    wanted = sa.select(_TABLE).where(_TABLE.c.route_key == str(route_key), _TABLE.c.generation == number)
    return _record(connection.execute(wanted).mappings().one())


def of_step(connection: sa.Connection, rollout_id: str, step: int) -> BindingRecord:
    """The generation of a canary's step that is known to exist; the newest one that served, if it was restored."""
    wanted = sa.select(_TABLE).where(_TABLE.c.rollout_id == rollout_id, _TABLE.c.step == step)
    found = [_record(row) for row in connection.execute(wanted.order_by(_TABLE.c.generation.desc())).mappings()]
    return next((one for one in found if one.status in SERVED | SERVING), found[0])


def insert(
    connection: sa.Connection,
    ws: Workspace,
    binding: Binding,
    *,
    state: str,
    kind: str,
    verdict_id: str | None,
    rollout_id: str | None,
    step: int | None,
    idempotency_key: str,
) -> None:
    """Append a generation in `state`. Raises `IntegrityError` when somebody else took its number or its key."""
    now = ws.clock.now()
    connection.execute(
        sa.insert(_TABLE).values(
            route_key=str(binding.route_key),
            generation=binding.generation,
            weights={str(variant): weight for variant, weight in sorted(binding.weights.items())},
            status=BINDING.initial,
            kind=kind,
            cause=binding.cause,
            actor=ws.actor,
            verdict_id=verdict_id,
            rollout_id=rollout_id,
            step=step,
            idempotency_key=idempotency_key,
            created_at=now,
        )
    )
    record_creation(connection, BINDING, entity(binding), at=now, actor=ws.actor, reason=binding.cause)
    move(connection, ws, binding, BINDING.initial, state, binding.cause)


def move(connection: sa.Connection, ws: Workspace, binding: Binding, old: str, new: str, reason: str) -> None:
    """Move a generation from state `old` to `new` and record it. Raises `IllegalMove` when the machine forbids it."""
    BINDING.check(old, new)
    connection.execute(
        sa.update(_TABLE)
        .where(_TABLE.c.route_key == str(binding.route_key), _TABLE.c.generation == binding.generation)
        .values(status=new)
    )
    connection.execute(
        sa.insert(tables.state_transitions).values(
            entity=BINDING.name,
            entity_id=entity(binding),
            from_state=old,
            to_state=new,
            at=ws.clock.now(),
            reason=reason,
            actor=ws.actor,
        )
    )


def entity(binding: Binding) -> str:
    """By what name a generation stands in tables that hold other things as well."""
    return f"{binding.route_key}#{binding.generation}"


def _record(row: Any) -> BindingRecord:
    weights = {VariantId.parse(text): weight for text, weight in row["weights"].items()}
    return BindingRecord(
        binding=Binding(RouteKey.parse(row["route_key"]), row["generation"], weights, row["cause"]),
        status=row["status"],
        kind=row["kind"],
        actor=row["actor"],
        verdict_id=row["verdict_id"],
        rollout_id=row["rollout_id"],
        step=row["step"],
        created_at=row["created_at"],
    )
