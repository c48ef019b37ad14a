"""How a change of routing is carried out: a new generation by compare-and-swap, put into the gateway and read back.

The order makes a crash harmless. First one transaction records the generation in state applying, together with the
idempotency key; then the gateway gets it; then it is read back; then one transaction lets it serve in the place of
the one before. Whoever repeats the request continues where it stopped. A generation that was left applying by somebody
who never came back is aborted by the next change: the gateway refuses it from then on, because it is older.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.canonical import sha256_of
from pointsman.errors import Conflict, DependencyDown, InputRefused, PointsmanError, RunFailed
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.routing import bindings, holds
from pointsman.routing.consent import go_on_with_consent
from pointsman.routing.drift import note_drift
from pointsman.routing.gateways import Gateway, shown_binding
from pointsman.routing.rules import rules_of
from pointsman.storage import tables
from pointsman.workspace import Workspace

_KEYS = tables.idempotency_keys
_KEY_LENGTH = 300
_TURNS = 10
"""Tries to put a generation into a gateway that others write to as well."""
Kind = Literal["apply", "rollback", "restore"]
Content = Callable[[sa.Connection, "bindings.BindingRecord | None"], tuple[Mapping[VariantId, int], str]]


@dataclass(frozen=True, slots=True)
class _Told:
    """What a change of some kind is told as, and what becomes of the generation that it replaces."""

    event: str
    predecessor: str


_TOLD: Mapping[str, _Told] = {
    "apply": _Told("routing_applied", "superseded"),
    "rollback": _Told("routing_rolled_back", "rolled_back"),
    "restore": _Told("routing_restored", "superseded"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One request. `content` says, given what serves now, what the new generation holds and why."""

    kind: Kind
    route_key: RouteKey
    expected: int | None
    idempotency_key: str
    details: Mapping[str, Any]
    content: Content
    verdict_id: str | None = None
    rollout_id: str | None = None
    step: int | None = None
    also: Callable[[sa.Connection, bindings.BindingRecord | None, Binding], None] | None = None
    """What else stands when the generation does, given what serves and the new one."""
    awaits_consent: bool = False

    @property
    def sha256(self) -> str:
        return sha256_of({"kind": self.kind, "route": str(self.route_key), "expected": self.expected, **self.details})

    @property
    def stored_key(self) -> str:
        return f"routing:{self.idempotency_key}"


def make(ws: Workspace, gateway: Gateway, change: Change, check: Callable[[], None]) -> Binding:
    """Carry the change out, or answer what it came to before. `check` refuses a new one before anything is written."""
    return carry_out(ws, gateway, change.route_key, propose(ws, gateway, change, check).binding.generation)


def foresee(ws: Workspace, gateway: Gateway, change: Change, check: Callable[[], None]) -> None:
    """Raise what would keep `propose` from recording the change now; write nothing. What serves or did is not asked."""
    if _recorded(ws, gateway, change, check) is not None:
        return
    shown_binding(gateway, change.route_key)
    with ws.database.connect() as connection:
        found = _as_expected(connection, change)
        change.content(connection, found)


def propose(ws: Workspace, gateway: Gateway, change: Change, check: Callable[[], None]) -> bindings.BindingRecord:
    """Only record the change, or find it recorded; one that has moved no traffic yet is held to `check` again."""
    known = _recorded(ws, gateway, change, check)
    if known is not None:
        return known
    held = shown_binding(gateway, change.route_key)
    number = _record(ws, change, newer_than=held.generation if held else 0)
    with ws.database.connect() as connection:
        return bindings.generation(connection, change.route_key, number)


def _recorded(
    ws: Workspace, gateway: Gateway, change: Change, check: Callable[[], None]
) -> bindings.BindingRecord | None:
    """The generation that the change is already. One that is not, or has moved no traffic yet, is held to `check`."""
    if not 1 <= len(change.idempotency_key) <= _KEY_LENGTH:
        raise InputRefused("idempotency key", change.idempotency_key, f"1 to {_KEY_LENGTH} characters")
    with ws.database.connect() as connection:
        number = _answered(connection, change)
        known = None if number is None else bindings.generation(connection, change.route_key, number)
    if known is None or known.status == "awaiting_approval" or _cut_short(gateway, known):
        check()
    return known


