"""Asking a run to stop: written into its row, where whichever process executes it sees it within about a second."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import InputRefused
from pointsman.scenario.record import RunRecord, overlay, read_in
from pointsman.states import LOAD_TEST_RUN
from pointsman.storage import move, tables
from pointsman.workspace import Workspace


def request_stop(ws: Workspace, run_id: str, *, reason: str) -> tuple[RunRecord, RunRecord]:
    """Move the run to `cancelling` and return its row before and after.

    `runner.stop` keeps who asked first, when and why. A run that is being cancelled or has ended is left as it is.
    Raises `NotFound`.
    """
    if not reason.strip():
        raise InputRefused("reason", reason, "a few words")
    now = ws.clock.now()
    with ws.database.begin() as connection:
        before = read_in(connection, run_id)
        if before.ended or before.status == "cancelling":
            return before, before
        stop = {"who": ws.actor, "when": now.isoformat(), "reason": reason}
        metrics = overlay(before.metrics_json, {"runner": {"stop": stop}})
        runs = tables.load_test_runs
        move(connection, LOAD_TEST_RUN, runs, run_id, "cancelling", at=now, actor=ws.actor, reason=reason)
        connection.execute(sa.update(runs).where(runs.c.id == run_id).values(metrics_json=metrics))
        ActionLog(ws).record_in(
            connection, "load_test_run_cancelled", run_id=run_id, context=before.context, reason=reason, who=ws.actor
        )
        return before, read_in(connection, run_id)
