"""`pointsman watch`: one look at a route, as the flow of that name takes on a schedule."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pointsman.benchmark import input_set as known_inputs
from pointsman.settings import load_settings
from service.cli.approving import once_approved
from service.cli.continuing import run_to_continue
from service.cli.lab_setup import INPUT_SET
from service.cli.output import JsonFlag, ProductionOption, console, emit, open_workspace, table
from service.cli.route import GatewayOption
from service.cli.route_naming import RouteArgument, route_of
from service.cli.running import connect, request, run_flow

app = typer.Typer(add_completion=False)


@app.command()
def watch(
    route: RouteArgument = None,
    jobs: Annotated[int, typer.Option(help="Routed jobs, sent as traffic is.")] = 20,
    mirror: Annotated[
        bool, typer.Option(help="Also run the variant on every input, judge and price what comes out.")
    ] = True,
    judge: Annotated[str, typer.Option(help="Name of a saved judge block.")] = "auto",
    input_set: Annotated[str, typer.Option(help="Inputs of the jobs.")] = INPUT_SET,
    target: Annotated[str, typer.Option(help="Target that serves the route.")] = "lab",
    gateway: GatewayOption = None,
    production: ProductionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Does the gateway show what is recorded, and does production keep what the verdict promised? Exits 1 if not."""
    ws = open_workspace()
    key = route_of(ws, route)
    known_inputs(ws, input_set)
    connect()

    def load() -> Any:
        from flows.watch_routing import watch_routing

        return watch_routing

    from flows.watch_routing import WatchRoutingRequest

    asked = request(
        WatchRoutingRequest,
        route_key=str(key),
        input_set=input_set,
        jobs=jobs,
        mirror=mirror,
        judge=judge,
        gateway=gateway,
        target=target,
        production=production,
    )
    with run_to_continue(load_settings().home, "watch", asked.model_dump(mode="json")) as named:
        look = asked.model_copy(update={"run_id": named})
        found = once_approved(ws, lambda: run_flow(load, look))
    from tasks.watched import answer

    def render() -> None:
        rows = [(one["name"], one["promised"], one["found"], one["state"]) for one in found.promises]
        if rows:
            table(f"Promises of {key}", ("promise", "promised", "found", "state"), rows)
        console.print(f"Generation {found.generation}: {answer(found)}", markup=False)
        if found.expired:
            console.print(f"The verdict has expired: {found.expired}.", markup=False)
        if found.confirmed:
            console.print("The switch is confirmed: what served before is held no longer.", markup=False)

    emit(as_json, found.model_dump(mode="json"), render)
