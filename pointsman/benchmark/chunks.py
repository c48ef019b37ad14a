"""Chunks: parts of a benchmark that tasks elsewhere do, and the row by which a task and whoever starts it agree.

Only the database and the results store are common to them. A chunk has had so many turns, each a run of a flow; only
the latest may write down what came of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from pointsman.errors import Conflict, PointsmanError, error_told
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

_CHUNKS = tables.benchmark_chunks


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of a chunk, counted from 1."""

    chunk: str
    number: int


def begin_turn(ws: Workspace, benchmark_id: str, chunk: str) -> Turn:
    """The next turn of the chunk. Whatever had one before can write nothing any more."""
    row = {"id": chunk, "benchmark_id": benchmark_id, "turn": 1}
    with ws.database.begin() as connection:
        if not insert_absent(connection, _CHUNKS, [row]):
            later = sa.update(_CHUNKS).where(_CHUNKS.c.id == chunk)
            connection.execute(later.values(turn=_CHUNKS.c.turn + 1, task_id=sa.null(), failure=sa.null()))
        number = connection.execute(sa.select(_CHUNKS.c.turn).where(_CHUNKS.c.id == chunk)).scalar_one()
    return Turn(chunk, number)


def open_turn(ws: Workspace, chunk: str) -> Turn | None:
    """The latest turn if it has not said why it gave up; None also before the first."""
    with ws.database.connect() as connection:
        row = connection.execute(sa.select(_CHUNKS).where(_CHUNKS.c.id == chunk)).one_or_none()
    return None if row is None or row.failure is not None else Turn(chunk, row.turn)


def note_task(ws: Workspace, turn: Turn, task_id: str) -> None:
    """Keep what the turn is to the infrastructure that runs it, for whoever wants to look at it there."""
    mine = (_CHUNKS.c.id == turn.chunk) & (_CHUNKS.c.turn == turn.number)
    with ws.database.begin() as connection:
        connection.execute(sa.update(_CHUNKS).where(mine).values(task_id=task_id))


def require_turn(connection: sa.Connection, turn: Turn) -> None:
    """Raise `Conflict` (`chunk_replaced`) unless this is the latest turn, and nobody begins one before the commit."""
    latest = sa.select(_CHUNKS.c.turn).where(_CHUNKS.c.id == turn.chunk).with_for_update()
    if connection.execute(latest).scalar() != turn.number:
        raise Conflict(
            f"Turn {turn.number} of the chunk {turn.chunk} is not the one that is asked for now.",
            instruction="Leave it: whoever runs the benchmark starts its chunks.",
            code="chunk_replaced",
        )


@contextmanager
def as_turn(ws: Workspace, turn: Turn) -> Iterator[None]:
    """Work as this turn, and tell whoever started it which error ends it. Raises `Conflict` (`chunk_replaced`)."""
    with ws.database.begin() as connection:
        require_turn(connection, turn)
        connection.execute(sa.update(_CHUNKS).where(_CHUNKS.c.id == turn.chunk).values(failure=sa.null()))
    try:
        yield
    except PointsmanError as error:
        mine = (_CHUNKS.c.id == turn.chunk) & (_CHUNKS.c.turn == turn.number)
        with ws.database.begin() as connection:
            connection.execute(sa.update(_CHUNKS).where(mine).values(failure=error.as_told()))
        raise


def told_by(ws: Workspace, turn: Turn) -> PointsmanError | None:
    """Why the turn gave up, as the error that it raised."""
    mine = (_CHUNKS.c.id == turn.chunk) & (_CHUNKS.c.turn == turn.number)
    with ws.database.connect() as connection:
        told = connection.execute(sa.select(_CHUNKS.c.failure).where(mine)).scalar()
    return error_told(told) if told is not None else None
