"""Opening what a task works with: the workspace from settings, and Specs from the Blocks that save them."""

from __future__ import annotations

import atexit
from functools import cache
from typing import TypeVar

from prefect.blocks.core import Block
from prefect.runtime import flow_run

from blocks import GatewayBlock, JudgeBlock, PriceBookBlock, TargetBlock, open_sink
from pointsman.actions import Courier, deliver
from pointsman.dispatch import TargetSpec
from pointsman.economics import PriceBook
from pointsman.errors import NotFound
from pointsman.ids import RouteKey
from pointsman.quality import JudgeSpec
from pointsman.routing import Gateway, GatewaySpec, gateway_of
from pointsman.settings import Secret, handed_out, load_settings
from pointsman.workspace import Workspace

_LAST_ROUND_S = 5.0
B = TypeVar("B", bound=Block)


@cache
def _opened(database_url: str, results_uri: str, actor: str) -> Workspace:
    return Workspace.open(load_settings(database_url=database_url, results_uri=results_uri), actor=actor)


def open_workspace() -> Workspace:
    """The workspace of the settings; the actor is the flow run. From now on the sinks hear what its log says."""
    settings = load_settings()
    _courier(settings.database_url, settings.results_uri)
    return _opened(settings.database_url, settings.results_uri, f"flow-run:{flow_run.id or 'none'}")


@cache
def _courier(database_url: str, results_uri: str) -> Courier:
    """One for each database that this process opens; it makes its last round when the process ends."""
    settings = load_settings(database_url=database_url, results_uri=results_uri)
    ws = _opened(database_url, results_uri, "courier")
    courier = Courier(lambda: deliver(ws, open_sink, secrets=(*settings.secrets, *handed_out())))
    courier.start()
    atexit.register(courier.stop, wait_s=_LAST_ROUND_S)
    return courier


def tell_sinks() -> None:
    """Tell the sinks now what the log of this process's settings says, for a process that is about to end."""
    settings = load_settings()
    _courier(settings.database_url, settings.results_uri).flush()


def executor_secret() -> Secret | None:
    return load_settings().executor_secret


def _load(kind: type[B], name: str) -> B:
    try:
        return kind.load(name)
    except ValueError as error:  # Prefect's answer for an unknown document
        slug = kind.get_block_type_slug()
        raise NotFound(
            f"block {slug}",
            name,
            "a saved block document",
            instruction=f"`prefect block ls` lists what is saved; `pointsman up` saves the lab's own {slug}.",
        ) from error


def open_target(name: str) -> TargetSpec:
    return _load(TargetBlock, name).spec


def open_judge(name: str) -> JudgeSpec:
    return _load(JudgeBlock, name).spec


def open_price_book(name: str) -> PriceBook:
    return _load(PriceBookBlock, name).spec.build()


def gateway_spec(name: str) -> GatewaySpec:
    return _load(GatewayBlock, name).spec


def open_gateway(route_key: str, named: str | None) -> Gateway:
    """The gateway that shows the route; the `named` one for a route without a binding.

    Raises `Conflict` (`other_gateway`) where another one is named.
    """
    return gateway_of(open_workspace(), RouteKey.parse(route_key), named, gateway_spec)
