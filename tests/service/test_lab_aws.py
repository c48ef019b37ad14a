"""When a command starts the lab's AWS, and when it keeps its hands off."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from pointsman.benchmark import register_environment
from pointsman.scenario import Fault, Scenario, Stage
from pointsman.scenario.readings import Observe
from pointsman.workspace import Workspace
from service.cli import lab_aws
from service.cli.world import World

FAULT = Fault(template="lab-stop-workers", offset_s=5, duration_s=5)
FAULTY = Scenario(name="faulty", stages=(Stage(name="steady", rate=6, duration_s=20, fault=FAULT),))
QUIET = Scenario(name="quiet", stages=(Stage(name="steady", rate=1, duration_s=20),))
WATCHING = QUIET.model_copy(update={"observe": Observe(alarms=("one",))})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of processes that were started; they are ready at once."""
    names: list[str] = []

    def start(world: World, name: str, argv: Any, *, port: int, owner: str, env: Any) -> None:
        assert "lab.aws" in argv
        assert str(world.home / "lab" / "aws-url") in argv
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


def test_it_is_started_once_and_the_commands_own_environment_stays_as_it_was(
    started: list[str], world: World, ws: Workspace
) -> None:
    before = dict(os.environ)
    for scenario in (FAULTY, WATCHING):
        lab_aws.provide_lab_aws(world, ws, scenario, environment_id="lab")
    assert started == ["aws"]
    assert world.processes["aws"].owner == "up"
    assert dict(os.environ) == before


@pytest.mark.parametrize(("scenario", "environment"), [(QUIET, "lab"), (FAULTY, "uat")])
def test_it_is_left_alone_when_nothing_is_asked_of_it_and_for_other_environments(
    started: list[str], world: World, ws: Workspace, scenario: Scenario, environment: str
) -> None:
    lab_aws.provide_lab_aws(world, ws, scenario, environment_id=environment)
    assert started == []
