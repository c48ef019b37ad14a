"""Progress of a choose-route run while it runs, read from the state of record so that the flow knows nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pointsman.ids import benchmark_id
from pointsman.storage import tables
from pointsman.workspace import Workspace
from service.cli.output import console

_EVERY_S = 0.5


@contextmanager
def shown(ws: Workspace, run_id: str, *, quiet: bool) -> Iterator[None]:
    """Show bars for load tests, cells and judgements until the block ends; nothing when `quiet`."""
    if quiet:
        yield
        return
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    done = threading.Event()
    with Progress(*columns, console=console) as bars:
        watcher = threading.Thread(target=_watch, args=(ws, run_id, bars, done), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join(5)


def _watch(ws: Workspace, run_id: str, bars: Progress, done: threading.Event) -> None:
    shown = {}
    while True:
        last = done.is_set()
        for name, (ended, of) in _counts(ws, run_id).items():
            if of and name not in shown:
                shown[name] = bars.add_task(name, total=of)
            if name in shown:
                bars.update(shown[name], completed=ended, total=of)
        if last:
            return
        done.wait(_EVERY_S)


def _counts(ws: Workspace, run_id: str) -> dict[str, tuple[int, int]]:
    """(ended, planned) per step."""
    bm_id = benchmark_id(run_id)
    runs, items = tables.load_test_runs, tables.benchmark_matrix_run_items
    sets, judged = tables.evaluation_sets, tables.quality_evaluations
    with ws.database.begin() as connection:

        def count(table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(*where)).scalar_one())

        cells = items.c.benchmark_id == bm_id
        completed = count(items, cells, items.c.status == "completed")
        newest = sa.select(sets.c.id).where(sets.c.benchmark_id == bm_id).order_by(sets.c.created_at.desc()).limit(1)
        return {
            "load tests": (
                count(runs, runs.c.parent_run_id == run_id, runs.c.status == "completed"),
                count(runs, runs.c.parent_run_id == run_id),
            ),
            "cells": (count(items, cells, items.c.status.not_in(("pending", "running"))), count(items, cells)),
            "judgements": (
                count(judged, judged.c.evaluation_set_id == newest.scalar_subquery()),
                completed if count(sets, sets.c.benchmark_id == bm_id) else 0,
            ),
        }
