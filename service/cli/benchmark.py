"""`pointsman benchmark`: plan a matrix, run one, continue or cancel one, look at one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.benchmark import (
    MatrixRun,
    cancel_matrix,
    cell_counts,
    cells_skipped,
    list_matrix_runs,
    list_variants,
    matrix_run,
)
from pointsman.benchmark import input_set as known_inputs
from pointsman.economics import PriceBookSpec
from pointsman.errors import InputRefused
from pointsman.ids import RouteKey, VariantId
from pointsman.matrix_preview import MatrixPreview, preview_matrix
from pointsman.model import Missing, Number, Variant
from pointsman.reporting import show as shown
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from service.cli import matrix_options as options
from service.cli.approving import once_approved
from service.cli.continuing import run_to_continue
from service.cli.lab_setup import INPUT_SET
from service.cli.naming import short_names
from service.cli.output import JsonFlag, ProductionOption, console, emit, open_workspace, table
from service.cli.running import connect, request, run_flow

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Plan a matrix of variants and inputs, run one, continue or cancel one, look at one.",
)

_LISTED = 50


@app.command()
def run(
    benchmark_id: Annotated[str | None, typer.Option(help="Continue this one (bm_...).")] = None,
    again: Annotated[str | None, typer.Option(help="Measure the cells of this one (bm_...) anew.")] = None,
    route: Annotated[str | None, typer.Option(help="A new one: every enabled variant of this route ...")] = None,
    input_set: Annotated[str, typer.Option(help="... on this input set.")] = INPUT_SET,
    workflow: options.Workflow = None,
    provider: options.Provider = None,
    experiment: options.Experiment = None,
    tag: options.Tag = None,
    repeats: Annotated[int | None, typer.Option(min=1, max=100, help="Runs of each variant on each input.")] = None,
    stop_after: options.StopAfter = None,
    budget: options.Budget = None,
    in_flight: options.InFlight = None,
    drain_limit_s: options.DrainLimit = None,
    production: ProductionOption = None,
    fall_back_inline: Annotated[
        bool, typer.Option("--fall-back-inline", help="Run the cells here when ECS cannot be used.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run every variant on every input in randomised rounds."""
    if (benchmark_id, again, route).count(None) != 2:
        raise InputRefused("--route, --benchmark-id, --again", [benchmark_id, again, route], "exactly one of them")
    fixed = {"--repeats": repeats, "--stop-after": stop_after}
    for option, value in {**fixed, "--in-flight": in_flight, "--drain-limit-s": drain_limit_s}.items():
        if benchmark_id and value is not None:
            raise InputRefused(option, value, "nothing for a benchmark that is continued: it keeps its own")
    filters = options.narrower(workflow, provider, experiment, tag)
    if route is None and any(filters.values()):
        raise InputRefused("--workflow, --provider, --experiment, --tag", filters, "none of them without --route")
    limit, rule = options.usd(budget), options.stop_rule(stop_after)
    fields = _continued(benchmark_id, again) if benchmark_id or again else _new(str(route), input_set, filters)
    given = {"repeats": repeats, "in_flight_per_provider": in_flight, "drain_limit_s": drain_limit_s}
    given |= {"early_stop": rule, "budget_usd": limit}
    fields |= {name: value for name, value in given.items() if value is not None}
    if not benchmark_id:
        fields |= options.round_cells(len(fields["variants"]), budget=limit is not None, rule=rule)
    fields["production"] = production
    connect()

    def load() -> Any:
        from flows.benchmark_matrix import benchmark_matrix

        return benchmark_matrix

    from flows.benchmark_matrix import BenchmarkMatrixRequest

    run_id = fields.pop("run_id", None)
    with run_to_continue(load_settings().home, "benchmark", {**fields, "again": again}, given=run_id) as named:
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
        "drain_limit_s": known.drain_limit_s,
        "early_stop": None if known.early_stop is None else known.early_stop.document(),
        "run_id": known.parent_run_id if benchmark_id else None,
    }


def _new(route: str, input_set: str, filters: Mapping[str, Any]) -> dict[str, Any]:
    known_inputs(open_workspace(), input_set)
    return {"variants": tuple(str(one.id) for one in _chosen(route, filters)), "input_set": input_set}


def _chosen(route: str, filters: Mapping[str, Any]) -> list[Variant]:
    """The enabled variants of a route that match the filters as well."""
    key = RouteKey.parse(route)
    found = list_variants(
        open_workspace(),
        effect_revision=key.effect_revision,
        environment=key.environment,
        stage=key.stage,
        enabled=True,
        **filters,
    )
    if not found:
        raise InputRefused(
            "--route",
            f"{route} {options.asked_of(filters) or ''}".strip(),
            "the route of an enabled variant that the filters match",
            instruction="pointsman variants list",
        )
    return found


