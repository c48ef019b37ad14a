"""The lab's AWS: started with `up`, or by the first command that needs it where the lab was started otherwise."""

from __future__ import annotations

import sys

from pointsman.benchmark import environment_kind
from pointsman.scenario import Scenario, asks_aws
from pointsman.settings import lab_aws_file
from pointsman.workspace import Workspace
from service.cli.world import World, executor_secret, free_port, sole_owner


def start_lab_aws(world: World) -> None:
    """Start it beside the lab, which must answer already, where it is not up; it is ready a second or two later.

    Every process with this home then finds its address by itself, and shows it made-up credentials: see `AwsPlace`.
    """
    if "aws" in world.processes:
        return
    assert world.lab_url is not None
    port = free_port()
    argv = [sys.executable, "-m", "lab.aws", "--port", str(port), "--effects-url", world.lab_url]
    argv += ["--url-file", str(lab_aws_file(world.home))]
    secret = {"STUDIO_EXECUTOR_SECRET": executor_secret(world.home)}
    world.start("aws", argv, port=port, owner=world.processes["lab"].owner, env=secret)


def provide_lab_aws(world: World, ws: Workspace, scenario: Scenario, *, environment_id: str) -> None:
    """Have the lab's AWS up and ready if the scenario asks anything of it."""
    local = environment_kind(ws, environment_id) == "local"
    if not local or not asks_aws(scenario) or world.lab_url is None:
        return
    if "aws" not in world.processes:
        with sole_owner(world.home):
            start_lab_aws(world)
    world.await_ready("aws")
