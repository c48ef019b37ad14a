"""Doing here what tasks elsewhere were to do, where ECS cannot be used and the request allows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pointsman.actions import ActionLog
from pointsman.benchmark import cells
from pointsman.benchmark.chunks import begin_turn, open_turn
from pointsman.benchmark.spreading import ElsewhereUnusable
from pointsman.errors import InputRefused
from pointsman.workspace import Workspace


@contextmanager
def in_place_instead(ws: Workspace, benchmark_id: str, *, allowed: bool) -> Iterator[None]:
    """Work elsewhere within this block; when that cannot be, and it is `allowed`, log why and go on after the block.

    What stands in the way is raised where it is not allowed, and where a task has begun cells that nobody has ended:
    what it sent is known there only. A task that starts after all finds that its turn is over.
    """
    try:
        yield
    except (ElsewhereUnusable, InputRefused) as error:
        left = error.left if isinstance(error, ElsewhereUnusable) else ()
        no_ecs = isinstance(error, ElsewhereUnusable) or error.code == "not_shared"
        with ws.database.connect() as connection:
            begun = cells.any_running(connection, benchmark_id)
        if begun or not (allowed and no_ecs):
            raise
        for chunk in left:
            if open_turn(ws, chunk) is not None:
                begin_turn(ws, benchmark_id, chunk)
        ActionLog(ws).record(
            "benchmark_ecs_fallback",
            run_id=benchmark_id,
            context=benchmark_id,
            why=error.message,
            code=error.code,
        )