@app.command()
def plan(
    route: Annotated[str, typer.Option(help="Every enabled variant of this route ...")],
    input_set: Annotated[str, typer.Option(help="... on this input set.")] = INPUT_SET,
    workflow: options.Workflow = None,
    provider: options.Provider = None,
    experiment: options.Experiment = None,
    tag: options.Tag = None,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Runs of each variant on each input.")] = 1,
    saving: Annotated[float, typer.Option(help="The true saving that is to be found, as a share.")] = 0.2,
    min_saving: options.MinSaving = 0.05,
    success_margin: options.SuccessMargin = 0.02,
    quality_margin: options.QualityMargin = 2.0,
    alpha: options.Alpha = 0.05,
    in_flight: options.InFlight = None,
    book: Annotated[Path | None, typer.Option(help="A price book file; default: the built-in one.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what a matrix would be, and send and write nothing: cells, cost, time, and how many inputs are needed."""
    ws = open_workspace()
    preview = preview_matrix(
        ws,
        _chosen(route, options.narrower(workflow, provider, experiment, tag)),
        known_inputs(ws, input_set),
        PriceBookSpec(path=str(book) if book else None).build(),
        repeats=repeats,
        **{**_request_defaults(), **({} if in_flight is None else {"in_flight_per_provider": in_flight})},
        rules={
            "alpha": alpha,
            "success_margin": success_margin,
            "quality_margin": quality_margin,
            "min_saving": min_saving,
        },
        assumed_saving=saving,
    )
    emit(as_json, preview.document(), lambda: _show_preview(preview))


def _request_defaults() -> dict[str, Any]:
    """What `benchmark run` leaves to its flow."""
    return {"seed": 1, "round_cells": options.ROUND_CELLS, "in_flight_per_provider": 2}


def _show_preview(preview: MatrixPreview) -> None:
    rows = [
        (
            one.variant.label,
            one.cells,
            sum(one.skipped.values()),
            _money(one.cost.usd, one.cost.low, one.cost.high),
            "unknown" if isinstance(one.mean_ms, Missing) else shown(one.mean_ms),
        )
        for one in preview.variants
    ]
    table("A matrix that was not run", ("variant", "cells", "skipped", "USD (90 % interval)", "ms a cell"), rows)
    for one in preview.variants:
        for why, count in sorted(one.skipped.items()):
            console.print(f"Skipped  {count} of {one.variant.label}: {why}", soft_wrap=True)
        if one.over_limit is not None:
            console.print(f"Limited  {one.variant.label}: {one.over_limit}", soft_wrap=True)
    needed = preview.needed
    in_rounds = "1 round" if preview.rounds == 1 else f"{preview.rounds} rounds"
    console.print(f"Cells    {preview.cells} in {in_rounds}; {preview.skipped} would be skipped")
    console.print(f"Cost     {_money(preview.usd, preview.low, preview.high)} USD", soft_wrap=True)
    seconds = preview.seconds
    told = f"not known ({seconds.reason})" if isinstance(seconds, Missing) else f"{shown(seconds)} s of work"
    console.print(f"Time     {told}", soft_wrap=True)
    size = (
        f"not known ({needed.reason})"
        if isinstance(needed, Missing)
        else f"{needed.inputs} inputs in {needed.clusters} clusters"
    )
    console.print(
        f"Needed   {size} to find a saving of {100 * preview.assumed_saving:g} %; "
        f"the set has {preview.inputs} in {preview.clusters}",
        soft_wrap=True,
    )


def _money(usd: Number, low: Number, high: Number) -> str:
    return f"not known ({usd.reason})" if isinstance(usd, Missing) else f"{shown(usd)} ({shown(low)} to {shown(high)})"


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
    ws = open_workspace()
    runs = list_matrix_runs(ws, limit=_LISTED)
    rows = [(one.id, one.status, one.input_set_id, len(one.variants), one.planned) for one in runs]
    columns = ("benchmark", "status", "input set", "variants", "cells")
    emit(as_json, [_document(ws, one) for one in runs], lambda: table("Benchmarks", columns, rows))


def _present(benchmark_id: str, as_json: bool) -> None:
    ws = open_workspace()
    known, skipped = matrix_run(ws, benchmark_id), cells_skipped(ws, benchmark_id)
    document = _document(ws, known)

    def render() -> None:
        table(f"{known.id}: {known.status}", ("cells", "count"), sorted(document["counts"].items()))
        console.print(f"Input set  {known.input_set_id}, repeats {known.repeats}, seed {known.seed}", soft_wrap=True)
        console.print(f"Variants   {', '.join(short_names(known.variants))}", soft_wrap=True)
        for (variant, why), count in skipped.items():
            _say(f"Not sent   {count} of {VariantId.parse(variant).label}: {why}")
        for variant, why in known.stopped.items():
            if (variant, why) not in skipped:
                _say(f"Stopped    {VariantId.parse(variant).label}: {why}")
        console.print(f"Next       {_next(known)}", soft_wrap=True)

    told = [{"variant": variant, "why": why, "cells": count} for (variant, why), count in skipped.items()]
    emit(as_json, {**document, "skipped": told}, render)


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)


def _document(ws: Workspace, known: MatrixRun) -> dict[str, Any]:
    return {
        "id": known.id,
        "status": known.status,
        "input_set": known.input_set_id,
        "variants": [str(one.id) for one in known.variants],
        "repeats": known.repeats,
        "seed": known.seed,
        "planned": known.planned,
        "counts": cell_counts(ws, known.id),
        "early_stop": None if known.early_stop is None else known.early_stop.document(),
        "stopped": dict(known.stopped),
    }


def _next(known: MatrixRun) -> str:
    step = {"collected": "evaluate", "ready": "hud show"}.get(known.status, "benchmark run --benchmark-id")
    return f"pointsman {step} {known.id}"
