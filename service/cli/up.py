"""`pointsman up`: the world for a person to browse, left running."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from deployments.bootstrap import Installation, bootstrap, local_pool
from pointsman.settings import load_settings
from service.cli.lab_aws import start_lab_aws
from service.cli.lab_setup import prepare_lab
from service.cli.output import JsonFlag, console, emit
from service.cli.world import LAB_PORT, PREFECT_PORT, World, prefect_environment, sole_owner

app = typer.Typer(add_completion=False)


@app.command()
def up(
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server.")] = PREFECT_PORT,
    lab_port: Annotated[int, typer.Option(help="Port of the lab's effects backend.")] = LAB_PORT,
    as_json: JsonFlag = False,
) -> None:
    """Start Prefect, a worker, the lab and its AWS where they are not up, deploy every flow, leave all running."""
    settings = load_settings()
    home = settings.home
    with sole_owner(home):
        world = World.load(home)
        prepare_lab(world, prefect_port=prefect_port, lab_port=lab_port, owner="up")
        start_lab_aws(world)  # it gets ready while the flows are deployed
        environment = world_environment(world)
        bootstrap(Installation(settings.prefect_prefix), environment)
        if "worker" not in world.processes:
            pool = ("--pool", local_pool(settings.prefect_prefix), "--type", "process")
            argv = [sys.executable, "-m", "prefect", "worker", "start", *pool]
            world.start("worker", argv, port=None, owner="up", env=environment)
        world.await_ready("aws")
    document = {"prefect_ui": (world.prefect_api_url or "").removesuffix("/api"), "lab": world.lab_url}

    def render() -> None:
        console.print(f"Prefect UI  {document['prefect_ui']}")
        console.print(f"Lab         {document['lab']}")
        console.print("Next: `pointsman demo`, or start choose-route from the UI. `pointsman down` ends all of it.")

    emit(as_json, document, render)


def world_environment(world: World) -> dict[str, str]:
    """What a Prefect process that runs our flows needs to find everything."""
    return {
        **prefect_environment(world.home),
        "PREFECT_API_URL": world.prefect_api_url or "",
        "POINTSMAN_HOME": str(world.home),
    }
