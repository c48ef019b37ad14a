"""Everything known of one dispatch, of a matrix or under load: what `pointsman trace` prints."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl
import sqlalchemy as sa

from pointsman.errors import NotFound
from pointsman.scenario import RunRecord, run_attempts, scan_ledger
from pointsman.storage import tables
from pointsman.workspace import Workspace

_PREFIX = "studio_load_test_"


def trace(ws: Workspace, dispatch_id: str) -> dict[str, Any]:
    """All rows about a dispatch, oldest first, as plain JSON values (times in ISO 8601, decimals as text).

    Keys: `dispatch_id`; `run` (of the matrix, or of the load test); `item` (the cell's row; None when the cell was
    planned again under another dispatch id, or it is no cell); `under_load` (its ledger row in a load test whose drive
    is closed, else None); `attempts` and `usage` (of the dispatch and of its judgements; under load the ledger's
    attempts, one per SKU); `artifacts`; `evaluations`; `transitions`; `actions` of the action log.
    Raises `NotFound` when nothing is known of the dispatch.
    """
    with ws.database.begin() as connection:
        found = _of_matrix(connection, dispatch_id)
        loaded = _of_load_test(ws, connection, dispatch_id)
    if loaded:
        found |= loaded
    elif not (found["item"] or found["attempts"] or found["transitions"]):
        raise NotFound("dispatch id", dispatch_id, "a dispatch of a matrix or of a load-test run")
    plain: dict[str, Any] = _plain(found)
    return plain


def _of_matrix(connection: sa.Connection, dispatch_id: str) -> dict[str, Any]:
    def rows(table: sa.Table, condition: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
        chosen = sa.select(table).where(condition).order_by(*table.primary_key)
        return [dict(row) for row in connection.execute(chosen).mappings()]

    items = rows(tables.benchmark_matrix_run_items, tables.benchmark_matrix_run_items.c.dispatch_id == dispatch_id)
    evaluations = rows(tables.quality_evaluations, tables.quality_evaluations.c.dispatch_id == dispatch_id)
    subjects = [dispatch_id, *(row["id"] for row in evaluations)]
    attempts = rows(tables.attempts, tables.attempts.c.subject_id.in_(subjects))
    tries = [row["id"] for row in attempts]
    run_ids = {row["benchmark_id"] for row in items} | {row["run_id"] for row in attempts}
    runs = rows(tables.benchmark_matrix_runs, tables.benchmark_matrix_runs.c.id.in_(run_ids))
    actions = rows(tables.action_logs, tables.action_logs.c.run_id.in_(run_ids))
    return {
        "dispatch_id": dispatch_id,
        "run": runs[0] if runs else None,
        "item": items[0] if items else None,
        "under_load": None,
        "attempts": attempts,
        "usage": rows(tables.usage, tables.usage.c.subject_id.in_(tries)),
        "artifacts": rows(tables.run_artifacts, tables.run_artifacts.c.subject_id.in_(subjects)),
        "evaluations": evaluations,
        "transitions": rows(tables.state_transitions, tables.state_transitions.c.entity_id == dispatch_id),
        "actions": [row for row in actions if row["data"].get("dispatch_id") == dispatch_id],
    }


def _of_load_test(ws: Workspace, connection: sa.Connection, dispatch_id: str) -> dict[str, Any]:
    """The parts that a load test knows; empty when the id belongs to none."""
    run_id, *rest = dispatch_id.removeprefix(_PREFIX).rsplit("_", 2)
    runs = tables.load_test_runs
    run = connection.execute(sa.select(runs).where(runs.c.id == run_id)).mappings().one_or_none()
    if run is None or len(rest) != 2 or not dispatch_id.startswith(_PREFIX):
        return {}
    record = RunRecord(**run)
    mine = pl.col("dispatch_id") == dispatch_id
    try:
        rows = scan_ledger(ws, record).filter(mine).collect().to_dicts()
        attempts = run_attempts(ws, record).filter(mine).to_dicts()
    except NotFound:
        return {"run": dict(run)}  # it has not ended
    return {"run": dict(run), "under_load": rows[0], "attempts": attempts} if rows else {}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return format(value, "f") if isinstance(value, Decimal) else value
