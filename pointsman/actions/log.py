"""The action log: append events of the catalogue to the table `action_logs`, and read them newest first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from pointsman.actions.catalogue import SEVERITIES, Severity, event_type
from pointsman.actions.outbox import put_in
from pointsman.errors import InputRefused
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Missing
from pointsman.storage import tables
from pointsman.workspace import Workspace

_READ_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class ActionEntry:
    """One event that happened. `instruction` is a command that can be run as it stands, or empty."""

    id: int
    event: str
    severity: Severity
    at: datetime
    run_id: str | None
    context: str | None
    data: Mapping[str, Any]
    instruction: str


class ActionLog:
    """The action log of a workspace."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws

    def record(self, event: str, *, run_id: str | None = None, context: str | None = None, **data: object) -> int:
        """Append one event in a transaction of its own and return its id.

        `context` is a benchmark or scenario context. Raises `InputRefused`, writing nothing, for an event that is not
        in the catalogue, for data that its instruction needs and that is not given, and for data that is not plain
        (a `Secret`, for one).
        """
        with self._ws.database.begin() as connection:
            return self.record_in(connection, event, run_id=run_id, context=context, **data)

    def record_in(
        self,
        connection: sa.Connection,
        event: str,
        *,
        run_id: str | None = None,
        context: str | None = None,
        **data: object,
    ) -> int:
        """The same within the caller's transaction, so that the event stands when the change does."""
        kind = event_type(event)
        plain = {name: _plain(f"event {event}, data {name}", value) for name, value in data.items()}
        row = {
            "event": event,
            "severity": kind.severity,
            "at": self._ws.clock.now(),
            "run_id": run_id,
            "context": context,
            "data": plain,
            "instruction": kind.instruct({**plain, "run_id": run_id, "context": context}),
        }
        inserted = connection.execute(sa.insert(tables.action_logs).values(**row))
        entry_id = int(inserted.inserted_primary_key[0])  # type: ignore[index]
        put_in(connection, entry_id, event, kind.severity, row["at"])
        return entry_id

    def read(
        self,
        *,
        severity: str | None = None,
        since: datetime | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[ActionEntry]:
        """Events newest first: of exactly this `severity`, at or after `since`, of this run; 1 to 1000 of them."""
        if severity is not None and severity not in SEVERITIES:
            raise InputRefused("severity", severity, ", ".join(SEVERITIES))
        if since is not None and since.tzinfo is None:
            raise InputRefused("since", since.isoformat(), "a time with its zone, as in 2026-01-31T08:00:00+00:00")
        if not 1 <= limit <= _READ_LIMIT:
            raise InputRefused("limit", limit, f"1 to {_READ_LIMIT}")
        log = tables.action_logs
        wanted = sa.select(log).order_by(log.c.at.desc(), log.c.id.desc()).limit(limit)
        if severity is not None:
            wanted = wanted.where(log.c.severity == severity)
        if since is not None:
            wanted = wanted.where(log.c.at >= since)
        if run_id is not None:
            wanted = wanted.where(log.c.run_id == run_id)
        with self._ws.database.connect() as connection:
            return [ActionEntry(**row) for row in connection.execute(wanted).mappings()]


def _plain(field: str, value: object) -> Any:
    """`value` as JSON holds it. What has no obvious plain form is refused rather than shown by its repr."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, VariantId | RouteKey | Missing):
        return str(value)
    if isinstance(value, Mapping):
        return {str(_plain(field, key)): _plain(field, item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(field, item) for item in value]
    raise InputRefused(
        field, type(value).__name__, "text, finite numbers, times, ids, and lists or mappings of them; never a secret"
    )
