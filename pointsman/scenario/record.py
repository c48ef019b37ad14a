"""The row of a load-test run: reading it, and moving it while several processes look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.errors import NotFound, PointsmanError
from pointsman.scenario.loading import parse_scenario
from pointsman.scenario.model import Scenario
from pointsman.states import LOAD_TEST_RUN
from pointsman.storage import move, tables
from pointsman.workspace import Workspace

_RUNS = tables.load_test_runs
ACTIVE = LOAD_TEST_RUN.reachable[LOAD_TEST_RUN.initial] - LOAD_TEST_RUN.terminal | {LOAD_TEST_RUN.initial}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One row of `load_test_runs`."""

    id: str
    context: str
    parent_run_id: str | None
    scenario_id: str
    environment_id: str
    variant_id: str
    status: str
    seed: int
    results_path: str
    submitted_count: int
    metrics_json: Mapping[str, Any]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def refused(self) -> bool:
        """It failed before anything of it was begun: a guard, or somebody who was asked, did not let it."""
        return self.status == "failed" and self.started_at is None

    @property
    def ended(self) -> bool:
        return self.status in LOAD_TEST_RUN.terminal


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run stands. `failure` is code, message and instruction, and there exactly when the run failed."""

    run_id: str
    status: str
    results_path: str
    failure: Mapping[str, str] | None


def is_ending(record: RunRecord) -> bool:
    """Somebody has asked for the run's end, or a watcher wants it."""
    return record.status == "cancelling" or "stopped" in record.metrics_json


def read_run(ws: Workspace, run_id: str) -> RunRecord:
    """The run's row. Raises `NotFound`."""
    with ws.database.connect() as connection:
        return read_in(connection, run_id)


def list_runs(ws: Workspace, *, limit: int) -> list[RunRecord]:
    """The newest `limit` runs, newest first."""
    newest = sa.select(_RUNS).order_by(_RUNS.c.created_at.desc(), _RUNS.c.id).limit(limit)
    with ws.database.connect() as connection:
        return [RunRecord(**row) for row in connection.execute(newest).mappings()]


def read_shards(ws: Workspace, run_id: str) -> list[dict[str, Any]]:
    """The rows of the run's shards, in order."""
    shards = tables.load_test_shards
    with ws.database.connect() as connection:
        rows = connection.execute(sa.select(shards).where(shards.c.run_id == run_id).order_by(shards.c.shard))
        return [dict(row) for row in rows.mappings()]


def read_in(connection: sa.Connection, run_id: str) -> RunRecord:
    """The same within the caller's transaction, keeping others from writing the row until its end."""
    row = connection.execute(sa.select(_RUNS).where(_RUNS.c.id == run_id).with_for_update()).mappings().first()
    if row is None:
        raise NotFound("load-test run", run_id, "the id of a run that was planned")
    return RunRecord(**row)


def run_scenario(ws: Workspace, record: RunRecord) -> Scenario:
    """The scenario that the run was planned from."""
    wanted = sa.select(tables.scenarios.c.definition).where(tables.scenarios.c.id == record.scenario_id)
    with ws.database.connect() as connection:
        return parse_scenario(connection.execute(wanted).scalar())


def run_folder(ws: Workspace, record: RunRecord) -> Path:
    """Where the run's drive, its ledger segments and `results.json` are."""
    return ws.results.path(record.results_path)


def run_drives(ws: Workspace, record: RunRecord) -> list[Path]:
    """The folders of the run's drives, one per shard; a run that is driven by one process has it at the top."""
    return [ws.results.path(relative) for relative in drive_paths(record)]


def drive_paths(record: RunRecord) -> list[str]:
    """The same as paths in the results store."""
    top, shards = record.results_path, record.metrics_json.get("runner", {}).get("shards", 1)
    return [top] if shards == 1 else [f"{top}/shards/{shard}" for shard in range(shards)]


def outcome(record: RunRecord) -> RunOutcome:
    return RunOutcome(record.id, record.status, record.results_path, record.metrics_json.get("failure"))


def failure_of(run_id: str, error: PointsmanError) -> dict[str, str]:
    """`metrics_json.failure`: what happened and what to do, which is to look where the error itself knows nothing."""
    return {"instruction": f"Look at it: pointsman scenario status {run_id}"} | {
        name: text for name, text in error.as_failure().items() if text.strip()
    }


def advance(
    ws: Workspace,
    run_id: str,
    new: str | None,
    *,
    reason: str = "",
    metrics: Mapping[str, Any] | None = None,
    submitted: int | None = None,
) -> RunRecord:
    """Move the run to `new` (None: nowhere) if that is still ahead of it, and return the row as it then is.

    A row that somebody else moved on (to `cancelling`, say) stays where it is: the caller looks at the answer.
    `metrics` is laid over `metrics_json`, `submitted` sets `submitted_count`; both only when the run had not ended.
    """
    with ws.database.begin() as connection:
        record = read_in(connection, run_id)
        if record.ended:
            return record
        values: dict[str, Any] = {}
        assert new != "failed" or (metrics and metrics.get("failure")), "a run that fails says why"
        if metrics:
            values["metrics_json"] = overlay(record.metrics_json, metrics)
        if submitted is not None:
            values["submitted_count"] = submitted
        if values:
            connection.execute(sa.update(_RUNS).where(_RUNS.c.id == run_id).values(**values))
        if new is not None:
            move_in(connection, ws, record, new, reason=reason)
        return read_in(connection, run_id)


def move_in(connection: sa.Connection, ws: Workspace, record: RunRecord, new: str, *, reason: str) -> None:
    """Move the run within the caller's transaction, if `new` is still ahead of it."""
    if new == record.status or not LOAD_TEST_RUN.legal(record.status, new):
        return
    now = ws.clock.now()
    values: dict[str, Any] = {}
    if new == "starting":
        values["started_at"] = now
    if new in LOAD_TEST_RUN.terminal:
        values["ended_at"] = now
    move(connection, LOAD_TEST_RUN, _RUNS, record.id, new, at=now, actor=ws.actor, reason=reason, **values)


def overlay(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`under` with the values of `over`; where both hold documents, these are laid over each other likewise."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = overlay(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged
