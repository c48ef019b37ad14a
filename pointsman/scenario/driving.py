"""Driving one shard of a run in a process of its own, which a coordinator started elsewhere.

The coordinator and the shard know each other through the run's rows: that somebody coordinates it, that it is to end,
that a later process has taken over; and from here, which process drives and why it gave up.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

from pointsman.dispatch import DriveProcess, DriveSummary, order_cancel, order_start, read_start, read_summary
from pointsman.errors import Conflict, InputRefused, PointsmanError, RunFailed
from pointsman.scenario.crossing import Crossing
from pointsman.scenario.holding import coordinator
from pointsman.scenario.ordering import read_orders
from pointsman.scenario.record import RunRecord, is_ending, read_run, run_drives
from pointsman.scenario.words import replaced, require_place, take_place
from pointsman.settings import Secret
from pointsman.storage import tables
from pointsman.workspace import Workspace

_TICK_S = 0.05
_EVERY_S = 1.0
_EVERY_S_WAITING = 0.25


def drive_shard(ws: Workspace, run_id: str, shard: int, *, turn: int, secret: Secret | None) -> DriveSummary:
    """Drive the shard as the `turn`-th process of it, and return what its drive came to; a closed drive at once.

    It sends from the epoch that all shards of the run share. It is the coordinator's to start one, which has held the
    run against the limits: without one that lives nothing is sent, and when it goes this process leaves the drive to
    be continued. A cancel of the run ends it as it ends any shard.

    Raises `NotFound`, `InputRefused` (no such shard, or no secret), `Conflict` (`not_coordinated`, `shard_replaced`, or
    another process drives the shard) and what `drive` raises. Why it gave up also stands in `load_test_shards`.
    """
    with closing(shard_steps(ws, run_id, shard, turn=turn, secret=secret)) as steps:
        while True:
            try:
                next(steps)
            except StopIteration as ended:
                return cast(DriveSummary, ended.value)
            ws.clock.sleep(_TICK_S)


def shard_steps(
    ws: Workspace, run_id: str, shard: int, *, turn: int, secret: Secret | None
) -> Generator[None, None, DriveSummary]:
    """`drive_shard` piece by piece: what it does between two looks at the process."""
    record = read_run(ws, run_id)
    drives = run_drives(ws, record)
    if not 0 <= shard < len(drives):
        raise InputRefused("shard", shard, f"0 to {len(drives) - 1}")
    crossing = Crossing(ws, record, shard, turn) if ws.results.is_shared else None
    if crossing is None and (closed := read_summary(drives[shard])) is not None:
        return closed
    try:
        holder = _coordinator(ws, record)
        take_place(ws, run_id, shard, turn)
        if crossing is not None:
            crossing.take_over()
        summary = read_summary(drives[shard])
        if summary is None:
            supervision = _Supervision(ws, run_id, drives[shard], shard, turn, holder, crossing)
            summary = yield from supervision.carry_out(secret)
        if crossing is not None:
            crossing.finish()
        return summary
    except PointsmanError as error:
        _write(ws, run_id, shard, turn, failure={"turn": turn, **error.as_told()})
        raise


@dataclass(frozen=True, slots=True)
class _Supervision:
    """Of the process that drives; `crossing` carries over what it does when nobody else sees its folder."""

    ws: Workspace
    run_id: str
    drive_dir: Path
    shard: int
    turn: int
    holder: str
    crossing: Crossing | None

    def carry_out(self, secret: Secret | None) -> Generator[None, None, DriveSummary]:
        clock = self.ws.clock
        confirm = self.crossing is not None
        process = DriveProcess(self.drive_dir, secret=secret, clock=clock, confirm_claims=confirm)
        try:
            _write(self.ws, self.run_id, self.shard, self.turn, process_id=process.id)
            next_s = clock.monotonic()
            while not process.ended:
                process.look()
                if process.overdue:
                    raise RunFailed(
                        f"The dispatch driver of shard {self.shard} did not end in time.",
                        instruction=f"Look at it: pointsman scenario status {self.run_id}",
                        code="driver_stuck",
                    )
                if self.crossing is not None:
                    self.crossing.look()
                if clock.monotonic() >= next_s:
                    waits = process.status is None or process.status.phase == "waiting"
                    next_s = clock.monotonic() + (_EVERY_S_WAITING if waits else _EVERY_S)
                    self._hear_orders()
                yield
            return process.result()
        except Conflict as error:
            if error.code == "shard_replaced":
                process.close()  # it hangs, and its successor waits for the drive
            raise
        finally:
            process.abandon()
            if self.crossing is not None:
                self.crossing.leave()

    def _hear_orders(self) -> None:
        record = read_run(self.ws, self.run_id)
        orders = read_orders(record)
        if orders.start is not None and orders.start != read_start(self.drive_dir):
            order_start(self.drive_dir, orders.start)
        if orders.cancel or is_ending(record):
            order_cancel(self.drive_dir)
        require_place(self.ws, self.run_id, self.shard, self.turn)
        if _coordinator(self.ws, record) != self.holder:
            raise replaced(self.run_id, self.shard)  # by the new coordinator's


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


def _write(ws: Workspace, run_id: str, shard: int, turn: int, **values: Any) -> None:
    """Into the shard's row, unless a later process is at work."""
    shards = tables.load_test_shards
    mine = (shards.c.run_id == run_id) & (shards.c.shard == shard) & (shards.c.processes <= turn)
    with ws.database.begin() as connection:
        connection.execute(sa.update(shards).where(mine).values(**values))
