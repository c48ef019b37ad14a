"""Whole runs with the real driver against a real HTTP server on loopback: seconds, not simulations."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import polars as pl
import pytest

from pointsman.actions import ActionLog
from pointsman.clock import SystemClock
from pointsman.dispatch import TargetSpec, read_dispatches, read_status, read_summary
from pointsman.errors import DependencyDown
from pointsman.model import Variant
from pointsman.scenario import (
    RunOutcome,
    Scenario,
    Stage,
    cancel_run,
    execute_run,
    give_up_run,
    p95_under_load,
    read_run,
    run_drives,
    run_status,
)
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import VARIANT, plan
from tests.scenario.ledgers import dispatches_of


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    allow_reuse_address = True


@contextmanager
def serving(port: int = 0) -> Iterator[int]:
    server = _Server(("127.0.0.1", port), _Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def load(rate: float, seconds: float) -> Scenario:
    return Scenario(
        name="real",
        stages=(
            Stage(name="up", kind="ramp", to_rate=rate, duration_s=seconds / 2),
            Stage(name="hold", kind="hold", duration_s=seconds / 2),
        ),
        drain_limit_s=5,
        target_patience_s=0.2,
    )


def plan_on(ws: Workspace, port: int, scenario: Scenario) -> None:
    target = TargetSpec(name="fixed", preset="fixed", base_url=f"http://127.0.0.1:{port}")
    plan(ws, scenario=scenario, variant=Variant(VARIANT.id, "fixed"), target=target)


def execute(ws: Workspace) -> RunOutcome:
    return execute_run(ws, "run1", secret=None)


@pytest.fixture
def real(ws: Workspace) -> Workspace:
    return replace(ws, clock=SystemClock())


def test_a_real_run_completes_and_every_figure_is_measured(real: Workspace) -> None:
    with serving() as port:
        plan_on(real, port, load(rate=60, seconds=1))
        assert execute(real).status == "completed"
    status = run_status(real, "run1")
    assert status["counts"]["planned"] == status["counts"]["completed"] == 45
    assert [stage["sent"] for stage in status["stages"]] == [15, 30]
    assert 0 < status["p95"]["total_ms"] < 1000
    assert 0 <= status["lateness"]["p50"] < 500
    assert status["stages"][1]["achieved_rate"] == pytest.approx(60, rel=0.5)
    assert p95_under_load(real, ["run1"])[VARIANT.id] > 0  # type: ignore[operator]
    folder = real.results.path(read_run(real, "run1").results_path)
    assert {"results.json", "plan.json", "dispatches-00000.parquet"} <= {path.name for path in folder.iterdir()}


def test_three_shards_share_the_schedule_and_a_killed_one_is_replaced(real: Workspace) -> None:
    with serving() as port:
        plan_on(real, port, load(rate=60, seconds=4).model_copy(update={"shards": 3}))
        drives = run_drives(real, read_run(real, "run1"))
        ended: list[RunOutcome] = []
        executor = threading.Thread(target=lambda: ended.append(execute(real)))
        executor.start()
        victim = wait_for(lambda: sending(real, 1))
        os.kill(victim, signal.SIGKILL)
        executor.join(timeout=40)
        assert not executor.is_alive()
    assert ended[0].status == "completed"
    status = run_status(real, "run1")
    counts = status["counts"]
    assert counts["planned"] == 180
    assert counts["completed"] + counts["dropped"] + counts["unknown"] + counts["failed"] == 180
    assert counts["completed"] >= 120
    rows = dispatches_of(real, "run1")
    assert rows["seq"].to_list() == list(range(180))
    assert [read_dispatches(drive_dir)["seq"].to_list()[:2] for drive_dir in drives] == [[0, 3], [1, 4], [2, 5]]
    starts = {read_summary(drive_dir).epoch for drive_dir in drives}  # type: ignore[union-attr]
    assert len(starts) == 1
    assert [shard["processes"] for shard in status["runner"]["shards"]] == [1, 2, 1]
    (event,) = ActionLog(real).read(run_id="run1", severity="critical")
    assert (event.event, event.data["shard"]) == ("load_test_shard_lost", 1)
    (gap,) = read_run(real, "run1").metrics_json["interruptions"]
    assert gap["shard"] == 1
    assert 0 < gap["resumed_s"] - gap["after_s"] < 10


def wait_for(found: Callable[[], int | None]) -> int:
    give_up = time.monotonic() + 30
    while (value := found()) is None:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return value


def sending(ws: Workspace, shard: int) -> int | None:
    """The process of a shard that has completed some."""
    rows = run_status(ws, "run1")["runner"]["shards"]
    drive_dir = run_drives(ws, read_run(ws, "run1"))[shard]
    return int(rows[shard]["process_id"]) if read_status(drive_dir).counts["completed"] > 3 else None


def test_a_cancel_through_the_row_stops_a_real_run_within_seconds(real: Workspace) -> None:
    with serving() as port:
        plan_on(real, port, load(rate=20, seconds=60))
        ended: list[RunOutcome] = []
        executor = threading.Thread(target=lambda: ended.append(execute(real)))
        executor.start()
        give_up = time.monotonic() + 20
        while read_run(real, "run1").submitted_count == 0:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert cancel_run(real, "run1", reason="seen enough").status == "cancelling"
        executor.join(timeout=20)
        assert not executor.is_alive()
    assert ended[0].status == "cancelled"
    counts = run_status(real, "run1")["counts"]
    assert counts["cancelled_unsent"] > 500
    assert counts["still_planned"] == 0


def test_a_run_whose_target_is_away_continues_when_it_is_back(real: Workspace) -> None:
    with serving() as port:
        pass
    plan_on(real, port, load(rate=20, seconds=1))
    with pytest.raises(DependencyDown) as lost:
        execute(real)
    assert lost.value.code == "target_lost"
    assert read_run(real, "run1").metrics_json["interrupted"]["code"] == "target_lost"
    with serving(port):
        assert execute(real).status == "completed"
    assert run_status(real, "run1")["counts"]["planned"] == 15


def test_giving_up_a_real_drive_closes_its_books(real: Workspace) -> None:
    plan_on(real, 9, load(rate=20, seconds=1))
    ended = give_up_run(real, "run1")
    assert ended.failure is not None
    assert ended.failure["code"] == "given_up"
    counts = run_status(real, "run1")["counts"]
    assert counts["planned"] == counts["cancelled_unsent"] == 15


def test_a_row_lost_from_a_real_plan_breaks_conservation(real: Workspace) -> None:
    plan_on(real, 9, load(rate=20, seconds=1))
    file = real.results.path(read_run(real, "run1").results_path) / "plan-00000.arrow"
    rows = pl.read_ipc(file)
    rows.filter(pl.col("seq") != 7).write_ipc(file)
    ended = give_up_run(real, "run1")
    assert ended.failure is not None
    assert ended.failure["code"] == "conservation_broken"
    assert "15 is not 14" in ended.failure["message"]