def _cut_short(gateway: Gateway, record: bindings.BindingRecord) -> bool:
    """Whether it was left before the gateway showed it: since then a freeze may have begun, or its verdict expired."""
    return record.status == "applying" and not record.binding.leads_as(shown_binding(gateway, record.binding.route_key))


def _as_expected(connection: sa.Connection, change: Change) -> bindings.BindingRecord | None:
    """What serves. Raises `Conflict` (`stale_generation`) when that is not what the caller takes it to be."""
    found = bindings.serving(connection, change.route_key)
    generation = found.binding.generation if found else None
    if generation != change.expected:
        raise _stale(change.route_key, change.expected, found)
    return found


def _answered(connection: sa.Connection, change: Change) -> int | None:
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


def _record(ws: Workspace, change: Change, *, newer_than: int) -> int:
    """Append the new generation, newer also than what the gateway shows: a lost database must not stop routing."""
    route_key = change.route_key
    with ws.database.begin() as connection:
        bindings.take_turn(connection, route_key)
        answered = _answered(connection, change)
        if answered is not None:
            return answered
        found = _as_expected(connection, change)
        weights, cause = change.content(connection, found)
        number = max(bindings.newest_generation(connection, route_key), newer_than) + 1
        for left in bindings.under_way(connection, route_key):
            bindings.move(connection, ws, left.binding, left.status, "aborted", f"overtaken by generation {number}")
        new = Binding(route_key, number, weights, cause)
        bindings.insert(
            connection,
            ws,
            new,
            state="awaiting_approval" if change.awaits_consent else "applying",
            kind=change.kind,
            verdict_id=change.verdict_id,
            rollout_id=change.rollout_id,
            step=change.step,
            idempotency_key=change.idempotency_key,
        )
        if change.also is not None:
            change.also(connection, found, new)
        connection.execute(
            sa.insert(_KEYS).values(
                key=change.stored_key,
                request_sha256=change.sha256,
                answer={"route_key": str(route_key), "generation": number},
                created_at=ws.clock.now(),
            )
        )
        return number


def carry_out(ws: Workspace, gateway: Gateway, route_key: RouteKey, number: int) -> Binding:
    """Put a generation that was recorded into the gateway and let it serve; answer one that settled before.

    Raises as a change does: `GuardRefused` when it waits for consent or did not get it, `DependencyDown` when the
    gateway is out of reach (the generation stays applying), `RunFailed` when the gateway does not show it (the
    generation is failed), `Conflict` when a newer one overtook it.
    """
    with ws.database.connect() as connection:
        record = bindings.generation(connection, route_key, number)
        found = bindings.serving(connection, route_key)
    if record.status == "awaiting_approval":
        record = go_on_with_consent(ws, record)
    if record.status != "applying":
        return _settled(ws, record)
    new = record.binding
    try:
        shown = _put(ws, gateway, record, found.binding if found else None)
    except DependencyDown as error:
        _log_failure(ws, new, str(error.message))
        raise
    except PointsmanError as error:
        return _fail(ws, gateway, record, error.message)
    if not new.leads_as(shown):
        return _fail(
            ws, gateway, record, f"the gateway shows generation {shown.generation if shown else None} after it"
        )
    return _let_serve(ws, gateway, record)


def _put(ws: Workspace, gateway: Gateway, record: bindings.BindingRecord, recorded: Binding | None) -> Binding | None:
    """Publish and read back. An older generation of somebody who was overtaken may get in between: then once more."""
    new = record.binding
    for turn in range(_TURNS):
        held = shown_binding(gateway, new.route_key)
        if not new.leads_as(held) and turn == 0 and record.kind != "restore":  # that was told, or is meant
            note_drift(ws, new.route_key, recorded=recorded, shown=held)
        try:
            gateway.publish(new, expected=held.generation if held else None, at_once=record.kind != "apply")
        except Conflict:
            between = shown_binding(gateway, new.route_key)
            if between == held or between is None or between.generation >= new.generation:
                raise
            continue
        return shown_binding(gateway, new.route_key)
    raise Conflict(f"others kept changing what the gateway shows, {_TURNS} times", code="gateway_conflict")


