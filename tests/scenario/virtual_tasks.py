"""Tasks in virtual time, each with a disk of its own that goes with it: they share a database and a bucket, no more."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pointsman.clock import ManualClock
from pointsman.dispatch import DriveSummary
from pointsman.errors import DependencyDown, PointsmanError
from pointsman.scenario.driving import shard_steps
from pointsman.storage import SharedResults
from pointsman.storage.bucket import Bucket
from pointsman.workspace import Workspace
from tests.scenario.virtual_shards import Machine, VirtualProcess
from tests.storage.buckets import PLACE, World


def at_machine(ws: Workspace, folder: Path, bucket: World, clock: ManualClock) -> Workspace:
    """The workspace as a machine sees it whose own disk is this folder."""
    return replace(ws, results=SharedResults(folder, Bucket(PLACE, bucket.client, clock), clock), clock=clock)


@dataclass
class Task:
    folder: Path
    steps: Generator[None, None, DriveSummary]
    process: VirtualProcess | None = None
    how: str | None = None
    alone: bool = False
    """Its driver goes on, and whoever supervises it does not."""


class VirtualTasks:
    """A `RunLauncher` whose tasks take `starts_in_s` to start."""

    def __init__(self, ws: Workspace, machine: Machine, bucket: World, folder: Path, *, starts_in_s: float = 2) -> None:
        self._ws = ws
        self._machine = machine
        self._bucket = bucket
        self._folder = folder
        self._starts_in_s = starts_in_s
        self.tasks: dict[str, Task] = {}
        self.refuses: DependencyDown | None = None
        self.crash_with: str | None = None
        """How tasks end that never start."""
        self._tick()

    def launch(self, flow: str, request: Mapping[str, Any], *, key: str) -> str:
        if self.refuses is not None:
            raise self.refuses
        if key not in self.tasks:
            ws = at_machine(self._ws, self._folder / key, self._bucket, self._machine.clock)
            steps = shard_steps(ws, request["run_id"], request["shard"], turn=request["turn"], secret=None)
            task = Task(ws.results.root, steps, how=self.crash_with)
            self._machine.clock.at(self._starts_in_s, lambda: self.tasks.setdefault(key, task))
        return key

    def ended(self, run: str) -> str | None:
        return self.tasks[run].how if run in self.tasks else None

    def task(self, run: str) -> str | None:
        return f"arn:aws:ecs:task/{run}" if run in self.tasks else None

    def cancel(self, run: str) -> None:
        task = self.tasks.get(run)
        if task is not None and not task.alone and task.how is None:
            task.steps.close()
            task.how = "Cancelled"

    def kill(self, run: str) -> None:
        """The task is gone, and its disk."""
        task = self.tasks[run]
        assert task.process is not None
        task.process.kill()
        task.how = "Crashed"
        shutil.rmtree(task.folder)

    def end(self) -> None:
        """Leave nothing behind."""
        for task in self.tasks.values():
            if task.process is not None:
                task.process.kill()
            task.steps.close()

    def _tick(self) -> None:
        for task in list(self.tasks.values()):
            if task.alone and task.process is not None:
                task.process.look()
            elif task.how is None:
                self._step(task)
        self._machine.clock.at(0.05, self._tick)

    def _step(self, task: Task) -> None:
        before = len(self._machine.processes)
        try:
            next(task.steps)
        except StopIteration:
            task.how = "Completed"
        except PointsmanError as error:
            task.how = f"Failed ({error.code})"
        if len(self._machine.processes) > before:
            task.process = self._machine.processes[-1]
