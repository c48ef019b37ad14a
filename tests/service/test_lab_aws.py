"""When a command points itself at the lab's AWS, and when it keeps its hands off."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from pointsman.benchmark import register_environment
from pointsman.scenario import Fault, Scenario, Stage
from pointsman.workspace import Workspace
from service.cli import lab_aws
from service.cli.world import World

FAULT = Fault(template="lab-stop-workers", offset_s=5, duration_s=5)
FAULTY = Scenario(name="faulty", stages=(Stage(name="steady", rate=1, duration_s=20, fault=FAULT),))
QUIET = Scenario(name="quiet", stages=(Stage(name="steady", rate=1, duration_s=20),))
NAMES = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of processes that were started; they are ready at once."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    names: list[str] = []

    def start(world: World, name: str, argv: Any, *, port: int, owner: str, env: Any) -> None:
        assert "lab.aws" in argv
        assert env["STUDIO_EXECUTOR_SECRET"]
        names.append(name)
        world.processes[name] = SimpleNamespace(port=port, owner=owner)  # type: ignore[assignment]

    monkeypatch.setattr(World, "start", start)
    monkeypatch.setattr(World, "await_ready", lambda world, name: None)
    return names


@pytest.fixture
def world(tmp_path: Any) -> World:
    found = World(tmp_path)
    found.processes["lab"] = SimpleNamespace(port=9, owner="up")  # type: ignore[assignment]
    return found


@pytest.fixture
def ws(tmp_path: Any) -> Workspace:
    from pointsman.settings import load_settings

    opened = Workspace.open(load_settings(home=tmp_path), actor="a test")
    register_environment(opened, "lab", name="Lab", kind="local")
    register_environment(opened, "uat", name="UAT", kind="staging")
    return opened


def test_it_is_started_once_and_only_this_process_is_pointed_at_it(
    started: list[str], world: World, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "of-a-person")
    lab_aws.use_lab_aws(world, ws, FAULTY, environment_id="lab")
    assert started == ["aws"]
    assert world.processes["aws"].owner == "up"
    assert os.environ["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{world.processes['aws'].port}"
    assert os.environ["AWS_ACCESS_KEY_ID"] == os.environ["AWS_SECRET_ACCESS_KEY"] == "of-the-lab"
    assert "AWS_PROFILE" not in os.environ
    del os.environ["AWS_ENDPOINT_URL"]
    lab_aws.use_lab_aws(world, ws, FAULTY, environment_id="lab")
    assert started == ["aws"]


@pytest.mark.parametrize(("scenario", "environment"), [(QUIET, "lab"), (FAULTY, "uat")])
def test_it_is_left_alone_without_faults_and_for_other_environments(
    started: list[str], world: World, ws: Workspace, scenario: Scenario, environment: str
) -> None:
    lab_aws.use_lab_aws(world, ws, scenario, environment_id=environment)
    assert started == []
    assert "AWS_ENDPOINT_URL" not in os.environ


def test_who_named_an_address_is_taken_at_their_word(
    started: list[str], world: World, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    lab_aws.use_lab_aws(world, ws, FAULTY, environment_id="lab")
    assert started == []
    assert os.environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"
