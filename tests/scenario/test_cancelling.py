"""A cancel can be trusted: whatever became of the run's processes, it ends once, sends no more and leaves no job."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings, stateful
from hypothesis import strategies as st

from pointsman.clock import SystemClock
from pointsman.errors import DependencyDown, PointsmanError
from pointsman.scenario import (
    RunOutcome,
    Scenario,
    Stage,
    cancel_run,
    execute_run,
    give_up_run,
    holding,
    read_run,
    run_status,
)
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import PLANNED, FakeEngine, plan
from tests.scenario.fake_watcher import FakeWatcher
from tests.scenario.virtual_shards import Killed, Machine, ScriptedClock
from tests.workspaces import workspace_in

TERMINAL = {"completed", "failed", "cancelled"}


def execute(ws: Workspace) -> RunOutcome:
    return execute_run(ws, "run1", secret=None)


def at_once(calls: int, call: Callable[[], RunOutcome]) -> list[RunOutcome]:
    found: list[RunOutcome] = []
    threads = [threading.Thread(target=lambda: found.append(call())) for _ in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == calls
    return found


@pytest.mark.parametrize("state", ["created", "interrupted", "running"])
def test_a_hundred_cancels_at_once_end_a_run_once(
    ws: Workspace, engine: FakeEngine, watcher: FakeWatcher, state: str
) -> None:
    plan(ws)
    ws = replace(ws, clock=SystemClock())
    coordinator: threading.Thread | None = None
    if state == "interrupted":
        engine.lose_target_in = {0}
        with pytest.raises(DependencyDown):
            execute(ws)
    elif state == "running":
        coordinator = threading.Thread(target=lambda: execute(ws))
        coordinator.start()
        while read_run(ws, "run1").submitted_count == 0:
            assert coordinator.is_alive()
    answers = at_once(100, lambda: cancel_run(ws, "run1", reason="enough", wait_s=30))
    if coordinator is not None:
        coordinator.join(30)
    assert {answer.status for answer in answers} == {"cancelled"}
    metrics = read_run(ws, "run1").metrics_json
    assert metrics["runner"]["stop"]["reason"] == "enough"
    assert metrics["counts"]["planned"] == PLANNED
    assert metrics["counts"]["still_planned"] == 0
    assert watcher.ended == (1 if state == "running" else 0)


@pytest.fixture(autouse=True, scope="module")
def template(migrated: Path) -> None:
    Cancelling.migrated = migrated


class Cancelling(stateful.RuleBasedStateMachine):
    """A run whose coordinator and shards may die at any moment, before and while it is cancelled."""

    migrated: ClassVar[Path]

    @stateful.initialize(shards=st.integers(1, 3), lasting=st.booleans())
    def planned(self, shards: int, lasting: bool) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.patches = pytest.MonkeyPatch()
        clock = ScriptedClock()
        self.ws = workspace_in(self.folder, self.migrated, clock)
        self.machine = Machine(clock, run_s=1000.0 if lasting else 0.3)
        self.watcher = FakeWatcher()
        self.patches.setattr("pointsman.scenario.launching.DriveProcess", self.machine.start)
        self.patches.setattr("pointsman.scenario.watchers.build_watchers", lambda *_: [self.watcher])
        release = holding._release
        self.patches.setattr(
            "pointsman.scenario.holding._release",
            lambda *args: None if self.machine.coordinator_killed else release(*args),
        )
        scenario = Scenario(
            name="short", stages=(Stage(name="all", rate=8, duration_s=3),), shards=shards, drain_limit_s=4
        )
        plan(self.ws, scenario=scenario)
        self.cancelled_at: float | None = None
        self.first_reason: str | None = None

    def _turn(self) -> None:
        """One coordinator's life."""
        self.machine.coordinator_killed = False
        with contextlib.suppress(Killed, PointsmanError):
            execute(self.ws)
        for process in self.machine.living():
            process.abandon()  # an orphan hears that its parent is gone

    @stateful.rule(after=st.floats(0, 4))
    def coordinator_dies(self, after: float) -> None:
        if not read_run(self.ws, "run1").ended:
            self.machine.clock.at(after, self.machine.kill_coordinator)
            self._turn()
        self.machine.clock.due.clear()

    @stateful.rule(after=st.floats(0, 3), victim=st.integers(0, 2))
    def shard_dies(self, after: float, victim: int) -> None:
        def kill() -> None:
            living = self.machine.living()
            if living:
                living[victim % len(living)].kill()

        self.machine.clock.at(after, kill)
        self.machine.clock.at(after + 1.5, self.machine.kill_coordinator)
        if not read_run(self.ws, "run1").ended:
            self._turn()
        self.machine.clock.due.clear()

    @stateful.rule(after=st.floats(0, 3), times=st.integers(1, 5))
    def cancelled_while_it_runs(self, after: float, times: int) -> None:
        for _ in range(times):
            self.machine.clock.at(after, self._cancel)
        if not read_run(self.ws, "run1").ended:
            self._turn()
        self.machine.clock.due.clear()

    @stateful.rule(seconds=st.floats(0.1, 30))
    def time_passes(self, seconds: float) -> None:
        self.machine.clock.sleep(seconds)

    @stateful.precondition(lambda self: read_run(self.ws, "run1").started_at is not None)
    @stateful.rule()
    def given_up(self) -> None:
        give_up_run(self.ws, "run1")

    @stateful.rule(times=st.integers(1, 3))
    def cancelled(self, times: int) -> None:
        for _ in range(times):
            self._cancel()
        assert read_run(self.ws, "run1").ended, "no coordinator lives, so the cancel itself ends the run"

    def _cancel(self) -> None:
        before = read_run(self.ws, "run1")
        if self.first_reason is None and not before.ended:
            self.first_reason = f"at {self.machine.clock.monotonic()}"
            self.cancelled_at = self.machine.clock.monotonic()
        cancel_run(self.ws, "run1", reason=self.first_reason or "too late")

    @stateful.invariant()
    def nothing_is_sent_two_seconds_after_a_cancel(self) -> None:
        if getattr(self, "cancelled_at", None) is not None:
            assert not [at for at in self.machine.submitted_at if at > self.cancelled_at + 2.0]

    def teardown(self) -> None:
        if hasattr(self, "ws"):
            self._cancel()
            record = read_run(self.ws, "run1")
            assert record.status in TERMINAL
            if self.cancelled_at is not None:
                assert record.status == "cancelled"
                assert record.metrics_json["runner"]["stop"]["reason"] == self.first_reason
                assert self.machine.live_jobs == 0
            self.nothing_is_sent_two_seconds_after_a_cancel()
            counts = run_status(self.ws, "run1")["counts"]
            assert counts["planned"] == sum(counts[term] for term in ("dropped", "cancelled_unsent", "sent"))
            ends = Counter({term: counts[term] for term in ("completed", "failed", "cancelled_sent", "unknown")})
            assert counts["sent"] == ends.total()
            assert [len(jobs) for jobs in self.machine.service.jobs.values()] == [1] * len(self.machine.service.jobs)
            assert bool(self.watcher.ended) == ("epoch" in record.metrics_json and bool(self.watcher.begun))
            self.ws.database.dispose()
            self.patches.undo()
            shutil.rmtree(self.folder)


class TestCancelling(Cancelling.TestCase):
    settings = settings(max_examples=8, stateful_step_count=5, deadline=None, derandomize=True)


@pytest.mark.prove
class TestCancellingAtLength(Cancelling.TestCase):
    settings = settings(max_examples=200, stateful_step_count=8, deadline=None)
