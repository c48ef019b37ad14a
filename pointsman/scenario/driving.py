"""Driving one shard of a run in a process of its own, which a coordinator started elsewhere.

The coordinator and the shard know each other through the run's rows: that somebody coordinates it, that it is to end,
that a later process has taken over; and from here, which process drives and why it gave up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.dispatch import DriveProcess, DriveSummary, order_cancel, read_summary
from pointsman.errors import Conflict, InputRefused, PointsmanError, RunFailed
from pointsman.scenario.holding import coordinator
from pointsman.scenario.record import RunRecord, is_ending, read_run, read_shards, run_drives
from pointsman.settings import Secret
from pointsman.storage import tables
from pointsman.workspace import Workspace

_TICK_S = 0.05
_EVERY_S = 1.0


def drive_shard(ws: Workspace, run_id: str, shard: int, *, turn: int, secret: Secret | None) -> DriveSummary:
    """Drive the shard as the `turn`-th process of it, and return what its drive came to; a closed drive at once.

    It sends from the epoch that all shards of the run share. It is the coordinator's to start one, which has held the
    run against the limits: without one that lives nothing is sent, and when it goes this process leaves the drive to
    be continued. A cancel of the run ends it as it ends any shard.

    Raises `NotFound`, `InputRefused` (no such shard, or no secret), `Conflict` (`not_coordinated`, `shard_replaced`, or
    another process drives the shard) and what `drive` raises. Why it gave up also stands in `load_test_shards`.
    """
    record = read_run(ws, run_id)
    drives = run_drives(ws, record)
    if not 0 <= shard < len(drives):
        raise InputRefused("shard", shard, f"0 to {len(drives) - 1}")
    if (closed := read_summary(drives[shard])) is not None:
        return closed
    try:
        holder = _coordinator(ws, record)
        _require_place(ws, run_id, shard, turn)
        return _drive(ws, run_id, drives[shard], shard, turn, secret, holder)
    except PointsmanError as error:
        told = {"turn": turn, "kind": type(error).__name__, **error.as_failure()}
        _write(ws, run_id, shard, turn, failure=told)
        raise


def _drive(
    ws: Workspace, run_id: str, drive_dir: Path, shard: int, turn: int, secret: Secret | None, holder: str
) -> DriveSummary:
    clock = ws.clock
    process = DriveProcess(drive_dir, secret=secret, clock=clock)
    try:
        _write(ws, run_id, shard, turn, process_id=process.id, failure=None)
        next_s = clock.monotonic() + _EVERY_S
        while not process.ended:
            process.look()
            if process.overdue:
                raise RunFailed(
                    f"The dispatch driver of shard {shard} did not end in time.",
                    instruction=f"Look at it: pointsman scenario status {run_id}",
                    code="driver_stuck",
                )
            if clock.monotonic() >= next_s:
                next_s = clock.monotonic() + _EVERY_S
                record = read_run(ws, run_id)
                if is_ending(record):
                    order_cancel(drive_dir)
                _require_place(ws, run_id, shard, turn)
                if _coordinator(ws, record) != holder:
                    raise _replaced(run_id, shard)  # by the new coordinator's
            clock.sleep(_TICK_S)
        return process.result()
    except Conflict as error:
        if error.code == "shard_replaced":
            process.close()  # it hangs, and its successor waits for the drive
        raise
    finally:
        process.abandon()


def _coordinator(ws: Workspace, record: RunRecord) -> str:
    """Whoever coordinates the run and lives. Raises `Conflict` when nobody does."""
    token = coordinator(ws, record)
    if token is None:
        raise Conflict(
            f"Nobody coordinates the run {record.id}, so nobody may drive a shard of it.",
            instruction="Start or continue it, which starts its shards: pointsman scenario run --help",
            code="not_coordinated",
        )
    return token


def _require_place(ws: Workspace, run_id: str, shard: int, turn: int) -> None:
    """Raise `Conflict` when another process is to drive the shard by now."""
    if read_shards(ws, run_id)[shard]["processes"] > turn:
        raise _replaced(run_id, shard)


def _replaced(run_id: str, shard: int) -> Conflict:
    return Conflict(
        f"A later process than this is to drive shard {shard} of the run {run_id}.",
        instruction=f"Look at it: pointsman scenario status {run_id}",
        code="shard_replaced",
    )


def _write(ws: Workspace, run_id: str, shard: int, turn: int, **values: Any) -> None:
    """Into the shard's row, unless a later process is at work."""
    shards = tables.load_test_shards
    mine = (shards.c.run_id == run_id) & (shards.c.shard == shard) & (shards.c.processes <= turn)
    with ws.database.begin() as connection:
        connection.execute(sa.update(shards).where(mine).values(**values))
