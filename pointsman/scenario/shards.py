"""The processes that drive a run, one per shard: started together, looked after, replaced when one is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pointsman.actions import ActionLog
from pointsman.clock import Clock
from pointsman.dispatch import (
    DriveStatus,
    Start,
    next_due_ns,
    order_cancel,
    order_start,
    read_epoch,
    read_live,
    read_start,
    read_summary,
    settle_cancelled,
    withdraw_start,
)
from pointsman.errors import Conflict, DataCheckFailed, DependencyDown, InputRefused, PointsmanError, RunFailed
from pointsman.scenario.launching import ChildLauncher, ShardLauncher, ShardOrder, ShardProcess
from pointsman.scenario.ordering import Orders, give_orders
from pointsman.scenario.record import RunRecord, drive_paths, read_shards, run_drives
from pointsman.scenario.troubles import TROUBLES
from pointsman.scenario.words import last_told, take_place, tell
from pointsman.settings import Secret
from pointsman.workspace import Workspace

LOST_AFTER_S = 10.0
"""A shard says something twice a second. One that has said nothing for so long is lost."""
_REPLACED_WITHIN_S = 14.0
"""How long the first word of one may take that takes over on this machine, alone and in the middle of the run."""
_AGAIN_S = 5.0
_AWAY_S = 300.0
"""How long those that start processes elsewhere may be away while a shard is to be replaced."""
_GOOD_BYE_S = 20.0
"""How long a cancelled shard may say nothing. One that does may take as long as it takes to end its jobs."""
_GONE = frozenset({"driver_died", "driver_interrupted", *(one.code for one in TROUBLES)})
"""Ends of a process after which another may take over."""
_STILLBORN = 3
"""So many processes in a row that end without a word will be followed by others like them."""
_LEAD_S = 0.5
_LEAD_ELSEWHERE_S = 3.0
_LEAD_PER_DISPATCH_S = 4e-6
"""From the order to start to the epoch: every shard reads its plan once more."""


@dataclass
class _Shard:
    number: int
    drive_dir: Path
    process: ShardProcess | None = None
    heard_at: float = 0.0
    heartbeat: datetime | None = None
    processes: int = 0
    """Of all coordinators that the run has had."""
    takes_over: bool = False
    """From a process that this coordinator has lost."""
    stillborn: int = 0
    """Processes in a row that ended without a word."""
    closed: bool = False
    again_at: float = 0.0
    """When to try once more to start one, where there is none."""
    without_since: float = 0.0
    told_second: int = -1
    """The last second of its feed that other machines were told."""

    @property
    def waits(self) -> bool:
        status = self.process.status if self.process is not None else None
        return status is not None and status.phase == "waiting"


class Shards:
    """The shards of one run, as its coordinator keeps them going. Call `abandon` in the end, whatever happens."""

    def __init__(
        self, ws: Workspace, record: RunRecord, *, secret: Secret | None, launcher: ShardLauncher | None
    ) -> None:
        self._ws = ws
        self._clock: Clock = ws.clock
        self._record = record
        self._here = ChildLauncher(secret, ws.clock)
        self._launcher = launcher or self._here
        before = {row["shard"]: row["processes"] for row in read_shards(ws, record.id)}
        self._shards = [
            _Shard(number, drive_dir, processes=before.get(number, 0), closed=read_summary(drive_dir) is not None)
            for number, drive_dir in enumerate(run_drives(ws, record))
        ]
        for shard in self._shards:
            shard.told_second = last_told(ws, record.id, shard.number)
        self._to_start = len(self._shards) > 1
        """They wait for each other, and have not been told to start."""
        self._shift_ns = 0
        self._orders = Orders()
        self._cancelled_at: float | None = None
        self._broken: DataCheckFailed | None = None

    @property
    def begun(self) -> bool:
        """Something may have been sent."""
        told = any(status is not None and status.phase != "waiting" for status in self.statuses)
        return told or any(read_epoch(shard.drive_dir) is not None for shard in self._shards)

    @property
    def closed(self) -> bool:
        """Every drive has come to its end."""
        return all(shard.closed for shard in self._shards)

    def begin(self, meanwhile: Callable[[], None]) -> None:
        """Start a process for every drive that is not closed. Several wait for each other.

        `meanwhile` is called between them: elsewhere starting one may take seconds.
        """
        if self._to_start:
            self._give(Orders())
        for shard in self._open:
            if self._to_start:
                start = read_start(shard.drive_dir)
                self._shift_ns = max(self._shift_ns, start.shift_ns if start else 0)
                withdraw_start(shard.drive_dir)
        for shard in self._open:
            meanwhile()
            self._start(shard)

    def look(self) -> None:
        """Notice what has happened since the last look, and see to it; several times a second.

        Raises what `drive` raises, except for a process that died, which is replaced: only processes that die without
        a word one after the other are `RunFailed`. When all are to end, what stands in the way is settled without the
        target. Numbers that do not add up end the others first.
        """
        for shard in self._open:
            process = shard.process
            if process is None:
                self._start_again(shard)
                continue
            if process.look():
                shard.stillborn = 0
                self._heard(shard)
            if process.ended:
                self._ended(shard, process)
            elif self._cancelled_at is not None:
                since_s = self._clock.monotonic() - self._cancelled_at
                late = min(since_s, self._silent_s(shard)) > _GOOD_BYE_S or since_s > process.good_bye_s + _GOOD_BYE_S
                if late and not _is_closing(process):
                    self._settle(shard)
            elif process.overdue:
                raise RunFailed(
                    "The dispatch driver did not end in time.",
                    instruction=f"Look at it, then run the same command again: pointsman scenario status "
                    f"{self._record.id}",
                    code="driver_stuck",
                )
            elif not _is_closing(process) and (silent_s := self._silent_s(shard)) > self._patience_s(shard):
                self._lost(shard, f"it said nothing for {silent_s:.0f} s")
        if self._to_start and self._open and all(shard.waits for shard in self._open):
            self._order_start()
        if self._broken is not None and self.closed:
            raise self._broken

    def cancel(self) -> None:
        """Let every shard end its jobs at the target and close its drive, whoever started its process."""
        if self._cancelled_at is None:
            self._cancelled_at = self._clock.monotonic()
            self._give(replace(self._orders, cancel=True))
            for shard in self._open:
                order_cancel(shard.drive_dir)

    def abandon(self) -> None:
        """Leave no process behind. Drives that are not closed can be continued."""
        processes = [shard.process for shard in self._shards if shard.process is not None]
        for process in processes:
            process.let_go()
        for process in processes:
            process.abandon()

    def tell_others(self) -> None:
        """Tell machines that share no more than the results store how the shards do whose folders are here."""
        if not self._ws.results.is_shared:
            return
        for shard in self._shards:
            if shard.process is not None and shard.process.task_id is None:
                words = read_live(shard.drive_dir, after=shard.told_second)
                tell(self._ws, self._record.id, shard.number, shard.processes, words)
                shard.told_second = words.seconds[-1][0] if words.seconds else shard.told_second

    @property
    def statuses(self) -> list[DriveStatus | None]:
        """The last word of each."""
        return [shard.process.status if shard.process is not None else None for shard in self._shards]

    def rows(self) -> list[Mapping[str, Any]]:
        """As `load_test_shards` keeps them."""
        return [
            {
                "shard": shard.number,
                "state": self._state(shard),
                "processes": shard.processes,
                "task_id": shard.process.task_id,
                "heartbeat_at": shard.heartbeat,
            }
            # One that runs elsewhere writes its process id itself.
            | ({"process_id": shard.process.id} if shard.process.task_id is None else {})
            for shard in self._shards
            if shard.process is not None
        ]

    @property
    def _open(self) -> list[_Shard]:
        return [shard for shard in self._shards if not shard.closed]

    def _state(self, shard: _Shard) -> str:
        if shard.closed:
            return "ended"
        return "waiting" if shard.waits or shard.process is None or shard.process.status is None else "running"

    def _start(self, shard: _Shard) -> None:
        if self._cancelled_at is not None and read_epoch(shard.drive_dir) is None:
            self._settle(shard)  # nothing of it has ever reached the target
            return
        order = ShardOrder(self._record.id, shard.number, shard.processes + 1, shard.drive_dir)
        try:
            shard.process = self._launch(order)
        except InputRefused:
            if self._cancelled_at is None:
                raise
            self._settle(shard)
            return
        shard.processes += 1
        shard.heard_at = self._clock.monotonic()

    def _launch(self, order: ShardOrder) -> ShardProcess:
        """Where the run's shards are to run; here, when nobody answers there."""
        try:
            return self._launcher.launch(order)
        except DependencyDown as error:
            if error.code != "prefect_unreachable" or self._ws.results.is_shared:
                raise  # what the shard has done so far may not be here
            ActionLog(self._ws).record(
                "prefect_unreachable_inline",
                run_id=self._record.id,
                context=self._record.context,
                shard=order.shard,
                why=error.message,
            )
            return self._here.launch(order)

    def _heard(self, shard: _Shard) -> None:
        shard.heard_at = self._clock.monotonic()
        shard.heartbeat = self._clock.now()

    def _silent_s(self, shard: _Shard) -> float:
        return self._clock.monotonic() - shard.heard_at

    def _patience_s(self, shard: _Shard) -> float:
        assert shard.process is not None
        if shard.process.status is not None:
            return LOST_AFTER_S
        here = shard.process.task_id is None
        return _REPLACED_WITHIN_S if shard.takes_over and here else self._launcher.starts_within_s

    def _ended(self, shard: _Shard, process: ShardProcess) -> None:
        try:
            process.result()
        except DataCheckFailed as error:
            self._broken = error
            shard.closed = True
            self.cancel()
        except Conflict as error:
            # Elsewhere an earlier process may still have the drive; here it would have been killed.
            if self._launcher is self._here:
                raise
            self._lost(shard, error.message, error)
        except (DependencyDown, RunFailed) as error:
            if self._cancelled_at is not None:
                self._settle(shard)
            elif error.code in _GONE:
                self._lost(shard, error.message, error)
            else:
                raise
        else:
            shard.closed = True
            self._heard(shard)

    def _lost(self, shard: _Shard, why: str, error: PointsmanError | None = None) -> None:
        """Tell the operator, and let another process take over: it joins where the schedule is by then."""
        process = shard.process
        assert process is not None
        shard.stillborn = shard.stillborn + 1 if process.status is None else 0
        process.close()
        ActionLog(self._ws).record(
            "load_test_shard_lost",
            run_id=self._record.id,
            context=self._record.context,
            shard=shard.number,
            process_id=process.id,
            task_id=process.task_id,
            why=why,
            silent_s=round(self._silent_s(shard), 3),
        )
        if shard.stillborn >= _STILLBORN:
            raise error or RunFailed(
                f"Shard {shard.number} does not start: {why}.",
                instruction=f"Look at its last words: pointsman logs --run {self._record.id}",
                code="shard_stuck",
            )
        shard.takes_over = True
        shard.process, shard.without_since = None, self._clock.monotonic()
        self._start_again(shard)

    def _start_again(self, shard: _Shard) -> None:
        """Start a process where there is none; while nobody answers who could, again and again."""
        now_s = self._clock.monotonic()
        if self._cancelled_at is not None and shard.again_at > 0:
            self._settle(shard)
        elif now_s >= shard.again_at:
            try:
                self._start(shard)
            except DependencyDown as error:
                if error.code != "prefect_unreachable" or now_s - shard.without_since > _AWAY_S:
                    raise
                shard.again_at = now_s + _AGAIN_S
            else:
                shard.again_at = 0.0

    def _settle(self, shard: _Shard) -> None:
        if shard.process is not None:
            shard.process.close()
        if self._ws.results.is_shared and self._launcher is not self._here:
            # Whoever drives it may not have heard: from now on it is refused, and what it did is in the store.
            shard.processes += 1
            take_place(self._ws, self._record.id, shard.number, shard.processes)
            self._ws.results.pull(drive_paths(self._record)[shard.number])
        settle_cancelled(shard.drive_dir, clock=self._clock)
        shard.closed = True

    def _give(self, orders: Orders) -> None:
        """To the shards that do not see what is ordered in their folders here."""
        self._orders = orders
        if self._launcher is not self._here:
            give_orders(self._ws, self._record.id, orders)

    def _order_start(self) -> None:
        """All are there: give them their place in time. After an interruption of all the schedule goes on as it was."""
        planned = sum(stage["planned"] for stage in self._record.metrics_json["stages"])
        lead_s = (
            _LEAD_S if self._launcher is self._here else _LEAD_ELSEWHERE_S
        ) + _LEAD_PER_DISPATCH_S * planned / len(self._shards)
        soon = self._clock.now() + timedelta(seconds=lead_s)
        drive_dirs = [shard.drive_dir for shard in self._open]
        epochs = [epoch for shard in self._shards if (epoch := read_epoch(shard.drive_dir)) is not None]
        epoch = min(epochs, default=soon)
        due_ns = next_due_ns(drive_dirs)
        if epochs and due_ns is not None:
            self._shift_ns = max(self._shift_ns, round((soon - epoch).total_seconds() * 1e9) - due_ns)
        start = Start(epoch_wall_ns=round(epoch.timestamp() * 1e6) * 1000, shift_ns=self._shift_ns)
        self._give(Orders(start))
        for drive_dir in drive_dirs:
            order_start(drive_dir, start)
        self._to_start = False


def _is_closing(process: ShardProcess) -> bool:
    """Writing its books, it says nothing until it is through."""
    return process.status is not None and process.status.phase == "closing"
