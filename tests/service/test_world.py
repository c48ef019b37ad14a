"""The world on one machine: started once, found again, and ended by exact identity."""

import json
import os
import select
import signal
import stat
import subprocess
import sys
import time

import pytest

from pointsman.errors import Conflict, DependencyDown, InputRefused
from service.cli.world import World, check_ports, executor_secret, sole_owner

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def world(home):
    started = World(home)
    yield started
    started.stop(list(started.processes))


def alive(pid):
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        return not select.select([handle], [], [], 0)[0]
    finally:
        os.close(handle)


def test_a_process_is_remembered_found_again_and_ended(world):
    world.start("lab", SLEEPER, port=8650, owner="up", env={})
    found = World.load(world.home)
    assert found.processes["lab"] == world.processes["lab"]
    assert found.lab_url == "http://127.0.0.1:8650"
    assert found.stop(["lab", "prefect"]) == ["lab"]
    assert not alive(world.processes["lab"].pid)
    assert World.load(world.home).processes == {}


def test_a_process_that_has_ended_is_forgotten(world):
    world.start("lab", [sys.executable, "-c", "pass"], port=8650, owner="up", env={})
    os.waitpid(world.processes["lab"].pid, 0)
    assert World.load(world.home).processes == {}
    world.processes.clear()


def test_another_process_that_got_the_same_pid_is_not_ours_and_is_not_ended(world):
    with subprocess.Popen(SLEEPER, start_new_session=True) as other:
        try:
            world.start("lab", [sys.executable, "-c", "pass"], port=8650, owner="up", env={})
            os.waitpid(world.processes["lab"].pid, 0)
            (world.home / "processes" / "lab").write_text(f"{other.pid}\nSs Thu Jan  1 00:00:00 1970\n")
            found = World.load(world.home)
            assert found.processes == {}
            assert found.stop(["lab"]) == []
            assert alive(other.pid)
        finally:
            world.processes.clear()
            other.kill()


def test_what_a_process_says_is_in_its_log_and_its_secrets_come_by_environment(world):
    told = "import os; print('secret of', len(os.environ['STUDIO_EXECUTOR_SECRET']))"
    world.start("lab", [sys.executable, "-c", told], port=None, owner="up", env={"STUDIO_EXECUTOR_SECRET": "s3cret"})
    os.waitpid(world.processes["lab"].pid, 0)
    world.processes.clear()
    assert (world.home / "logs" / "lab.log").read_text() == "secret of 6\n"
    assert "s3cret" not in (world.home / "world.json").read_text()


def test_whoever_starts_a_process_may_be_killed_at_once_and_the_process_is_still_found(home):
    starter = (
        "import os, subprocess, sys; from pathlib import Path; from service.cli import world\n"
        "started = subprocess.Popen\n"
        "def killed(*given, **named):\n"
        "    started(*given, **named)\n"
        "    os.kill(os.getpid(), 9)\n"
        "world.subprocess.Popen = killed\n"
        "world.World(Path(sys.argv[1])).start('lab', [sys.executable, '-c', 'import time; time.sleep(60)'],"
        " port=8650, owner='demo', env={})"
    )
    done = subprocess.run([sys.executable, "-c", starter, str(home)], check=False)
    assert done.returncode == -signal.SIGKILL
    found = World.load(home)
    assert alive(found.processes["lab"].pid)
    assert found.stop(["lab"]) == ["lab"]


def test_a_server_that_dies_before_it_is_ready_is_reported_with_its_log(world):
    world.start("lab", [sys.executable, "-c", "raise SystemExit(3)"], port=1, owner="up", env={})
    with pytest.raises(DependencyDown, match=r"lab did not become ready") as caught:
        world.await_ready("lab")
    assert "lab.log" in caught.value.instruction


def test_one_command_at_a_time_works_in_a_home_and_the_second_names_the_first(home, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pointsman", "demo"])
    with sole_owner(home):
        held = rf"pointsman demo \(pid {os.getpid()}\)` is at work"
        with pytest.raises(Conflict, match=held) as caught, sole_owner(home):
            raise AssertionError("two commands hold one home")
        assert caught.value.code == "already_running"
        assert caught.value.exit_code == 3
    with sole_owner(home):
        pass


def test_a_second_demo_at_the_same_time_says_so(home, pointsman):
    with sole_owner(home):
        answer = pointsman("demo")
    assert (answer.code, answer.out) == (3, "")
    assert "already_running" in answer.err
    assert str(home) in answer.err


def test_two_servers_cannot_have_one_port(home):
    with pytest.raises(InputRefused, match="another port than --prefect-port"):
        check_ports(World(home), prefect_port=45123, lab_port=45123)


def test_the_executor_secret_is_made_once_and_readable_by_its_owner_alone(home):
    made = executor_secret(home)
    assert executor_secret(home) == made
    assert len(made) >= 32
    assert stat.S_IMODE((home / "secrets" / "executor").stat().st_mode) == 0o600


def test_down_ends_what_up_started_and_nothing_else(world, pointsman):
    world.start("lab", SLEEPER, port=8650, owner="up", env={})
    with subprocess.Popen(SLEEPER, start_new_session=True) as other:
        try:
            assert pointsman("down", "--json").document == {"stopped": ["lab"]}
            assert not alive(world.processes["lab"].pid)
            assert alive(other.pid)
            assert pointsman("down", "--json").document == {"stopped": []}
        finally:
            other.kill()
    assert json.loads((world.home / "world.json").read_text()) == {}


def test_what_stays_up_does_not_carry_the_token_of_who_started_it(world, monkeypatch, tmp_path):
    monkeypatch.setenv("POINTSMAN_TOKEN", "pm_0_secret")
    told = tmp_path / "environment"
    world.start("lab", ["/bin/sh", "-c", f"env > {told}.part; mv {told}.part {told}"], port=1, owner="up", env={})
    until = time.monotonic() + 10
    while not told.is_file() and time.monotonic() < until:
        time.sleep(0.01)
    assert "pm_0_secret" not in told.read_text()


def test_a_process_that_is_alone_has_no_variable_but_its_own(world, monkeypatch, tmp_path):
    monkeypatch.setenv("OF_THE_HOST", "for nobody")
    told = tmp_path / "environment"
    tell = ["/bin/sh", "-c", f"env > {told}.part; mv {told}.part {told}"]
    world.start("lab", tell, port=1, owner="up", env={"PATH": os.environ["PATH"], "ITS_OWN": "1"}, alone=True)
    until = time.monotonic() + 10
    while not told.is_file() and time.monotonic() < until:
        time.sleep(0.01)
    names = {line.partition("=")[0] for line in told.read_text().splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {"PATH", "ITS_OWN"}
