"""Who coordinates a run is told by a lock and a heartbeat, whatever becomes of the clock on the wall."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pointsman.clock import ManualClock
from pointsman.errors import Conflict
from pointsman.scenario.holding import DEAD_AFTER_S, hold_run
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import FakeEngine, plan


class SetClock(ManualClock):
    """Somebody sets it; the time since the machine was started goes on as it did."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def planned(ws: Workspace, engine: FakeEngine, clock: SetClock) -> Workspace:
    ws = replace(ws, clock=clock)
    plan(ws)
    return ws


@pytest.mark.parametrize("ahead", [timedelta(hours=1), -timedelta(hours=1)])
def test_a_clock_that_is_set_makes_no_living_coordinator_dead(
    planned: Workspace, clock: SetClock, ahead: timedelta
) -> None:
    with hold_run(planned, "run1", wait_s=0) as hold:
        hold.beat(submitted=0)
        clock.ahead = ahead
        with pytest.raises(Conflict, match="Another process coordinates"), hold_run(planned, "run1", wait_s=0):
            pass
        hold.beat(submitted=0)


def test_one_that_hangs_is_dead_though_it_holds_the_lock_and_the_clock_was_set_back(
    planned: Workspace, clock: SetClock
) -> None:
    with hold_run(planned, "run1", wait_s=0) as hold:
        clock.sleep(DEAD_AFTER_S + 0.1)
        clock.ahead = -timedelta(hours=1)
        with hold_run(planned, "run1", wait_s=0), pytest.raises(Conflict, match="by now"):
            hold.beat(submitted=0)


def test_one_on_another_machine_is_known_by_its_heartbeat_alone(
    planned: Workspace, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold_run(planned, "run1", wait_s=0):
        monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
        with pytest.raises(Conflict), hold_run(planned, "run1", wait_s=0):
            pass
        clock.ahead = timedelta(seconds=DEAD_AFTER_S + 0.1)
        with hold_run(planned, "run1", wait_s=0):
            pass
