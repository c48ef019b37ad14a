"""Moving a stored entity through its state machine: check, update and record in one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pointsman.errors import NotFound
from pointsman.states import StateMachine
from pointsman.storage import tables


def record_creation(
    connection: sa.Connection, machine: StateMachine, entity_id: str, *, at: datetime, actor: str, reason: str
) -> None:
    """Record that an entity came into being in its machine's initial state."""
    _record(connection, machine, entity_id, None, machine.initial, at, reason, actor)


def move(
    connection: sa.Connection,
    machine: StateMachine,
    table: sa.Table,
    entity_id: str,
    new: str,
    *,
    at: datetime,
    actor: str,
    reason: str,
    **values: Any,
) -> bool:
    """Move the row `id = entity_id` of `table` to `new`, setting `values` with it.

    Returns False, changing nothing, when the row is in `new` already. Raises `IllegalMove` when `new` cannot be
    reached, `NotFound` when there is no such row.
    """
    current = connection.execute(sa.select(table.c.status).where(table.c.id == entity_id).with_for_update()).scalar()
    if current is None:
        raise NotFound(machine.name, entity_id, "one that was created")
    if current == new:
        return False
    machine.check(current, new)
    connection.execute(sa.update(table).where(table.c.id == entity_id).values(status=new, **values))
    _record(connection, machine, entity_id, current, new, at, reason, actor)
    return True


def _record(
    connection: sa.Connection,
    machine: StateMachine,
    entity_id: str,
    old: str | None,
    new: str,
    at: datetime,
    reason: str,
    actor: str,
) -> None:
    connection.execute(
        sa.insert(tables.state_transitions).values(
            entity=machine.name, entity_id=entity_id, from_state=old, to_state=new, at=at, reason=reason, actor=actor
        )
    )
