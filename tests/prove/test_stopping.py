"""Ctrl-C, a second command beside the first, and a port that is taken, each with real processes."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.world import CHECKOUT, World
from tests.few_inputs import free_ports
from tests.prove.kills import HELD, STEPS, Journey

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("kills"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    return Journey(tmp_path_factory.mktemp("stopping"), tuple(free_ports(2)))


@pytest.mark.parametrize("step", STEPS)
def test_ctrl_c_leaves_no_process_behind_and_a_run_that_continues(step: str, journey: Journey) -> None:
    journey.start(hold=step if step in HELD else None)
    journey.await_step(step)
    assert journey.process is not None
    journey.process.send_signal(signal.SIGINT)
    assert journey.end(within_s=30) == 130, journey.output()
    assert "The same command continues" in journey.output()
    assert World.load(journey.home).processes == {}
    journey.nothing_left_behind()


def test_after_ctrl_c_the_same_command_comes_to_its_end(journey: Journey) -> None:
    journey.finish()
    journey.nothing_left_behind()
    assert journey.balance() > 0


def test_a_second_demo_at_the_same_time_says_so(journey: Journey) -> None:
    journey.start(hold="prepare")
    journey.await_step("prepare")
    second = _demo(journey.home, *journey.ports)
    assert second.returncode == 3
    assert "is at work in" in second.stderr
    journey.go_on()
    journey.finish()
    journey.nothing_left_behind()


def test_a_port_in_use_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    (free,) = free_ports(1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        for ports, option in (((taken, free), "--prefect-port"), ((free, taken), "--lab-port")):
            refused = _demo(tmp_path, *ports)
            assert refused.returncode == 2
            assert f"{option}: {taken} is not allowed" in refused.stderr.replace("\n", " ")
    assert World.load(tmp_path).processes == {}
    assert not (tmp_path / "logs").exists()


def _demo(home: Path, prefect_port: int, lab_port: int) -> subprocess.CompletedProcess[str]:
    journey = Journey(home, (prefect_port, lab_port))
    return subprocess.run(
        [sys.executable, *journey.argv()],
        cwd=CHECKOUT,
        env=journey.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
