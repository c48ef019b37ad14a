"""The Prefect server is away for a minute in the middle of a run that was started at a terminal: the run goes on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman.errors import NotFound
from pointsman.scenario import run_status
from pointsman.workspace import Workspace
from service.cli.world import start_prefect
from tests.commands import start_pointsman
from tests.few_inputs import variant
from tests.world import FEW_INPUTS, LabWorld, running_world

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]
SCENARIO = """
name: through-an-outage
shards: 2
stages:
  - {{name: all, rate: 2, duration_s: {seconds}}}
"""
AWAY_S = 60
OUT_OF_REACH = 4


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabWorld]:
    """A world of its own: its server goes away."""
    with running_world(tmp_path_factory.mktemp("away")) as started, started.active():
        yield started


def start(folder: Path, run_id: str, *, seconds: int) -> tuple[subprocess.Popen[bytes], Path]:
    file, log = folder / "scenario.yaml", folder / "run.log"
    file.write_text(SCENARIO.format(seconds=seconds))
    chosen = ("--variant", variant("x264-veryfast-crf23"), "--input-set", FEW_INPUTS)
    return start_pointsman("scenario", "run", str(file), *chosen, "--run-id", run_id, log=log), log


def await_sent(ws: Workspace, run_id: str, count: int, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        assert process.poll() is None, log.read_text()
        try:
            if run_status(ws, run_id)["counts"]["sent"] >= count:
                return
        except NotFound:
            pass  # it is not planned yet
        time.sleep(0.2)
    raise AssertionError(log.read_text())


def come_back(world: LabWorld, port: int) -> None:
    start_prefect(world.world, port=port, owner="tests")
    world.world.await_ready("prefect")


def balanced(ws: Workspace, run_id: str, planned: int) -> None:
    counts = run_status(ws, run_id)["counts"]
    assert counts["planned"] == planned
    assert counts["completed"] + counts["failed"] == planned, "nobody noticed"


def test_a_run_goes_on_while_prefect_is_away_for_a_minute(away: LabWorld, tmp_path: Path) -> None:
    ws, port = away.workspace(), away.world.processes["prefect"].port
    assert port is not None
    process, log = start(tmp_path, "outage", seconds=180)
    try:
        await_sent(ws, "outage", 5, process, log)
        away.world.stop(["prefect"])
        sent = run_status(ws, "outage")["counts"]["sent"]
        time.sleep(AWAY_S)
        assert run_status(ws, "outage")["counts"]["sent"] > sent + AWAY_S
        come_back(away, port)
        assert process.wait(300) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert run_status(ws, "outage")["status"] == "completed"
    assert "Traceback" not in log.read_text()
    balanced(ws, "outage", 360)


def test_a_run_that_ends_while_prefect_is_away_says_so_and_the_same_command_ends_it(
    away: LabWorld, tmp_path: Path
) -> None:
    ws, port = away.workspace(), away.world.processes["prefect"].port
    assert port is not None
    process, log = start(tmp_path, "ended-alone", seconds=15)
    try:
        await_sent(ws, "ended-alone", 3, process, log)
        away.world.stop(["prefect"])
        code = process.wait(180)
    finally:
        process.kill()
        process.wait()
        come_back(away, port)
    assert code == OUT_OF_REACH, log.read_text()
    assert "prefect_unreachable" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert run_status(ws, "ended-alone")["status"] == "completed", "what was measured is not lost"
    balanced(ws, "ended-alone", 30)
    process, log = start(tmp_path, "ended-alone", seconds=15)
    assert process.wait(120) == 0, log.read_text()
    balanced(ws, "ended-alone", 30)
