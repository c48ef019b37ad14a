"""The outbox: events wait in it until their sink has taken them, whatever happens to the process that logged them.

An event enters the outbox in the transaction that logs it, once for each sink that wants it, and leaves it when that
sink took it. So each sink gets it at least once, and what goes on in a run never waits for a sink.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid5

import sqlalchemy as sa

from pointsman.actions.catalogue import CATALOGUE, Severity
from pointsman.actions.sinks import EventSink, SinkEvent, SinkSpec
from pointsman.errors import DependencyDown, NotFound
from pointsman.settings import Secret
from pointsman.storage import tables
from pointsman.workspace import Workspace

_NAMESPACE = UUID("5b0f6c1e-7a43-5e0c-9f5d-3d1f6f0b9a52")
_AT_ONCE = 100
_LEASE = timedelta(seconds=60)
"""For how long nobody else tries what somebody is sending; longer than a sink may take."""
_LONGEST_WAIT_S = 600.0
_HIDDEN = "***"
_SINKS, _OUTBOX, _LOG = tables.observability_sinks, tables.outbox, tables.action_logs


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one round came to; `waiting` is what a sink did not take and gets again."""

    sent: int = 0
    waiting: int = 0


def list_sinks(ws: Workspace) -> list[tuple[SinkSpec, int]]:
    """Every sink by name, with how many events wait for it."""
    waiting = sa.select(sa.func.count()).where(_OUTBOX.c.sink == _SINKS.c.name).scalar_subquery()
    wanted = sa.select(_SINKS.c.spec, waiting.label("waiting")).order_by(_SINKS.c.name)
    with ws.database.connect() as connection:
        return [(SinkSpec.model_validate(row.spec), row.waiting) for row in connection.execute(wanted)]


def save_sink(ws: Workspace, spec: SinkSpec) -> None:
    """Add the sink, or change the one of its name. Events that wait for it already stay as they are."""
    row = {"spec": spec.model_dump(mode="json")}
    with ws.database.begin() as connection:
        if not connection.execute(sa.update(_SINKS).where(_SINKS.c.name == spec.name).values(**row)).rowcount:
            connection.execute(sa.insert(_SINKS).values(name=spec.name, **row))


def remove_sink(ws: Workspace, name: str) -> None:
    """Remove the sink and what waits for it. Raises `NotFound`."""
    with ws.database.begin() as connection:
        connection.execute(sa.delete(_OUTBOX).where(_OUTBOX.c.sink == name))
        if not connection.execute(sa.delete(_SINKS).where(_SINKS.c.name == name)).rowcount:
            raise NotFound("sink", name, "one that `pointsman sinks list` names")


def put_in(connection: sa.Connection, entry_id: int, event: str, severity: Severity, now: Any) -> None:
    """Put an event of the log into the outbox for each sink that wants it."""
    specs = [SinkSpec.model_validate(spec) for spec in connection.execute(sa.select(_SINKS.c.spec)).scalars()]
    rows = [
        {"sink": spec.name, "action_log_id": entry_id, "attempts": 0, "next_at": now}
        for spec in specs
        if spec.wants(event, severity)
    ]
    if rows:
        connection.execute(sa.insert(_OUTBOX), rows)


def deliver(ws: Workspace, open_sink: Callable[[SinkSpec], EventSink], *, secrets: Collection[Secret] = ()) -> Delivery:
    """Send what is due, oldest first; a sink that fails once gets no more of it in this round.

    Should one of the `secrets` have found its way into an event, it is blotted out before any sink sees it.
    """
    sent = waiting = 0
    failed: set[str] = set()
    for row in _due(ws):
        if row["sink"] in failed or not _lease(ws, row):
            continue
        spec = SinkSpec.model_validate(row["spec"])
        try:
            open_sink(spec).send(_event(ws, row, secrets))
        except DependencyDown as error:
            failed.add(spec.name)
            waiting += 1
            _postpone(ws, row, error.message)
        else:
            sent += 1
            with ws.database.begin() as connection:
                connection.execute(sa.delete(_OUTBOX).where(_OUTBOX.c.id == row["id"]))
    return Delivery(sent, waiting)


def _due(ws: Workspace) -> list[Mapping[str, Any]]:
    columns = (*(one for one in _LOG.c if one.name != "id"), *_OUTBOX.c, _SINKS.c.spec)
    wanted = (
        sa.select(*columns)
        .join_from(_OUTBOX, _LOG, _LOG.c.id == _OUTBOX.c.action_log_id)
        .join(_SINKS, _SINKS.c.name == _OUTBOX.c.sink)
        .where(_OUTBOX.c.next_at <= ws.clock.now())
        .order_by(_OUTBOX.c.id)
        .limit(_AT_ONCE)
    )
    with ws.database.connect() as connection:
        return [dict(row) for row in connection.execute(wanted).mappings()]


def _lease(ws: Workspace, row: Mapping[str, Any]) -> bool:
    """Take the row for this process; False when another one was faster."""
    mine = sa.and_(_OUTBOX.c.id == row["id"], _OUTBOX.c.attempts == row["attempts"])
    taken = {"attempts": row["attempts"] + 1, "next_at": ws.clock.now() + _LEASE}
    with ws.database.begin() as connection:
        return bool(connection.execute(sa.update(_OUTBOX).where(mine).values(**taken)).rowcount)


def _postpone(ws: Workspace, row: Mapping[str, Any], why: str) -> None:
    """Try again after 2, 4, 8... seconds, ten minutes at most."""
    wait_s = min(_LONGEST_WAIT_S, 2.0 ** min(20, row["attempts"] + 1))
    values = {"next_at": ws.clock.now() + timedelta(seconds=wait_s), "last_error": why[:1000]}
    with ws.database.begin() as connection:
        connection.execute(sa.update(_OUTBOX).where(_OUTBOX.c.id == row["id"]).values(**values))


def _event(ws: Workspace, row: Mapping[str, Any], secrets: Collection[Secret]) -> SinkEvent:
    kind = CATALOGUE.get(row["event"])
    hidden = [secret.reveal() for secret in secrets if secret.reveal()]
    return SinkEvent(
        key=uuid5(_NAMESPACE, f"{row['at'].isoformat()} {row['event']} {row['action_log_id']}"),
        event=row["event"],
        severity=cast(Severity, row["severity"]),
        meaning=kind.meaning if kind else "",
        at=row["at"],
        run_id=row["run_id"],
        context=row["context"],
        data=_blotted(row["data"], hidden),
        instruction=_blotted(row["instruction"], hidden),
    )


def _blotted(value: Any, hidden: Collection[str]) -> Any:
    if isinstance(value, str):
        for secret in hidden:
            value = value.replace(secret, _HIDDEN)
        return value
    if isinstance(value, dict):
        return {_blotted(name, hidden): _blotted(item, hidden) for name, item in value.items()}
    return [_blotted(item, hidden) for item in value] if isinstance(value, list) else value
