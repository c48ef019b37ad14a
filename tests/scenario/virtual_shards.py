"""Whole runs without waiting: real drivers as processes in virtual time, one job service, and a script of mishaps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pointsman.clock import ManualClock
from pointsman.dispatch.child import _obey, _say
from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.driver import Driver, Ending
from pointsman.dispatch.last_word import LastWord
from pointsman.dispatch.orders import Start, cancel_ordered, confirmed_claim, read_start
from pointsman.dispatch.plan import read_header
from pointsman.dispatch.process import DriveProcess
from pointsman.dispatch.reading import read_summary
from pointsman.dispatch.status import DriveSummary
from pointsman.errors import DependencyDown, RunFailed
from tests.dispatch.world import WALL_NS, Crash, Disk, Nowhere, Service, Transport, World, virtual_loop


class Killed(BaseException):
    """The coordinator's process was killed here."""


class ScriptedClock(ManualClock):
    """Time at which things happen: whatever is due is done when somebody sleeps past it."""

    def __init__(self) -> None:
        super().__init__(datetime.fromtimestamp(WALL_NS / 1e9, UTC))
        self.due: list[tuple[float, Callable[[], None]]] = []

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        self.due.append((self.monotonic() + seconds, action))

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        for one in [one for one in self.due if one[0] <= self.monotonic()]:
            if one in self.due:
                self.due.remove(one)
                one[1]()


class _ServiceTime(World):
    """The job service lives by the clock of all."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        super().__init__()

    @property
    def now_s(self) -> float:  # type: ignore[override]
        return self._clock.monotonic()

    @now_s.setter
    def now_s(self, value: float) -> None:
        pass


@dataclass
class Machine:
    """Where the processes of shards run."""

    clock: ScriptedClock
    run_s: float = 0.3
    processes: list[VirtualProcess] = field(default_factory=list)
    submitted_at: list[float] = field(default_factory=list)
    coordinator_killed: bool = False
    reachable: bool = True

    def __post_init__(self) -> None:
        self.service = Service(_ServiceTime(self.clock), run_s=self.run_s)
        respond = self.service._respond

        def responding(request: Any) -> Any:
            if request.path == "/v1/jobs":
                self.submitted_at.append(self.clock.monotonic())
            return respond(request)

        self.service._respond = responding  # type: ignore[method-assign]

    def start(
        self, drive_dir: Path, *, secret: object, clock: ManualClock, confirm_claims: bool = False
    ) -> VirtualProcess:
        process = VirtualProcess(self, drive_dir, confirm_claims=confirm_claims)
        self.processes.append(process)
        return process

    def living(self) -> list[VirtualProcess]:
        return [process for process in self.processes if not process.ended]

    def kill_coordinator(self) -> None:
        self.coordinator_killed = True
        raise Killed

    @property
    def live_jobs(self) -> int:
        documents = [self.service.document(dispatch_id) for dispatch_id in self.service.jobs]
        return sum(document["status"] in ("queued", "leased") for document in documents)


class VirtualProcess(DriveProcess):
    """A driver that is as far as the clock whenever it is looked at."""

    def __init__(self, machine: Machine, drive_dir: Path, *, confirm_claims: bool = False) -> None:
        self._confirmed = partial(confirmed_claim, drive_dir) if confirm_claims else None
        self._machine = machine
        self._drive_dir = drive_dir
        self._world = World(now_s=machine.clock.monotonic())
        self._runner = asyncio.Runner(loop_factory=lambda: virtual_loop(self._world))
        self._task: asyncio.Task[Ending] | None = None
        self._driver: Driver | None = None
        self._word = LastWord(drive_dir)
        self._ending: str | None = None
        self.hangs = False

    @property
    def id(self) -> str:
        return str(self._machine.processes.index(self))

    @property
    def ended(self) -> bool:
        return self._ending is not None

    @property
    def overdue(self) -> bool:
        return False

    def look(self) -> bool:
        if not self.ended and not self.hangs:
            self._advance(self._machine.clock.monotonic())
        return super().look()

    def kill(self) -> None:
        if not self.ended:
            self._ending = "killed"
            self._world.dead = True
            self._runner.close()

    def result(self) -> DriveSummary:
        summary = read_summary(self._drive_dir)
        if summary is not None:
            return summary
        if self._ending == "target_lost":
            raise DependencyDown("The target is gone.", instruction="pointsman doctor", code="target_lost")
        raise RunFailed("The dispatch driver died.", code="driver_died")

    def close(self, ended: object = None) -> None:
        self.kill()

    def let_go(self) -> None:
        if self._driver is not None:
            self._driver.stop("interrupted")

    def abandon(self) -> None:
        self.let_go()
        while self._task is not None and not self.ended and not self.hangs:
            self._advance(self._world.now_s + 0.1)
        self.kill()

    def _advance(self, until_s: float) -> None:
        loop = self._runner.get_loop()
        if self._task is None:
            start = read_start(self._drive_dir)
            if read_header(self._drive_dir).shared_start and start is None and not cancel_ordered(self._drive_dir):
                _say(self._drive_dir, "waiting")
                self._world.now_s = until_s
                return
            self._task = loop.create_task(self._drive(start))
        loop.run_until_complete(asyncio.sleep(max(0.0, until_s - self._world.now_s)))
        if self._task.done():
            self._ending = self._task.result()
            self._runner.close()
            if self._ending in ("completed", "cancelled"):
                close_drive(self._drive_dir, self._ending)  # type: ignore[arg-type]

    async def _drive(self, start: Start | None) -> Ending:
        self._driver = Driver(
            self._drive_dir,
            target=read_header(self._drive_dir).target.build(),
            transport=Transport(self._world, self._machine.service),
            downloads=Nowhere(),
            disk=Disk(self._world),
            ticks=self._world,
            start=start,
            confirmed=self._confirmed,
        )
        if cancel_ordered(self._drive_dir):
            self._driver.stop("cancelled")
        obeying = asyncio.create_task(_obey(self._drive_dir, self._driver))
        try:
            return await self._driver.run()
        except Crash:
            return "interrupted"
        finally:
            obeying.cancel()
