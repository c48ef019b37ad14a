"""`pointsman doctor`: whether this machine has what Pointsman needs, and what to do where it has not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from pointsman.checks import own_folder, own_rules, probe_rules
from pointsman.clock import SystemClock
from pointsman.errors import DependencyDown, PointsmanError
from pointsman.settings import Settings, load_settings
from pointsman.storage import SharedResults, open_database, open_results
from service.cli.lab_ecs import ecs_home, missing_parts
from service.cli.output import JsonFlag, console, emit, open_workspace, table
from service.cli.world import World

_NEEDED_GB = 2


app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    drain: Annotated[
        bool, typer.Option("--drain", help="Instead, upload the results that could not be uploaded when S3 was out.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check every part. Exits 4 when one that is needed does not work."""
    if drain:
        _drain(as_json)
        return
    settings = load_settings()
    found = [{"part": part, "state": state, "detail": detail} for part, state, detail in _parts(settings)]
    rows = [(one["part"], one["state"], one["detail"]) for one in found]
    emit(as_json, found, lambda: table("Doctor", ("part", "state", "detail"), rows))
    broken = [one["part"] for one in found if one["state"] == "broken"]
    if broken:
        raise DependencyDown(
            f"Broken: {', '.join(broken)}.", instruction="The table says what to do for each.", code="doctor"
        )


def _drain(as_json: bool) -> None:
    """Twice, or while a run goes on, does no harm. Exits 4 when S3 is still out; everything then waits as before."""
    uploaded = open_workspace().results.drain().uploaded
    emit(as_json, {"uploaded": uploaded, "left": 0}, lambda: console.print(f"Uploaded {uploaded}; nothing waits."))


def _parts(settings: Settings) -> Iterator[tuple[str, str, str]]:
    looks: dict[str, Callable[[], str]] = {
        "ffmpeg": _ffmpeg,
        "home": lambda: _home(settings),
        "database": lambda: _database(settings),
        "results store": lambda: _results(settings),
        "data checks": lambda: _data_checks(settings),
    }
    if settings.runner_mode == "ecs":
        looks["ECS task events"] = _task_events
    for part, look in looks.items():
        try:
            yield part, "works", look()
        except (PointsmanError, OSError, subprocess.SubprocessError) as error:
            yield part, "broken", str(error)
    world = World.load(settings.home)
    api_url = world.prefect_api_url
    yield ("Prefect server", *_answers(f"{api_url}/health" if api_url else None))
    yield ("lab", *_answers(f"{world.lab_url}/healthz" if world.lab_url else None))
    yield ("ECS lab", *_ecs_lab(World.load(ecs_home(settings.home))))
    judge = f"Gemini ({settings.gemini_model})" if settings.gemini_api_key else "local: GEMINI_API_KEY is not set"
    yield "judge", "works", judge


def _ffmpeg() -> str:
    import imageio_ffmpeg

    shown = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-filters"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    if " libvmaf " not in shown.stdout:
        raise DependencyDown("This ffmpeg has no libvmaf.", instruction="Reinstall imageio-ffmpeg: `make demo`.")
    return str(imageio_ffmpeg.get_ffmpeg_version())


def _home(settings: Settings) -> str:
    settings.home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.home).free / 1e9
    if free < _NEEDED_GB:
        raise DependencyDown(f"{free:.1f} GB are free in {settings.home}.", instruction=f"Free {_NEEDED_GB} GB.")
    return f"{settings.home}, {free:.0f} GB free, Python {sys.version.split()[0]}"


def _data_checks(settings: Settings) -> str:
    folder = own_folder(settings)
    own = own_rules(folder)
    if folder is not None and own:
        probe_rules(folder)  # takes seconds, which only those wait for who have rules of their own
    return ", ".join(f"{name}: {count} rules of your own" for name, count in own.items()) or "the rules built in"


def _database(settings: Settings) -> str:
    return open_database(settings.database_url).url.render_as_string(hide_password=True)


def _results(settings: Settings) -> str:
    results = open_results(settings.results_uri, working=settings.home / "s3", clock=SystemClock())
    if not isinstance(results, SharedResults):
        return str(results)
    results.reach()
    waiting = results.waiting()
    return f"{results}; {waiting} files wait: `pointsman doctor --drain` uploads them" if waiting else str(results)


def _task_events() -> str:
    """The queue by which the worker of an `ecs` pool hears that a task has ended. Raises `DependencyDown`.

    A worker that was started before there was the queue does not read it, which only what waits there tells.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    queue = os.environ.get("PREFECT_INTEGRATIONS_AWS_ECS_OBSERVER_SQS_QUEUE_NAME", "prefect-ecs-tasks-events")
    limits = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
    try:
        sqs = boto3.client("sqs", config=limits)
        url = str(sqs.get_queue_url(QueueName=queue)["QueueUrl"])
        told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
    except (BotoCoreError, ClientError) as error:
        raise DependencyDown(
            f"Nobody hears of ECS tasks that die before their missed heartbeats tell: the queue {queue} cannot be had: "
            f"{error}.",
            instruction=f"Make it (aws sqs create-queue --queue-name {queue}), then start the ECS worker again",
            code="ecs_events_missing",
        ) from error
    waiting = int(told["Attributes"]["ApproximateNumberOfMessages"])
    return f"{url}; {waiting} events wait: where they become more, start the ECS worker again" if waiting else url


def _ecs_lab(world: World) -> tuple[str, str]:
    if not world.processes:
        return "not up", "`pointsman up --ecs` starts it"
    if missing := missing_parts(world):
        return "broken", f"{', '.join(missing)} ended; run `pointsman down`, then `pointsman up --ecs`"
    return _answers(f"{world.aws_url}/healthz")


def _answers(url: str | None) -> tuple[str, str]:
    if url is None:
        return "not up", "`pointsman up` starts it"
    import httpx

    try:
        status = httpx.get(url, timeout=5).status_code
    except httpx.TransportError as error:
        return "broken", f"{url}: {error}; run `pointsman down`, then `pointsman up`"
    return ("works", url) if status == 200 else ("broken", f"{url} answers {status}")
