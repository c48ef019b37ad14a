"""The lab's AWS, started when a scenario with faults is first run against the lab."""

from __future__ import annotations

import os
import sys

from pointsman.benchmark import environment_kind
from pointsman.scenario import Scenario, faulty_stages
from pointsman.workspace import Workspace
from service.cli.world import World, executor_secret, free_port, sole_owner


def use_lab_aws(world: World, ws: Workspace, scenario: Scenario, *, environment_id: str) -> None:
    """Point this process at the lab's AWS if the scenario has faults for the lab, starting it where it is not up.

    Whoever runs such a scenario needs it, and whoever ends it. Only this process gets its address and made-up
    credentials; one that has AWS_ENDPOINT_URL is taken at its word.
    """
    if not faulty_stages(scenario) or environment_kind(ws, environment_id) != "local" or world.lab_url is None:
        return
    if os.environ.get("AWS_ENDPOINT_URL"):
        return
    if "aws" not in world.processes:
        with sole_owner(world.home):
            world.start(
                "aws",
                [sys.executable, "-m", "lab.aws", "--port", str(port := free_port()), "--effects-url", world.lab_url],
                port=port,
                owner=world.processes["lab"].owner,
                env={"STUDIO_EXECUTOR_SECRET": executor_secret(world.home)},
            )
    world.await_ready("aws")
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{world.processes['aws'].port}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = "of-the-lab"
    os.environ.pop("AWS_SESSION_TOKEN", None)
    os.environ.pop("AWS_PROFILE", None)
