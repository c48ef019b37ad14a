"""Changing where traffic goes: a new generation by compare-and-swap, put into the gateway and read back.

The order makes a crash harmless. First one transaction records the generation in state applying, together with the
idempotency key; then the gateway gets it; then it is read back; then one transaction makes it active in the place of
the one before. Whoever repeats the request continues where it stopped. A generation that was left applying by somebody
who never came back is aborted by the next change: the gateway refuses it from then on, because it is older.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from pointsman.actions import ActionLog
from pointsman.canonical import sha256_of
from pointsman.errors import Conflict, DependencyDown, GuardRefused, InputRefused, NotFound, PointsmanError, RunFailed
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.routing import bindings
from pointsman.routing.drift import note_drift
from pointsman.routing.gateways import Gateway
from pointsman.routing.verdicts import binding_for_verdict
from pointsman.storage import tables
from pointsman.workspace import Workspace

_KEYS = tables.idempotency_keys
_KEY_LENGTH = 300
Content = Callable[[sa.Connection, "Binding | None"], tuple[Mapping[VariantId, int], str]]


@dataclass(frozen=True, slots=True)
class _Change:
    """One request. `content` says, given the current binding, what the new one holds and why."""

    kind: str
    route_key: RouteKey
    expected: int | None
    idempotency_key: str
    details: Mapping[str, Any]
    content: Content
    verdict_id: str | None = None

    @property
    def sha256(self) -> str:
        return sha256_of({"kind": self.kind, "route": str(self.route_key), "expected": self.expected, **self.details})

    @property
    def stored_key(self) -> str:
        return f"routing:{self.idempotency_key}"

    @property
    def leaves_predecessor(self) -> str:
        return "rolled_back" if self.kind == "rollback" else "superseded"


def apply_binding(
    ws: Workspace,
    gateway: Gateway,
    *,
    route_key: RouteKey,
    weights: Mapping[VariantId, int],
    expected: int | None,
    cause: str,
    idempotency_key: str,
    verdict_id: str | None = None,
) -> Binding:
    """Make `weights` (whole percents of registered variants) the next generation of the route, and return it active.

    `expected` is the generation that the caller takes to be current, None for a route without a binding. The same
    `idempotency_key` with the same request gives the same generation, and continues one that was interrupted.

    Raises, before anything is written: `InputRefused` or `NotFound` for bad weights or unknown variants, `GuardRefused`
    when a verdict is named that does not ask for these weights, `Conflict` when another generation is current or the
    key was used for another request. Later: `DependencyDown` when the gateway is out of reach (the generation stays
    applying and the same call continues it), `RunFailed` when the gateway does not show it (the generation is failed),
    `Conflict` when a newer change overtook this one.
    """
    change = _Change(
        kind="apply",
        route_key=route_key,
        expected=expected,
        idempotency_key=idempotency_key,
        details={"weights": {str(v): w for v, w in weights.items()}, "cause": cause, "verdict_id": verdict_id},
        content=lambda _connection, _current: (weights, cause),
        verdict_id=verdict_id,
    )

    def check() -> None:
        Binding(route_key, 1, weights, cause)
        if any(type(weight) is not int for weight in weights.values()):
            shown = {str(variant): weight for variant, weight in weights.items()}
            raise InputRefused("binding weights", shown, "whole percents from 0 to 100 that sum to 100")
        _check_registered(ws, route_key, weights)
        if verdict_id is not None:
            _check_verdict(ws, verdict_id, route_key, weights)

    return _change(ws, gateway, change, check)


def rollback(
    ws: Workspace, gateway: Gateway, *, route_key: RouteKey, expected: int, idempotency_key: str, reason: str
) -> Binding:
    """Make what served before generation `expected` the next generation of the route, and return it active.

    What served before is the generation that was active just before the current one, so rolling a rollback back puts
    its subject on the route again. Raises as `apply_binding` does, and `GuardRefused` when nothing served before.
    """

    def content(connection: sa.Connection, current: Binding | None) -> tuple[Mapping[VariantId, int], str]:
        before = bindings.served_before(connection, current) if current else None
        if current is None or before is None:
            raise GuardRefused(
                f"Nothing served {route_key} before generation {expected}, so there is nothing to go back to.",
                instruction=f"pointsman route history {route_key}",
                code="nothing_to_roll_back_to",
            )
        cause = f"rollback of generation {current.generation} to the content of generation {before.generation}"
        return before.weights, f"{cause}: {reason}"

    change = _Change("rollback", route_key, expected, idempotency_key, {"reason": reason}, content)
    return _change(ws, gateway, change, lambda: None)


def _change(ws: Workspace, gateway: Gateway, change: _Change, check: Callable[[], None]) -> Binding:
    if not 1 <= len(change.idempotency_key) <= _KEY_LENGTH:
        raise InputRefused("idempotency key", change.idempotency_key, f"1 to {_KEY_LENGTH} characters")
    with ws.database.connect() as connection:
        number = _answered(connection, change)
    if number is None:
        check()
        held = gateway.read(change.route_key)
        number = _record(ws, change, newer_than=held.generation if held else 0)
    return _carry_out(ws, gateway, change, number)


def _answered(connection: sa.Connection, change: _Change) -> int | None:
    """The generation that this key got before, or None. Raises `Conflict` when it was given for another request."""
    row = connection.execute(sa.select(_KEYS).where(_KEYS.c.key == change.stored_key)).mappings().one_or_none()
    if row is None:
        return None
    if row["request_sha256"] != change.sha256:
        raise Conflict(
            f"The idempotency key {change.idempotency_key!r} was used for another routing change.",
            instruction="Repeat the first request unchanged, or give this one a key of its own.",
            code="idempotency_key_reused",
        )
    return int(row["answer"]["generation"])


def _record(ws: Workspace, change: _Change, *, newer_than: int) -> int:
    """Append the new generation, newer also than what the gateway shows: a lost database must not stop routing."""
    route_key = change.route_key
    try:
        with ws.database.begin() as connection:
            answered = _answered(connection, change)
            if answered is not None:
                return answered
            found = bindings.active(connection, route_key)
            previous = found.binding if found else None
            generation = previous.generation if previous else None
            if generation != change.expected:
                raise _stale(route_key, change.expected, generation)
            weights, cause = change.content(connection, previous)
            number = max(bindings.newest_generation(connection, route_key), newer_than) + 1
            for left in bindings.applying(connection, route_key):
                reason = f"overtaken by generation {number}"
                bindings.move(connection, ws, left.binding, left.status, "aborted", reason)
            new = Binding(route_key, number, weights, cause)
            bindings.insert(connection, ws, new, verdict_id=change.verdict_id, idempotency_key=change.idempotency_key)
            connection.execute(
                sa.insert(_KEYS).values(
                    key=change.stored_key,
                    request_sha256=change.sha256,
                    answer={"route_key": str(route_key), "generation": number},
                    created_at=ws.clock.now(),
                )
            )
            return number
    except IntegrityError as error:  # only where transactions do not take turns: PostgreSQL
        raise Conflict(
            f"Another change of {route_key} was recorded at the same moment.",
            instruction=f"pointsman route show {route_key}",
            code="stale_generation",
            route_key=str(route_key),
            expected=change.expected,
        ) from error


def _carry_out(ws: Workspace, gateway: Gateway, change: _Change, number: int) -> Binding:
    with ws.database.connect() as connection:
        record = bindings.generation(connection, change.route_key, number)
        found = bindings.active(connection, change.route_key)
    if record.status != "applying":
        return _settled(change, record)
    new = record.binding
    try:
        held = gateway.read(change.route_key)
        if held != new:
            note_drift(ws, change.route_key, recorded=found.binding if found else None, shown=held)
        gateway.publish(new, expected=held.generation if held else None)
        shown = gateway.read(change.route_key)
    except DependencyDown as error:
        _log_failure(ws, new, str(error.message))
        raise
    except PointsmanError as error:
        return _fail(ws, change, new, error.message)
    if shown != new:
        return _fail(ws, change, new, f"the gateway shows generation {shown.generation if shown else None} after it")
    return _activate(ws, change, new)


def _activate(ws: Workspace, change: _Change, new: Binding) -> Binding:
    with ws.database.begin() as connection:
        record = bindings.generation(connection, change.route_key, new.generation)
        if record.status == "applying":
            found = bindings.active(connection, change.route_key)
            if found:
                reason = f"generation {new.generation}: {new.cause}"
                bindings.move(connection, ws, found.binding, found.status, change.leaves_predecessor, reason)
            bindings.move(connection, ws, new, "applying", "active", "the gateway shows it")
            ActionLog(ws).record_in(
                connection,
                "routing_rolled_back" if change.kind == "rollback" else "routing_applied",
                route_key=new.route_key,
                generation=new.generation,
                before=_shares(found.binding) if found else None,
                after=_shares(new),
                cause=new.cause,
                verdict_id=change.verdict_id,
            )
            return new
    return _settled(change, record)


def _fail(ws: Workspace, change: _Change, new: Binding, why: str) -> Binding:
    with ws.database.begin() as connection:
        record = bindings.generation(connection, change.route_key, new.generation)
        if record.status == "applying":
            bindings.move(connection, ws, new, "applying", "failed", why)
    if record.status == "applying":
        _log_failure(ws, new, why)
        raise _failed(new, why)
    return _settled(change, record)


def _settled(change: _Change, record: bindings.BindingRecord) -> Binding:
    """The answer for a generation that is no longer on its way: the one it had when it settled."""
    if record.status in bindings.SERVED:
        return record.binding
    if record.status == "failed":
        raise _failed(record.binding, "it failed when it was first tried")
    raise Conflict(
        f"Generation {record.binding.generation} of {change.route_key} was overtaken by a newer change.",
        instruction=f"pointsman route show {change.route_key}",
        code="routing_overtaken",
        route_key=str(change.route_key),
    )


def _log_failure(ws: Workspace, new: Binding, why: str) -> None:
    ActionLog(ws).record("routing_apply_failed", route_key=new.route_key, generation=new.generation, why=why)


def _failed(new: Binding, why: str) -> RunFailed:
    return RunFailed(
        f"Generation {new.generation} of {new.route_key} did not take effect: {why}.".replace("..", "."),
        instruction=f"pointsman route show {new.route_key}",
        code="routing_apply_failed",
        route_key=str(new.route_key),
        generation=new.generation,
    )


def _stale(route_key: RouteKey, expected: int | None, current: int | None) -> Conflict:
    def words(generation: int | None) -> str:
        return "no binding" if generation is None else f"generation {generation}"

    return Conflict(
        f"The current binding of {route_key} is {words(current)}, and not {words(expected)} as expected.",
        instruction=f"pointsman route show {route_key}",
        code="stale_generation",
        route_key=str(route_key),
        current=current,
        expected=expected,
    )


def _check_registered(ws: Workspace, route_key: RouteKey, weights: Mapping[VariantId, int]) -> None:
    variants = tables.variants
    wanted = sa.select(variants.c.id).where(variants.c.route_key == str(route_key), variants.c.enabled.is_(True))
    with ws.database.connect() as connection:
        known = set(connection.execute(wanted).scalars())
    for variant in weights:
        if str(variant) not in known:
            raise NotFound("variant", str(variant), ", ".join(sorted(known)) or "none: no variant is enabled here")


def _check_verdict(ws: Workspace, verdict_id: str, route_key: RouteKey, weights: Mapping[VariantId, int]) -> None:
    proposed = binding_for_verdict(ws, verdict_id)
    if proposed.route_key != route_key or dict(proposed.weights) != dict(weights):
        raise GuardRefused(
            f"The verdict {verdict_id} does not ask for these weights on {route_key}.",
            instruction=f"pointsman route apply --verdict {verdict_id}",
            code="not_what_the_verdict_asks",
            verdict_id=verdict_id,
        )


def _shares(binding: Binding) -> dict[str, int]:
    return {str(variant): weight for variant, weight in binding.weights.items()}
