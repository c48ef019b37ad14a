"""What a shard says while it drives, told through its rows to machines that do not see its disk.

Whoever supervises the driver tells it, every second or so; whoever has to know hears it, which brings it into the
drive's folder on that machine. A process whose place another has taken is not believed any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from pointsman.dispatch import LiveWords, bring_live, has_plan
from pointsman.errors import Conflict
from pointsman.scenario.record import RunRecord, drive_paths
from pointsman.storage import tables
from pointsman.workspace import Workspace

_SHARDS, _SECONDS = tables.load_test_shards, tables.load_test_shard_seconds


def take_place(ws: Workspace, run_id: str, shard: int, turn: int) -> None:
    """Be the process that drives the shard, as its `turn`-th. From now on earlier ones are refused.

    Raises `Conflict` (`shard_replaced`) when a later one drives it.
    """
    _write(ws, run_id, shard, turn, processes=turn, status=None, failure=None)


def require_place(ws: Workspace, run_id: str, shard: int, turn: int) -> None:
    """Raise `Conflict` (`shard_replaced`) when a later process is to drive the shard by now."""
    with ws.database.connect() as connection:
        wanted = sa.select(_SHARDS.c.processes).where(_SHARDS.c.run_id == run_id, _SHARDS.c.shard == shard)
        if connection.execute(wanted).scalar_one() > turn:
            raise replaced(run_id, shard)


def tell(ws: Workspace, run_id: str, shard: int, turn: int, words: LiveWords) -> None:
    """Tell everybody. Raises `Conflict` (`shard_replaced`)."""
    _write(ws, run_id, shard, turn, seconds=words.seconds, status=words.status, figures=words.figures)


def last_told(ws: Workspace, run_id: str, shard: int) -> int:
    """The last second of its feed that the shard has told; -1 before the first."""
    wanted = sa.select(sa.func.max(_SECONDS.c.second)).where(_SECONDS.c.run_id == run_id, _SECONDS.c.shard == shard)
    with ws.database.connect() as connection:
        last: int | None = connection.execute(wanted).scalar()
    return -1 if last is None else last


def hear(ws: Workspace, record: RunRecord, shard: int) -> None:
    """Bring what the shard has told into its drive's folder here."""
    bring_live(_folder(ws, record, shard), lambda after: _told(ws, record.id, shard, after))


def bring_words(ws: Workspace, record: RunRecord) -> None:
    """Hear every shard of a run whose folder may lie on another machine. Raises `DependencyDown`."""
    if not ws.results.is_shared:
        return
    for shard, folder in enumerate(drive_paths(record)):
        if not has_plan(ws.results.path(folder)):
            ws.results.pull(folder)
        hear(ws, record, shard)


def forget(ws: Workspace, run_id: str) -> None:
    """Of a run that has ended: its feeds are among its results."""
    with ws.database.begin() as connection:
        connection.execute(sa.delete(_SECONDS).where(_SECONDS.c.run_id == run_id))
        nothing = {"status": None, "figures": None}
        connection.execute(sa.update(_SHARDS).where(_SHARDS.c.run_id == run_id).values(**nothing))


def replaced(run_id: str, shard: int) -> Conflict:
    return Conflict(
        f"A later process than this is to drive shard {shard} of the run {run_id}.",
        instruction=f"Look at it: pointsman scenario status {run_id}",
        code="shard_replaced",
    )


def _folder(ws: Workspace, record: RunRecord, shard: int) -> Path:
    return ws.results.path(drive_paths(record)[shard])


def _told(ws: Workspace, run_id: str, shard: int, after: int) -> LiveWords:
    with ws.database.connect() as connection:
        row = connection.execute(
            sa.select(_SHARDS.c.status, _SHARDS.c.figures).where(_SHARDS.c.run_id == run_id, _SHARDS.c.shard == shard)
        ).one()
        lines = connection.execute(
            sa.select(_SECONDS.c.second, _SECONDS.c.line)
            .where(_SECONDS.c.run_id == run_id, _SECONDS.c.shard == shard, _SECONDS.c.second > after)
            .order_by(_SECONDS.c.second)
        ).all()
    return LiveWords(row.status, row.figures, [(line.second, line.line) for line in lines])


def _write(
    ws: Workspace,
    run_id: str,
    shard: int,
    turn: int,
    *,
    seconds: Sequence[tuple[int, str]] = (),
    **values: object,
) -> None:
    mine = (_SHARDS.c.run_id == run_id) & (_SHARDS.c.shard == shard) & (_SHARDS.c.processes <= turn)
    with ws.database.begin() as connection:
        # The row is locked by this until the transaction ends: whoever takes the place comes before or after it.
        if connection.execute(sa.update(_SHARDS).where(mine).values(**values)).rowcount == 0:
            raise replaced(run_id, shard)
        if seconds:
            rows = [{"run_id": run_id, "shard": shard, "second": second, "line": line} for second, line in seconds]
            connection.execute(sa.insert(_SECONDS), rows)
