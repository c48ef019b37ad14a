"""Real processes that are killed, and a database that is locked: what is in the books stays true, and runs go on."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pointsman.actions import ActionLog
from pointsman.clock import SystemClock
from pointsman.dispatch import TargetSpec
from pointsman.scenario import (
    RunOutcome,
    Scenario,
    Stage,
    cancel_run,
    execute_run,
    read_run,
    run_status,
)
from pointsman.settings import Secret
from pointsman.workspace import Workspace
from tests.dispatch.loopback import Asked, Say, http, listening
from tests.dispatch.world import preset
from tests.scenario.fake_engine import plan
from tests.scenario.ledgers import dispatches_of

pytestmark = [pytest.mark.prove, pytest.mark.timeout(300), pytest.mark.xdist_group("kills")]
SECRET = Secret("s3cret")
KILLS = 20


@dataclass
class Jobs:
    """A job service that makes a job of every submission, and knows when each was made."""

    lasting_s: float
    made: Counter[str] = field(default_factory=Counter)
    made_at: dict[str, float] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)

    def say(self, asked: Asked) -> Say:
        if asked.path.endswith("/status"):
            ids = json.loads(asked.body)["ids"]
            known = [self.document(one) for one in ids if one in self.made_at]
            unknown = [one for one in ids if one not in self.made_at]
            return http(200, json.dumps({"jobs": known, "unknown": unknown}).encode())
        if asked.path.endswith("/cancel"):
            one = asked.path.split("/")[3]
            if one not in self.made_at:
                return http(404, b"{}")
            self.cancelled.add(one)
        else:
            one = json.loads(asked.body)["dispatch_id"]
            self.made[one] += 1
            self.made_at[one] = time.monotonic()
        return http(202, json.dumps(self.document(one)).encode())

    def document(self, one: str) -> dict[str, str]:
        done = time.monotonic() - self.made_at[one] > self.lasting_s
        status = "completed" if done else "cancelled" if one in self.cancelled else "leased"
        return {"dispatch_id": one, "job_id": one, "status": status}


@pytest.fixture
def real(ws: Workspace) -> Workspace:
    return replace(ws, clock=SystemClock())


@contextmanager
def executing(ws: Workspace) -> Iterator[list[RunOutcome]]:
    ended: list[RunOutcome] = []
    thread = threading.Thread(target=lambda: ended.append(execute_run(ws, "run1", secret=SECRET)))
    thread.start()
    try:
        yield ended
    finally:
        thread.join(120)
        assert not thread.is_alive()


def until(true: Callable[[], bool], within_s: float = 30) -> None:
    give_up = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def load(seconds: float, shards: int = 3) -> Scenario:
    return Scenario(
        name="real", stages=(Stage(name="all", rate=15, duration_s=seconds),), shards=shards, drain_limit_s=15
    )


def processes(ws: Workspace) -> list[int]:
    """Of shards that are sending."""
    rows = run_status(ws, "run1")["runner"]["shards"]
    return [int(row["process_id"]) for row in rows if row["state"] == "running" and row["process_id"]]


def test_twenty_kills_of_shards_and_every_dispatch_is_taken_once(real: Workspace, tmp_path: Path) -> None:
    jobs, rng, killed = Jobs(lasting_s=0.5), random.Random(7), 0
    blind = preset(tmp_path, idempotent_submit=False, status_by_dispatch_id=False)
    with listening(jobs.say) as server:
        plan(real, scenario=load(60), target=TargetSpec(name="lab", preset=blind, base_url=server.url))
        with executing(real) as ended:
            while killed < KILLS:
                until(lambda: bool(processes(real)))
                try:
                    os.kill(rng.choice(processes(real)), signal.SIGKILL)
                    killed += 1
                except ProcessLookupError:
                    pass  # of the time before the last kill
                time.sleep(rng.uniform(1.0, 3.0))
    assert ended[0].status == "completed"
    counts = run_status(real, "run1")["counts"]
    ledger = dispatches_of(real, "run1")
    assert counts["planned"] == ledger.height == 900
    assert counts["completed"] + counts["failed"] + counts["unknown"] + counts["dropped"] == 900
    assert set(jobs.made.values()) == {1}
    states = dict(ledger.select("dispatch_id", "state").iter_rows())
    assert {one for one, state in states.items() if state == "completed"} <= set(jobs.made)
    assert {states[one] for one in jobs.made} <= {"completed", "unknown"}
    lost = [event for event in ActionLog(real).read(run_id="run1") if event.event == "load_test_shard_lost"]
    assert len(lost) == KILLS
    gaps = read_run(real, "run1").metrics_json["interruptions"]
    assert KILLS - 3 <= len(gaps) <= KILLS, "one that died before it began has no gap of its own"


_COORDINATE = """
import sys
from pathlib import Path
from pointsman.clock import SystemClock
from pointsman.scenario import execute_run
from pointsman.settings import Secret
from pointsman.storage import LocalResults, open_database
from pointsman.workspace import Workspace
ws = Workspace(open_database(sys.argv[1]), LocalResults(Path(sys.argv[2])), SystemClock(), "a coordinator")
execute_run(ws, "run1", secret=Secret("s3cret"))
"""


@contextmanager
def coordinator(ws: Workspace) -> Iterator[subprocess.Popen[bytes]]:
    url = ws.database.url.render_as_string(hide_password=False)
    process = subprocess.Popen([sys.executable, "-c", _COORDINATE, url, str(ws.results.root)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_cancel_ends_the_run_of_a_coordinator_that_was_killed(real: Workspace) -> None:
    jobs = Jobs(lasting_s=1000)
    with listening(jobs.say) as server:
        plan(real, scenario=load(60), target=TargetSpec(name="lab", preset="lab", base_url=server.url))
        with coordinator(real) as process:
            until(lambda: len(jobs.made) > 20)
            process.kill()
        asked_at = time.monotonic()
        ended = cancel_run(real, "run1", reason="enough", secret=SECRET, wait_s=40)
        assert ended.status == "cancelled"
        assert max(jobs.made_at.values()) < asked_at + 2
        assert set(jobs.made) == jobs.cancelled
    metrics = read_run(real, "run1").metrics_json
    assert metrics["runner"]["stop"]["reason"] == "enough"
    assert metrics["counts"]["cancelled_sent"] == len(jobs.made)


def test_the_run_of_a_coordinator_that_was_killed_is_continued(real: Workspace) -> None:
    jobs = Jobs(lasting_s=0.3)
    with listening(jobs.say) as server:
        plan(real, scenario=load(8), target=TargetSpec(name="lab", preset="lab", base_url=server.url))
        with coordinator(real) as process:
            until(lambda: len(jobs.made) > 20)
            process.kill()
        assert execute_run(real, "run1", secret=SECRET).status == "completed"
    assert run_status(real, "run1")["counts"]["completed"] == 120
    assert set(jobs.made) == set(dispatches_of(real, "run1")["dispatch_id"])


def test_a_database_that_is_locked_for_ten_seconds_holds_nothing_up(real: Workspace) -> None:
    jobs = Jobs(lasting_s=0.3)
    with listening(jobs.say) as server:
        plan(real, scenario=load(15), target=TargetSpec(name="lab", preset="lab", base_url=server.url))
        with executing(real) as ended:
            until(lambda: len(jobs.made) > 20)
            locking = sqlite3.connect(str(real.database.url.database), isolation_level=None, timeout=30)
            locking.execute("begin immediate")
            before = len(jobs.made)
            time.sleep(10)
            meanwhile = len(jobs.made) - before
            locking.execute("rollback")
            locking.close()
    assert ended[0].status == "completed"
    assert meanwhile > 120
    assert run_status(real, "run1")["counts"]["completed"] == 225
    assert not ActionLog(real).read(run_id="run1")
