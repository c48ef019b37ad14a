"""Shards that run on other infrastructure: started there as runs of a flow, and watched from here.

Where the results store is shared nothing else is: the plan goes there before the start, what the shard says comes
through its rows, and the closed drive is fetched in the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pointsman.actions import ActionLog
from pointsman.dispatch import (
    DriveStatus,
    DriveSummary,
    LastWord,
    await_nobody,
    good_bye_s,
    is_running,
    read_epoch,
    read_header,
    read_live_status,
    read_summary,
)
from pointsman.errors import DependencyDown, PointsmanError, RunFailed, error_told
from pointsman.scenario.launching import ShardOrder, ShardProcess
from pointsman.scenario.record import RunRecord, drive_paths, read_run, read_shards
from pointsman.scenario.troubles import trouble_of
from pointsman.scenario.words import hear
from pointsman.workspace import Workspace

FLOW = "drive-shard"
_EVERY_S = 1.0
_STARTS_WITHIN_S = 60.0
_TASK_STARTS_WITHIN_S = 300.0
"""ECS finds a place for the task and fetches its image."""
_LEAVES_WITHIN_S = 20.0
"""How long a process that was told to stop may take; it gives its own child twelve seconds."""


class RunLauncher(Protocol):
    """Runs of flows on other infrastructure. Whoever launches watches: a run can vanish without a word.

    Every call returns within a few seconds and raises `DependencyDown` when the infrastructure does not answer.
    """

    def launch(self, flow: str, request: Mapping[str, Any], *, key: str) -> str:
        """Start a run of the flow and return its id; the same key again starts no other."""

    def ended(self, run: str) -> str | None:
        """How the run ended, in a word of the infrastructure's own; None while it goes on."""

    def task(self, run: str) -> str | None:
        """The ARN of the ECS task that the run is; None while it is not known, or is none. Asks nobody."""

    def cancel(self, run: str) -> None:
        """Ask the run to end. One that has ended is left as it is."""


@dataclass(frozen=True, slots=True)
class ElsewhereLauncher:
    """Starts every process of a shard as a run of `drive-shard`. `require` raises where that cannot work at all."""

    ws: Workspace
    runs: RunLauncher
    mode: str = "inline"
    require: Callable[[], None] = lambda: None

    @property
    def starts_within_s(self) -> float:
        return _TASK_STARTS_WITHIN_S if self.mode == "ecs" else _STARTS_WITHIN_S

    def launch(self, order: ShardOrder) -> ShardProcess:
        self.require()
        record = read_run(self.ws, order.run_id)
        if self.ws.results.publish(drive_paths(record)[order.shard]).left:
            raise DependencyDown(
                f"The plan of shard {order.shard} could not be brought to {self.ws.results}.",
                instruction=f"Look whether it answers (pointsman doctor), then run it again: pointsman scenario status "
                f"{order.run_id}",
                code="results_unreachable",
            )
        word = LastWord(order.drive_dir)
        request = {"run_id": order.run_id, "shard": order.shard, "turn": order.turn}
        run = self.runs.launch(FLOW, request, key=f"{order.run_id}-{order.shard}-{order.turn}")
        return ShardElsewhere(self.ws, self.runs, record, order, run, word)


class ShardElsewhere:
    """A process that this one can neither see nor kill. That its infrastructure does not answer ends nothing."""

    id: str | None = None
    overdue = False
    """Its own supervisor ends it then."""

    def __init__(
        self, ws: Workspace, runs: RunLauncher, record: RunRecord, order: ShardOrder, run: str, word: LastWord
    ) -> None:
        self.task_id: str | None = run
        self._ws = ws
        self._record = record
        self._folder = drive_paths(record)[order.shard]
        self._runs = runs
        self._order = order
        self._run = run
        self._word = word
        self._next_s = ws.clock.monotonic() + _EVERY_S
        self._failure: PointsmanError | None = None
        self._asked = False

    @property
    def status(self) -> DriveStatus | None:
        return self._word.status

    @property
    def good_bye_s(self) -> float:
        return good_bye_s(read_header(self._order.drive_dir))

    def look(self) -> bool:
        if self._failure is None and self._ws.clock.monotonic() >= self._next_s:
            self._next_s = self._ws.clock.monotonic() + _EVERY_S
            self._fetch()
            self._find_task()
            self._failure = self._told() or self._vanished()
        return self._word.look()

    @property
    def ended(self) -> bool:
        return self._failure is not None or read_summary(self._order.drive_dir) is not None

    def result(self) -> DriveSummary:
        summary = read_summary(self._order.drive_dir)
        if summary is not None:
            return summary
        assert self._failure is not None
        raise self._failure

    def close(self) -> None:
        """Ask for its end. Where that does not reach it, it ends by itself: when a successor has its place, or when
        the run has another coordinator or none."""
        if not self._asked and not self.ended:
            with contextlib.suppress(DependencyDown):
                self._runs.cancel(self._run)
                self._asked = True

    let_go = close

    def abandon(self) -> None:
        self.close()
        if self._asked and not self.ended:
            await_nobody(self._order.drive_dir, within_s=_LEAVES_WITHIN_S, clock=self._ws.clock)

    def _find_task(self) -> None:
        arn = self._runs.task(self._run)
        if arn is not None and arn != self.task_id:
            self.task_id = arn
            record, shard = self._record, self._order.shard
            ActionLog(self._ws).record(
                "load_test_runner_ecs_launched", run_id=record.id, context=record.context, shard=shard, task_arn=arn
            )

    def _fetch(self) -> None:
        """Bring what has become known of the drive here, if it is not here already."""
        if not self._ws.results.is_shared or is_running(self._order.drive_dir):
            return
        hear(self._ws, self._record, self._order.shard)
        phase = live.phase if (live := read_live_status(self._order.drive_dir)) else "waiting"
        with contextlib.suppress(DependencyDown):  # asked again at the next look
            if phase == "closed":
                self._ws.results.pull(self._folder)
            elif phase != "waiting" and read_epoch(self._order.drive_dir) is None:
                self._ws.results.pull(f"{self._folder}/eras")

    def _told(self) -> PointsmanError | None:
        """Why it gave up, in its own words."""
        told = read_shards(self._ws, self._order.run_id)[self._order.shard]["failure"]
        return error_told(told) if told and told["turn"] == self._order.turn else None

    def _vanished(self) -> PointsmanError | None:
        """That its run has ended, and it had not closed its drive."""
        try:
            how = self._runs.ended(self._run)
        except DependencyDown:
            return None
        if how is None or read_summary(self._order.drive_dir) is not None:
            return None
        trouble = trouble_of(how)
        return self._told() or RunFailed(
            f"The run {self._run} that drove shard {self._order.shard} ended: {how}.",
            instruction=trouble.instruction
            if trouble
            else f"Look at it: pointsman scenario status {self._order.run_id}",
            code=trouble.code if trouble else "driver_died",
        )
