"""What runs may spend and have spent, month by month: set aside when a run is admitted, replaced when it is priced."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa

from pointsman.model import Missing, Number
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

_SPENDING = tables.spending
_LOCK = 0x7370656E64696E67


def month_of(at: datetime) -> str:
    """The calendar month (UTC) that money spent at a time counts for."""
    return f"{at:%Y-%m}"


def lock_spending(connection: sa.Connection) -> None:
    """Until the transaction ends nobody else is admitted: two runs must not both take the last of a month's money."""
    if connection.dialect.name == "postgresql":  # a SQLite transaction of ours is alone already
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


def spent_in(connection: sa.Connection, month: str, *, now: datetime, without: str | None = None) -> Decimal:
    """USD spent or set aside in a month by all runs but `without`.

    What is not priced counts as what was set aside for it. Nothing is counted for a run that ended before it sent
    anything, and for one that will not begin: its consent was refused, or expired before it was given or used.
    """
    return _spent(connection, _SPENDING.c.month == month, now=now, without=without or "")


def spent_by_steps(
    connection: sa.Connection, parent_run_id: str, *, now: datetime, without: str, since: str | None = None
) -> Decimal:
    """USD spent or set aside, in whatever month, by all load tests but `without` that are steps of the same parent.

    `since` = a step: only for it and those that came after it.
    """
    which = tables.load_test_runs.c.parent_run_id == parent_run_id
    if since is not None:
        first = sa.select(_SPENDING.c.at).where(_SPENDING.c.run_id == since).scalar_subquery()
        which &= _SPENDING.c.at >= first
    return _spent(connection, which, now=now, without=without)


def _spent(connection: sa.Connection, which: sa.ColumnElement[bool], *, now: datetime, without: str) -> Decimal:
    runs, approvals = tables.load_test_runs, tables.approvals
    ended = runs.c.ended_at.is_not(None)
    refused = sa.exists().where(
        approvals.c.subject_id == runs.c.id, (approvals.c.decision == "rejected") | (approvals.c.expires_at <= now)
    )
    will_not_begin = runs.c.status.in_(("created", "awaiting_approval")) & refused
    sent_nothing = (runs.c.submitted_count == 0) & _SPENDING.c.measured_usd.is_(None) & (ended | will_not_begin)
    rows = connection.execute(
        sa.select(_SPENDING.c.reserved_usd, _SPENDING.c.measured_usd)
        .outerjoin(runs, runs.c.id == _SPENDING.c.run_id)
        .where(which, _SPENDING.c.run_id != without)
        .where(sa.not_(sa.func.coalesce(sent_nothing, sa.false())))
    )
    return sum((row.reserved_usd if row.measured_usd is None else row.measured_usd for row in rows), Decimal(0))


def spent_in_month(ws: Workspace, month: str) -> Decimal:
    """The same in a transaction of its own, over all runs."""
    with ws.database.connect() as connection:
        return spent_in(connection, month, now=ws.clock.now())


def reserve(connection: sa.Connection, run_id: str, usd: Decimal, *, at: datetime) -> None:
    """Set `usd` aside for a run, in the month of `at`; a run that continues keeps what was set aside for it."""
    row = {"run_id": run_id, "month": month_of(at), "reserved_usd": usd, "at": at}
    insert_absent(connection, _SPENDING, [row])


def record_spending(ws: Workspace, run_id: str, usd: Number) -> None:
    """Note what a run cost for which nothing was set aside; again replaces it."""
    with ws.database.begin() as connection:
        reserve(connection, run_id, Decimal(0), at=ws.clock.now())
    settle_spending(ws, run_id, usd)


def settle_spending(ws: Workspace, run_id: str, usd: Number) -> None:
    """Replace what was set aside for a run by what it cost; keep it, with the reason, where that is not known."""
    missing = usd.reason if isinstance(usd, Missing) else None
    with ws.database.begin() as connection:
        connection.execute(
            sa.update(_SPENDING)
            .where(_SPENDING.c.run_id == run_id)
            .values(measured_usd=None if isinstance(usd, Missing) else usd, missing_reason=missing)
        )
