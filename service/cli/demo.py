"""`pointsman demo`: the whole chain on this machine, with real encodes, and what came of it."""

from __future__ import annotations

import time
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from pointsman.decision import read_hud
from pointsman.ids import RouteKey, VariantId, derive
from pointsman.routing import BindingRequest, apply_binding, current
from pointsman.settings import load_settings
from pointsman.storage import tables
from pointsman.workspace import Workspace
from service.cli.continuing import run_to_continue
from service.cli.hud_view import fail_if_invalid, show_hud, show_move
from service.cli.lab_setup import INPUT_SET, gateway_file, prepare_lab
from service.cli.output import JsonFlag, console, emit
from service.cli.progress import shown
from service.cli.report_page import write_report
from service.cli.running import request, run_flow
from service.cli.world import LAB_PORT, PREFECT_PORT, World, sole_owner

SCENARIO = {
    "name": "demo-load",
    "stages": [
        {"name": "ramp", "kind": "ramp", "rate": 1.0, "to_rate": 3.0, "duration_s": 1.0},
        {"name": "hold", "kind": "hold", "duration_s": 3.0},
    ],
    "arrivals": "poisson",
    "drain_limit_s": 30.0,
}


app = typer.Typer(add_completion=False)


@app.command()
def demo(
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server.")] = PREFECT_PORT,
    lab_port: Annotated[int, typer.Option(help="Port of the lab's effects backend.")] = LAB_PORT,
    seed: Annotated[int, typer.Option(min=0, help="Fixes arrivals, orders and the test.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Measure seven real ways of encoding the same clips, judge and price them, move the route to the winner."""
    home = load_settings().home
    begun = time.monotonic()
    with sole_owner(home):
        world = World.load(home)
        try:
            if not as_json:
                console.print("Starting Prefect and the lab; making the clips on the first run ...")
            incumbent = prepare_lab(world, prefect_port=prefect_port, lab_port=lab_port, owner="demo")
            with run_to_continue(home, "demo", {"seed": seed}) as run_id:
                outcome = _choose(world, incumbent, run_id, seed, quiet=as_json)
                report = write_report(world, outcome)
        finally:
            started = World.load(home)  # whatever this was stopped at
            started.stop([name for name, running in started.processes.items() if running.owner == "demo"])
    wall = time.monotonic() - begun
    outcome["wall_seconds"] = round(wall, 1)
    outcome["outside_measured_work_seconds"] = round(wall - outcome["measured_work_seconds"], 1)
    outcome["report"] = str(report)
    emit(as_json, outcome, lambda: _render(outcome))
    fail_if_invalid(outcome["hud"])


def _choose(world: World, incumbent: VariantId, run_id: str, seed: int, *, quiet: bool) -> dict[str, Any]:
    ws = Workspace.open(load_settings(), actor="cli")
    key = incumbent.route_key
    if not ws.results.exists(f"choose-route/{run_id}/plan.json"):
        _start_from(ws, incumbent, run_id)

    def choose_route() -> Any:
        from flows.choose_route import choose_route

        return choose_route

    from flows.choose_route import ChooseRouteRequest

    asked = request(
        ChooseRouteRequest,
        route_key=str(key),
        input_set=INPUT_SET,
        scenario=SCENARIO,
        dry_run=False,
        seed=seed,
        run_id=run_id,
    )
    with shown(ws, run_id, quiet=quiet):
        choice = run_flow(choose_route, asked)
    return {
        "run_id": run_id,
        "benchmark_id": choice.preparation.benchmark_id,
        "verdict_id": choice.decided.verdict_id,
        "hud": read_hud(ws, choice.decided.verdict_id),
        "moved": choice.moved.model_dump(mode="json") if choice.moved else None,
        "prefect_ui": (world.prefect_api_url or "").removesuffix("/api"),
        "prefect_stays": "prefect" not in world.processes or world.processes["prefect"].owner == "up",
        "flagd_file": str(gateway_file(world.home)),
        "measured_work_seconds": round(_measured_seconds(ws, run_id, choice.preparation.benchmark_id), 1),
    }


def _start_from(ws: Workspace, incumbent: VariantId, run_id: str) -> None:
    """Let every demo begin with the lab's incumbent on the route, also after an earlier demo moved it."""
    from tasks.opening import open_gateway

    serving = current(ws, incumbent.route_key)
    if serving is not None and serving.sole_variant != incumbent:
        door, why = open_gateway(str(incumbent.route_key), None), "the demo starts from the lab's incumbent"
        key = derive("demo start", run_id)
        apply_binding(ws, door, BindingRequest(incumbent.route_key, {incumbent: 100}, serving.generation, why, key))


def _measured_seconds(ws: Workspace, run_id: str, bm_id: str) -> float:
    """Seconds in which jobs or judgements ran: load tests, rounds, judging. The probe's few jobs are left out."""
    runs, items = tables.load_test_runs, tables.benchmark_matrix_run_items
    sets, judged = tables.evaluation_sets, tables.quality_evaluations
    spans = [
        sa.select(runs.c.started_at, runs.c.ended_at).where(runs.c.parent_run_id == run_id),
        sa.select(sa.func.min(items.c.started_at), sa.func.max(items.c.ended_at))
        .where(items.c.benchmark_id == bm_id)
        .group_by(items.c.round),
        sa.select(sets.c.created_at, sa.func.max(judged.c.created_at))
        .join(judged, judged.c.evaluation_set_id == sets.c.id)
        .where(sets.c.benchmark_id == bm_id)
        .group_by(sets.c.id, sets.c.created_at),
    ]
    with ws.database.begin() as connection:
        found = [row for span in spans for row in connection.execute(span)]
    return sum((end - start).total_seconds() for start, end in found if start and end)


def _render(outcome: dict[str, Any]) -> None:
    show_hud(outcome["hud"], moved=outcome["moved"] is not None)
    console.print()
    if outcome["moved"]:
        show_move(outcome["moved"])
    else:
        key = RouteKey.parse(outcome["hud"]["route_key"])
        console.print(f"No winner, so {key} keeps its binding.")
    wall, outside = outcome["wall_seconds"], outcome["outside_measured_work_seconds"]
    console.print(f"\n{wall:.0f} s in all, {outside:.0f} s of it outside measured work ({outside / wall:.0%}).")
    console.print(f"Report       {outcome['report']}", soft_wrap=True)
    console.print(f"Gateway      {outcome['flagd_file']}", soft_wrap=True)
    ui = f"{outcome['prefect_ui']}/v2 (artifacts)"
    port = outcome["prefect_ui"].rpartition(":")[2]
    up = "pointsman up" if port == str(PREFECT_PORT) else f"pointsman up --prefect-port {port}"
    console.print(f"Prefect UI   {ui if outcome['prefect_stays'] else f'`{up}`, then {ui}'}", soft_wrap=True)
    console.print(f"One cell     pointsman benchmark show {outcome['benchmark_id']}", soft_wrap=True)