def _let_serve(ws: Workspace, gateway: Gateway, record: bindings.BindingRecord) -> Binding:
    new = record.binding
    rules = rules_of(ws, new.route_key)
    with ws.database.begin() as connection:
        bindings.take_turn(connection, new.route_key)
        record = bindings.generation(connection, new.route_key, new.generation)
        if record.status == "applying":
            found = bindings.serving(connection, new.route_key)
            if found:
                reason = f"generation {new.generation}: {new.cause}"
                left = _TOLD[record.kind].predecessor
                aborted = found.status == "canary" and left == "rolled_back"
                bindings.move(connection, ws, found.binding, found.status, "aborted" if aborted else left, reason)
                holds.settle(connection, ws, found, record, rules)
                _end_rollout(connection, ws, found, record)
            state = "active" if record.step is None else "canary"
            bindings.move(connection, ws, new, "applying", state, "the gateway shows it")
            ActionLog(ws).record_in(
                connection,
                _TOLD[record.kind].event,
                route_key=new.route_key,
                generation=new.generation,
                before=shares(found.binding) if found else None,
                after=shares(new),
                cause=new.cause,
                verdict_id=record.verdict_id,
            )
            return new
    if record.status == "aborted":
        _make_way(ws, gateway, new)
    return _settled(ws, record)


def _end_rollout(
    connection: sa.Connection, ws: Workspace, before: bindings.BindingRecord, now: bindings.BindingRecord
) -> None:
    """A canary has ended when its last step serves, or something that is no step of it."""
    if before.step is None or (now.rollout_id == before.rollout_id and now.step is not None):
        return
    table = tables.routing_rollouts
    state = "completed" if now.rollout_id == before.rollout_id else "aborted"
    ended = sa.update(table).where(table.c.id == before.rollout_id).values(state=state, ended_at=ws.clock.now())
    connection.execute(ended)


def _make_way(ws: Workspace, gateway: Gateway, overtaken: Binding) -> None:
    """Where a gateway cannot refuse an older generation, whoever wrote it too late shows the newer one again."""
    now, shown = bindings.current(ws, overtaken.route_key), shown_binding(gateway, overtaken.route_key)
    if now and shown and now.generation > shown.generation:
        gateway.publish(now, expected=shown.generation, at_once=True)


def _fail(ws: Workspace, gateway: Gateway, record: bindings.BindingRecord, why: str) -> Binding:
    new = record.binding
    with ws.database.begin() as connection:
        bindings.take_turn(connection, new.route_key)
        record = bindings.generation(connection, new.route_key, new.generation)
        if record.status == "applying":
            bindings.move(connection, ws, new, "applying", "failed", why)
    if record.status == "applying":
        _log_failure(ws, new, why)
        raise _failed(new, why)
    if record.status == "aborted":
        _make_way(ws, gateway, new)
    return _settled(ws, record)


def _settled(ws: Workspace, record: bindings.BindingRecord) -> Binding:
    """The answer for a generation that is no longer on its way: the one it had when it settled."""
    binding = record.binding
    if record.status in bindings.SERVED | bindings.SERVING:
        return binding
    if record.status == "failed":
        raise _failed(binding, "it failed when it was first tried")
    with ws.database.connect() as connection:
        newest = bindings.newest_generation(connection, binding.route_key)
    raise Conflict(
        f"Generation {binding.generation} of {binding.route_key} was overtaken by a newer change; the newest is "
        f"generation {newest}.",
        instruction=f"pointsman route show {binding.route_key}",
        code="routing_overtaken",
        route_key=str(binding.route_key),
        generation=binding.generation,
        newest=newest,
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


def _stale(route_key: RouteKey, expected: int | None, found: bindings.BindingRecord | None) -> Conflict:
    current = found.binding.generation if found else None
    canary = ", a step of a canary" if found is not None and found.step is not None else ""

    def words(generation: int | None) -> str:
        return "no binding" if generation is None else f"generation {generation}"

    return Conflict(
        f"The current binding of {route_key} is {words(current)}{canary}, and not {words(expected)} as expected.",
        instruction=f"pointsman route show {route_key}",
        code="stale_generation",
        route_key=str(route_key),
        current=current,
        expected=expected,
    )


def shares(binding: Binding) -> dict[str, int]:
    """Its weights as plain data."""
    return {str(variant): weight for variant, weight in binding.weights.items()}
