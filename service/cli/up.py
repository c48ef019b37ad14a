"""`pointsman up`: the world for a person to browse, left running."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any

import typer

from deployments.bootstrap import Installation, bootstrap, local_pool
from pointsman.settings import load_settings
from service.cli.ecs_resources import POOL_VARIABLES
from service.cli.lab_aws import start_lab_aws
from service.cli.lab_ecs import ecs_environment, ecs_home, start_ecs_worker, start_shared_lab
from service.cli.lab_setup import prepare_lab, register_offer
from service.cli.output import JsonFlag, console, emit
from service.cli.world import LAB_PORT, PREFECT_PORT, World, prefect_environment, sole_owner

app = typer.Typer(add_completion=False)


@app.command()
def up(
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server.")] = PREFECT_PORT,
    lab_port: Annotated[int, typer.Option(help="Port of the lab's effects backend.")] = LAB_PORT,
    ecs: Annotated[
        bool, typer.Option("--ecs", help="Besides, run flows as ECS tasks of the lab: state in PostgreSQL and S3.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start Prefect, a worker, the lab and its AWS where they are not up, deploy every flow, leave all running."""
    settings = load_settings()
    ecs = ecs or ecs_home(settings.home) == settings.home
    home = ecs_home(settings.home) if ecs else settings.home
    with sole_owner(home):
        world = World.load(home)
        ports = {"prefect_port": prefect_port, "lab_port": lab_port}
        wanted = Installation(settings.prefect_prefix)
        if ecs:
            wanted = Installation(settings.prefect_prefix, {"local": None, "ecs": None}, POOL_VARIABLES)
            start_shared_lab(world, prefix=settings.prefect_prefix, **ports)
            register_offer(world)
        else:
            prepare_lab(world, owner="up", **ports)
            start_lab_aws(world)  # it gets ready while the flows are deployed
        environment = world_environment(world) | (ecs_environment(world) if ecs else {})
        bootstrap(wanted, environment)
        if "worker" not in world.processes:
            pool = ("--pool", local_pool(settings.prefect_prefix), "--type", "process")
            argv = [sys.executable, "-m", "prefect", "worker", "start", *pool]
            world.start("worker", argv, port=None, owner="up", env=environment)
        if ecs:
            start_ecs_worker(world, wanted.pool("ecs"))
        world.await_ready("aws")
    document: dict[str, Any] = {"prefect_ui": (world.prefect_api_url or "").removesuffix("/api"), "lab": world.lab_url}
    if ecs:
        document |= {"aws": world.aws_url, "environment": ecs_environment(world)}

    def render() -> None:
        console.print(f"Prefect UI  {document['prefect_ui']}")
        console.print(f"Lab         {document['lab']}")
        if ecs:
            console.print(f"AWS         {document['aws']}")
            console.print("Start a flow of the pool `ecs` from the UI. Commands work with this world after:")
            exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in document["environment"].items())
            console.print(f"export {exports}", soft_wrap=True)
        else:
            console.print("Next: `pointsman demo`, or start choose-route from the UI.")
        console.print("`pointsman down` ends all of it.")

    emit(as_json, document, render)


def world_environment(world: World) -> dict[str, str]:
    """What a Prefect process that runs our flows needs to find everything."""
    return {
        **prefect_environment(world.home),
        "PREFECT_API_URL": world.prefect_api_url or "",
        "POINTSMAN_HOME": str(world.home),
    }
