"""Gateways: saving and showing one, and letting another one show a route."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.blocks import save_blocks
from pointsman.errors import Conflict, InputRefused
from pointsman.routing import GatewaySpec, in_words, move_route, read_gateway, routes_shown_by, shown_by
from pointsman.workspace import Workspace
from service.cli.approving import acting
from service.cli.output import JsonFlag, YesFlag, agree, console, emit, open_workspace, table
from service.cli.route_naming import RouteArgument, route_of
from service.cli.running import connect


def gateway_command(
    name: Annotated[str, typer.Argument(help="What the gateway is called: lower-case letters, digits, dashes.")],
    file: Annotated[Path | None, typer.Option("--set", help="TOML file that describes it; else it is shown.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show or save a gateway: a flagd file, rules of a load balancer, or a hosted configuration of AppConfig."""
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name):
        raise InputRefused("gateway", name, "lower-case letters, digits, dashes")
    spec = None if file is None else read_gateway(file)
    if spec is not None:
        _keep_places(open_workspace(), name, spec)
    connect()
    from blocks import GatewayBlock
    from tasks.opening import gateway_spec

    if spec is not None:
        save_blocks({f"gateway/{name}": (GatewayBlock.get_block_type_slug(), spec)})
    document = gateway_spec(name).model_dump(mode="json", exclude_none=True)
    emit(as_json, document, lambda: table(f"Gateway {name}", ("field", "value"), list(document.items())))


def move_command(
    to: Annotated[str, typer.Option(help="Name of the saved gateway that is to show the route.")],
    route: RouteArgument = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Let another gateway show a route, beginning with what serves it now; for admins. The one before is not asked."""
    ws = open_workspace()
    key = route_of(ws, route)
    connect()
    from tasks.opening import gateway_spec

    gateway_spec(to)
    held = shown_by(ws, key)
    agree(yes, key, f"Move {key} from the gateway {held.gateway if held else '(none)'} to {to}.")
    moved = move_route(ws, key, to, gateway_spec, acting(ws))
    document: dict[str, Any] = {
        "route_key": str(key),
        "before": {"gateway": moved.before.gateway, "place": moved.before.place} if moved.before else None,
        "now": {"gateway": moved.now.gateway, "place": moved.now.place},
        "generation": moved.serves.generation if moved.serves else None,
    }

    def render() -> None:
        console.print(f"{key} is shown by {to}, {moved.now.place}.", markup=False, soft_wrap=True)
        if moved.serves is not None:
            console.print(f"Generation {moved.serves.generation}: {in_words(moved.serves)}.", markup=False)
        if moved.before is not None and moved.before.place != moved.now.place:
            left = f"Whoever still asks {moved.before.gateway}, {moved.before.place}, gets what it showed before."
            console.print(left, markup=False, soft_wrap=True)

    emit(as_json, document, render)


def _keep_places(ws: Workspace, name: str, spec: GatewaySpec) -> None:
    """A gateway that shows routes stays where it is: going back must find it there."""
    for held in routes_shown_by(ws, name):
        place = spec.place(held.route_key)
        if place != held.place:
            raise Conflict(
                f"The gateway {name} shows {held.route_key} in {held.place}, and would be {place}.",
                instruction=f"Save it under another name, then: pointsman route move {held.route_key} --to NAME",
                code="gateway_in_use",
                route_key=str(held.route_key),
            )
