"""`pointsman benchmark`: run a matrix, continue one, stop one, look at one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pointsman.benchmark import MatrixRun, cancel_matrix, list_matrix_runs, list_variants, matrix_run
from pointsman.benchmark import input_set as known_inputs
from pointsman.errors import InputRefused
from pointsman.ids import RouteKey
from pointsman.settings import load_settings
from service.cli.approving import once_approved
from service.cli.continuing import run_to_continue
from service.cli.lab_setup import INPUT_SET
from service.cli.naming import short_names
from service.cli.output import JsonFlag, ProductionOption, console, emit, open_workspace, table
from service.cli.running import connect, request, run_flow

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Run a matrix of variants and inputs, continue, stop, look at one.",
)

_LISTED = 50


@app.command()
def run(
    benchmark_id: Annotated[str | None, typer.Option(help="Continue this one (bm_...).")] = None,
    again: Annotated[str | None, typer.Option(help="Measure the cells of this one (bm_...) anew.")] = None,
    route: Annotated[str | None, typer.Option(help="A new one: every enabled variant of this route ...")] = None,
    input_set: Annotated[str, typer.Option(help="... on this input set.")] = INPUT_SET,
    repeats: Annotated[int | None, typer.Option(min=1, max=100, help="Runs of each variant on each input.")] = None,
    production: ProductionOption = None,
    fall_back_inline: Annotated[
        bool, typer.Option("--fall-back-inline", help="Run the cells here when ECS cannot be used.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run every variant on every input in randomised rounds."""
    if (benchmark_id, again, route).count(None) != 2:
        raise InputRefused("--route, --benchmark-id, --again", [benchmark_id, again, route], "exactly one of them")
    if benchmark_id and repeats is not None:
        raise InputRefused("--repeats", repeats, "no other repeats for a benchmark that is continued")
    fields = _continued(benchmark_id, again) if benchmark_id or again else _new(str(route), input_set)
    if repeats is not None:
        fields["repeats"] = repeats
    fields["production"] = production
    connect()

    def load() -> Any:
        from flows.benchmark_matrix import benchmark_matrix

        return benchmark_matrix

    from flows.benchmark_matrix import BenchmarkMatrixRequest

    given = fields.pop("run_id", None)
    with run_to_continue(load_settings().home, "benchmark", {**fields, "again": again}, given=given) as named:
        asked_for = request(BenchmarkMatrixRequest, run_id=named, fall_back_inline=fall_back_inline, **fields)
        ended = once_approved(open_workspace(), lambda: run_flow(load, asked_for))
    _present(ended, as_json)


def _continued(benchmark_id: str | None, again: str | None) -> dict[str, Any]:
    known = matrix_run(open_workspace(), str(benchmark_id or again))
    return {
        "variants": tuple(str(one.id) for one in known.variants),
        "input_set": known.input_set_id,
        "repeats": known.repeats,
        "seed": known.seed,
        "round_cells": known.round_cells,
        "in_flight_per_provider": known.in_flight_per_provider,
        "run_id": known.parent_run_id if benchmark_id else None,
    }


def _new(route: str, input_set: str) -> dict[str, Any]:
    key = RouteKey.parse(route)
    ws = open_workspace()
    known_inputs(ws, input_set)
    found = list_variants(
        ws,
        effect_revision=key.effect_revision,
        environment=key.environment,
        stage=key.stage,
        enabled=True,
    )
    if not found:
        raise InputRefused("--route", route, "the route of an enabled variant", instruction="pointsman variants list")
    return {"variants": tuple(str(one.id) for one in found), "input_set": input_set}


@app.command()
def show(
    benchmark_id: Annotated[str | None, typer.Argument(help="bm_...; left out: all matrices, newest first.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show how a matrix stands; without an id, list them."""
    if benchmark_id is None:
        _list(as_json)
    else:
        _present(benchmark_id, as_json)


@app.command()
def cancel(
    benchmark_id: Annotated[str, typer.Argument(help="bm_..., as `benchmark show` lists it.")],
    reason: Annotated[str, typer.Option(help="Kept with the matrix.")] = "asked by an operator",
    as_json: JsonFlag = False,
) -> None:
    """Stop a matrix: whoever runs it ends its jobs within seconds. Continuing it runs the cells that were not run."""
    cancel_matrix(open_workspace(), benchmark_id, reason=reason)
    _present(benchmark_id, as_json)


def _list(as_json: bool) -> None:
    runs = list_matrix_runs(open_workspace(), limit=_LISTED)
    rows = [(one.id, one.status, one.input_set_id, len(one.variants), one.planned) for one in runs]
    columns = ("benchmark", "status", "input set", "variants", "cells")
    emit(as_json, [_document(one) for one in runs], lambda: table("Benchmarks", columns, rows))


def _present(benchmark_id: str, as_json: bool) -> None:
    known = matrix_run(open_workspace(), benchmark_id)

    def render() -> None:
        table(f"{known.id}: {known.status}", ("cells", "count"), sorted(known.counts.items()))
        console.print(f"Input set  {known.input_set_id}, repeats {known.repeats}, seed {known.seed}", soft_wrap=True)
        console.print(f"Variants   {', '.join(short_names(known.variants))}", soft_wrap=True)
        console.print(f"Next       {_next(known)}", soft_wrap=True)

    emit(as_json, _document(known), render)


def _document(known: MatrixRun) -> dict[str, Any]:
    return {
        "id": known.id,
        "status": known.status,
        "input_set": known.input_set_id,
        "variants": [str(one.id) for one in known.variants],
        "repeats": known.repeats,
        "seed": known.seed,
        "planned": known.planned,
        "counts": dict(known.counts),
    }


def _next(known: MatrixRun) -> str:
    step = {"collected": "evaluate", "ready": "hud show"}.get(known.status, "benchmark run --benchmark-id")
    return f"pointsman {step} {known.id}"
