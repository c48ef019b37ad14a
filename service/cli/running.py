"""Running a flow from the command line: in this process, against the Prefect server that is up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pointsman.errors import DependencyDown, InputRefused, RunFailed
from pointsman.settings import load_settings
from service.cli.lab_setup import use_world
from service.cli.world import World

_HAND_OVER_S = 10.0
M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")


def request(model: type[M], **fields: Any) -> M:
    """Build a request model; the first thing wrong with it becomes an `InputRefused` that names the field."""
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or model.__name__
        raise InputRefused(field, first.get("input"), _allowed(first["msg"])) from error


def _allowed(said: str) -> str:
    """What pydantic says is wrong, as what is allowed."""
    for opening in ("Value error, ", "allowed: ", "Input should be "):
        said = said.removeprefix(opening)
    return said


def connect() -> World:
    """Point this process at the world that is up. Raises `DependencyDown` when no Prefect server is known."""
    world = World.load(load_settings().home)
    if world.prefect_api_url is None:
        raise DependencyDown("No Prefect server is up.", instruction="pointsman up", code="prefect_unreachable")
    use_world(world)
    return world


def run_flow(load: Callable[[], Callable[[Any], R]], asked: BaseModel) -> R:
    """Call the flow that `load` imports. Prefect is imported only here, after `connect` set its environment.

    Raises the flow's own `PointsmanError`, `DependencyDown` when the Prefect server goes away, and `RunFailed` when
    Prefect itself ends the run.
    """
    import httpx
    from prefect.exceptions import PrefectException

    flow = load()
    logging.raiseExceptions = False  # else Prefect tells stderr of every batch of logs that it could not deliver
    reached = True
    try:
        return flow(asked)
    except (PrefectException, httpx.HTTPError, RuntimeError) as error:
        if not _is_out_of_reach(error):
            if isinstance(error, RuntimeError):
                raise  # Prefect uses it for a server out of reach; any other one is a bug of ours
            raise RunFailed(
                f"Prefect ended the run: {type(error).__name__}: {str(error)[:300]}.",
                instruction="Read the run's logs in the Prefect UI; then run the same command again.",
                code="prefect_ended_run",
            ) from error
        reached = False
        raise DependencyDown(
            f"The Prefect server does not answer: {type(error).__name__}: {str(error)[:200]}.",
            instruction="Run the same command again: it starts the server and continues.",
            code="prefect_unreachable",
        ) from error
    finally:
        if reached:
            hand_over()


def _is_out_of_reach(error: BaseException) -> bool:
    """Whether the server did not answer, or answered that it cannot, anywhere in the chain of what led to `error`."""
    import httpx

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, httpx.TransportError):
            return True
        if isinstance(link, httpx.HTTPStatusError):
            return link.response.status_code >= 500
        link = link.__cause__ or link.__context__
    return False


def hand_over() -> None:
    """Wait, ten seconds at most, until the Prefect server has the logs and events that this process still holds.

    Prefect does so when the process exits, and without a limit: too late, when the server is stopped before.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    from tasks.opening import tell_sinks

    tell_sinks()
    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=_HAND_OVER_S)
