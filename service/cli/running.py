"""Running a flow from the command line: in this process, against the Prefect server that is up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pointsman.errors import DependencyDown, InputRefused
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

    Raises the flow's own `PointsmanError`, and `DependencyDown` when the Prefect server goes away.
    """
    import httpx
    from prefect.exceptions import PrefectException

    flow = load()
    logging.raiseExceptions = False  # else Prefect tells stderr of every batch of logs that it could not deliver
    reached = True
    try:
        return flow(asked)
    except (PrefectException, httpx.TransportError) as error:
        reached = False
        raise DependencyDown(
            f"The Prefect server does not answer: {type(error).__name__}: {str(error)[:200]}.",
            instruction="Run the same command again: it starts the server and continues.",
            code="prefect_unreachable",
        ) from error
    finally:
        if reached:
            hand_over()


def hand_over() -> None:
    """Wait, ten seconds at most, until the Prefect server has the logs and events that this process still holds.

    Prefect does so when the process exits, and without a limit: too late, when the server is stopped before.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        worker.drain_all(timeout=_HAND_OVER_S)
