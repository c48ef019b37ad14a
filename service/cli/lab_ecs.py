"""The world of `pointsman up --ecs`: the lab, and all that flow runs which are ECS tasks share with each other.

It has a home of its own, the folder `ecs` of the home: its state is in PostgreSQL and its results are in S3, which both
begin empty, because the lab's S3 goes with `down`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pointsman.errors import Conflict, DependencyDown
from pointsman.settings import AwsPlace
from pointsman.storage import open_database, write_atomically
from service.cli.ecs_resources import BUCKET, REGION, make_ecs_resources
from service.cli.lab_aws import start_lab_aws
from service.cli.lab_setup import gateway_file, start_servers, use_world
from service.cli.world import World, executor_secret, free_port

WORKER = "ecs-worker"
_MARK = "# Written by `pointsman up --ecs`, and written anew by the next.\n"
_OF_THE_LAB = "of-the-lab"
_DATABASE_WITHIN_S = 30.0
_WORKER_WITHIN_S = 60.0


def ecs_home(home: Path) -> Path:
    """Where the ECS world of this home lies; the home itself where it is one."""
    path = home / "config.toml"
    ours = path.is_file() and path.read_text().startswith(_MARK)
    return home if ours else home / "ecs"


def start_shared_lab(world: World, *, prefect_port: int, lab_port: int, prefix: str) -> None:
    """Start Prefect, the lab, its database and its AWS with what ECS tasks need, and point this process at them.

    Raises `Conflict` where only a part of it is up, and `DependencyDown` for what is not installed or does not start.
    """
    missing = missing_parts(world)
    if not missing:
        _use(world)
        return
    if world.processes:
        raise Conflict(
            f"A part of the ECS lab in {world.home} has ended: {', '.join(missing)}. Another does not know its state.",
            instruction="Run `pointsman down`, then `pointsman up --ecs`",
            code="half_up",
        )
    for module, extra in (("psycopg", "postgres"), ("prefect_aws", "aws"), ("moto", "lab")):
        if find_spec(module) is None:
            raise DependencyDown(
                f"The extra `{extra}` is not installed.", instruction="Run `make up-ecs`.", code="not_installed"
            )
    database_url = _database(world)
    shared = {"database_url": database_url, "results_uri": f"s3://{BUCKET}", "runner_mode": "ecs"}
    _configure(world.home, {**shared, "prefect_prefix": prefix})
    start_servers(
        world,
        prefect_port=prefect_port,
        lab_port=lab_port,
        owner="up",
        prefect_database_url=_prefect_database(database_url) if "database" in world.processes else None,
    )
    world.await_ready("lab")
    start_lab_aws(world)
    world.await_ready("aws")
    _use(world)
    make_ecs_resources(
        _client,
        database_url=database_url,
        executor_secret=executor_secret(world.home),
        prefix=prefix,
        prefect_api_url=world.prefect_api_url or "",
    )


def start_ecs_worker(world: World, pool: str) -> None:
    """Start what makes an ECS task of every flow run of this pool, where it is not up, and wait until Prefect has
    heard of it. Raises `DependencyDown`."""
    if WORKER in world.processes:
        return
    home = world.home / WORKER
    home.mkdir(parents=True, exist_ok=True)
    environment = ecs_worker_environment(world.prefect_api_url or "", world.aws_url or "", home)
    world.start(WORKER, ecs_worker_argv(pool), port=None, owner="up", env=environment, alone=True)
    _await(
        lambda: _is_online(pool),
        lambda: WORKER in World.load(world.home).processes,
        within_s=_WORKER_WITHIN_S,
        otherwise=_not_ready(world, WORKER, "The ECS worker"),
    )


def ecs_worker_argv(pool: str) -> list[str]:
    return [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "ecs"]


def ecs_worker_environment(prefect_api_url: str, aws_url: str, home: Path) -> dict[str, str]:
    """All variables of the worker: a home of its own, and no PREFECT_* setting that a task should not have as well."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PREFECT_API_URL": prefect_api_url,
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_WORKER_ENABLE_CANCELLATION": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **_aws_environment(aws_url),
    }


def ecs_environment(world: World) -> dict[str, str]:
    """What a process needs to work with this world; the rest is in its `config.toml`."""
    return {"POINTSMAN_HOME": str(world.home), **_aws_environment(world.aws_url or "")}


def missing_parts(world: World) -> list[str]:
    """The processes of the ECS lab that are not up. Of a server that the environment names it has none."""
    named = {"POINTSMAN_DATABASE_URL": "database", "PREFECT_API_URL": "prefect"}
    elsewhere = {part for variable, part in named.items() if os.environ.get(variable)}
    wanted = ("database", "prefect", "lab", "aws", "worker", WORKER)
    return [name for name in wanted if name not in world.processes and name not in elsewhere]


def _use(world: World) -> None:
    use_world(world)
    os.environ.update(ecs_environment(world))


def _aws_environment(aws_url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": _OF_THE_LAB,
        "AWS_SECRET_ACCESS_KEY": _OF_THE_LAB,
    }


def _client(service: str) -> Any:
    return AwsPlace("local", REGION).open().client(service, None)


def _configure(home: Path, settings: Mapping[str, str]) -> None:
    """What every process with this home resolves by itself. It holds the database's password, for its owner alone."""
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items() if value]
    write_atomically(home / "config.toml", "".join([_MARK, *lines]).encode())


def _database(world: World) -> str:
    """The URL of the PostgreSQL that the environment names, or of one that is started, without anything of before."""
    given = os.environ.get("POINTSMAN_DATABASE_URL", "")
    if given.startswith("postgresql"):
        open_database(given).dispose()
        return given
    for stale in (gateway_file(world.home).parent, world.home / "s3"):
        shutil.rmtree(stale, ignore_errors=True)
    port, password = free_port(), secrets.token_urlsafe(24)
    argv = [sys.executable, "-m", "lab.postgres", "--port", str(port), "--home", str(world.home / "lab" / "postgres")]
    world.start("database", argv, port=port, owner="up", env={"PGPASSWORD": password})
    url = f"postgresql+psycopg://pointsman:{password}@127.0.0.1:{port}/postgres"
    _await(
        lambda: _answers(url),
        lambda: "database" in World.load(world.home).processes,
        within_s=_DATABASE_WITHIN_S,
        otherwise=_not_ready(world, "database", "The lab's PostgreSQL"),
    )
    return url


def _prefect_database(server: str) -> str:
    """Of its own, on the server that was started: SQLite's one writer is too few for the events of many tasks."""
    url = sa.make_url(server)
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE prefect")
    found = url.set(drivername="postgresql+asyncpg", database="prefect")
    return found.render_as_string(hide_password=False)


def _answers(url: str) -> bool:
    try:
        open_database(url, migrate=False).dispose()
    except DependencyDown:
        return False
    return True


def _is_online(pool: str) -> bool:
    from prefect.client.orchestration import get_client

    from blocks import is_looked_after

    with get_client(sync_client=True) as client:
        return is_looked_after(client, pool)


def _await(true: Callable[[], bool], lives: Callable[[], bool], *, within_s: float, otherwise: DependencyDown) -> None:
    until = time.monotonic() + within_s
    while not true():
        if not lives() or time.monotonic() > until:
            raise otherwise
        time.sleep(0.1)


def _not_ready(world: World, name: str, called: str) -> DependencyDown:
    return DependencyDown(
        f"{called} did not become ready.",
        instruction=f"Read {world.home / 'logs' / f'{name}.log'}; then `pointsman down` and the same command again.",
        code=f"{name.replace('-', '_')}_not_ready",
    )
