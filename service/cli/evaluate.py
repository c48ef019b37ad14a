"""`pointsman evaluate`: judge a benchmark's outputs, then decide and show the HUD."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pointsman.benchmark import matrix_run
from pointsman.decision import read_hud
from pointsman.errors import InputRefused
from pointsman.routing import current
from service.cli.hud_view import fail_if_invalid, show_hud
from service.cli.naming import one_variant
from service.cli.output import JsonFlag, emit, open_workspace
from service.cli.running import connect, request, run_flow

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    benchmark_id: Annotated[str, typer.Argument(help="bm_... of a matrix whose cells are all run.")],
    judge: Annotated[str, typer.Option(help="auto, local or gemini (names of judge blocks).")] = "auto",
    reopen: Annotated[bool, typer.Option(help="Ask a judge again that was given up before.")] = False,
    incumbent: Annotated[str | None, typer.Option(help="Variant to beat; default: what the route has now.")] = None,
    fall_back_inline: Annotated[
        bool, typer.Option("--fall-back-inline", help="Judge here when ECS cannot be used.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Judge every output with one judge and decide. The same command continues an interrupted one."""
    ws = open_workspace()
    key = matrix_run(ws, benchmark_id).variants[0].id.route_key
    binding = current(ws, key)
    serving = binding.sole_variant if binding else None
    beaten = one_variant(ws, "--incumbent", incumbent).id if incumbent else serving
    if beaten is None:
        raise InputRefused("--incumbent", incumbent, f"a variant of {key}, whose binding names no single one")
    connect()

    def load_judging() -> Any:
        from flows.evaluate_quality import evaluate_quality

        return evaluate_quality

    def load_hud() -> Any:
        from flows.money_hud import money_hud

        return money_hud

    from flows.evaluate_quality import EvaluateQualityRequest
    from flows.money_hud import MoneyHudRequest

    judging = {"judge": judge, "reopen": reopen, "fall_back_inline": fall_back_inline}
    set_id = run_flow(load_judging, request(EvaluateQualityRequest, benchmark_id=benchmark_id, **judging))
    asked = request(
        MoneyHudRequest, benchmark_id=benchmark_id, evaluation_set_id=set_id, incumbent=str(beaten), judge=judge
    )
    hud = read_hud(ws, run_flow(load_hud, asked).verdict_id)
    emit(as_json, hud, lambda: show_hud(hud))
    fail_if_invalid(hud)
