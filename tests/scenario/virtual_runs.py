"""Infrastructure that starts shards as runs of a flow, in virtual time: its runs go on whoever looks at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pointsman.errors import DependencyDown
from pointsman.scenario import read_run, run_drives
from pointsman.workspace import Workspace
from tests.scenario.virtual_shards import Machine, VirtualProcess


class VirtualRuns:
    """A `RunLauncher` on the machine of the test."""

    def __init__(self, ws: Workspace, machine: Machine) -> None:
        self._ws = ws
        self._machine = machine
        self.runs: dict[str, VirtualProcess] = {}
        self.answers = True
        self._tick()

    def launch(self, flow: str, request: Mapping[str, Any], *, key: str) -> str:
        self._reach()
        assert flow == "drive-shard"
        drive_dir = run_drives(self._ws, read_run(self._ws, request["run_id"]))[request["shard"]]
        if key not in self.runs:
            self.runs[key] = self._machine.start(drive_dir, secret=None, clock=self._machine.clock)
        return key

    def ended(self, run: str) -> str | None:
        self._reach()
        return "Crashed" if self.runs[run].ended else None

    def task(self, run: str) -> str | None:
        return None

    def cancel(self, run: str) -> None:
        self._reach()
        self.runs[run].abandon()

    def _reach(self) -> None:
        if not self.answers:
            raise DependencyDown("Nobody answers.", instruction="pointsman doctor", code="prefect_unreachable")

    def _tick(self) -> None:
        for process in self.runs.values():
            process.look()
        self._machine.clock.at(0.05, self._tick)
