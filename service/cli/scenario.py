"""`pointsman scenario`: plan, run, watch, cancel, report and compare load tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.benchmark import input_set as known_inputs
from pointsman.economics import PriceBookSpec, forecast_load
from pointsman.errors import RunFailed
from pointsman.ids import VariantId
from pointsman.reporting import Table, show, to_html
from pointsman.scenario import (
    CapacitySearch,
    aws_sources,
    cancel_run,
    check_search,
    compare_runs,
    comparison_document,
    comparison_report,
    file_traces,
    forecast_figures,
    list_runs,
    load_scenario,
    publish_report,
    read_capacity,
    read_run,
    run_status,
    schedule,
    unjudged_conditions,
)
from pointsman.scenario import run_scenario as planned_scenario
from pointsman.settings import AwsPlace, load_settings
from service.cli.approving import once_approved
from service.cli.capacity_view import show_capacity
from service.cli.continuing import run_to_continue
from service.cli.lab_aws import provide_lab_aws
from service.cli.lab_setup import INPUT_SET
from service.cli.naming import one_variant
from service.cli.output import JsonFlag, ProductionOption, console, emit, open_workspace, table
from service.cli.run_view import show_cost, show_run
from service.cli.running import connect, request, run_flow
from service.cli.world import World

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Plan, run, watch, cancel, report, compare.")
_LISTED = 50
_NOWHERE = AwsPlace("local")
"""Nobody is asked here; it is only said what will be."""
_CANCEL_WAIT_S = 60.0
"""Longer than a dead coordinator's heartbeat takes to grow old, and shards to say good-bye."""
FileArgument = Annotated[Path, typer.Argument(help="A scenario as YAML, TOML or JSON.")]


@app.command()
def plan(
    file: FileArgument,
    variant: Annotated[
        str | None, typer.Option(help="WORKFLOW@PROVIDER or id of a variant: also says what the run would cost.")
    ] = None,
    input_set: Annotated[str, typer.Option(help="Input set that the jobs would take turns with.")] = INPUT_SET,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the arrivals.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Say what a scenario would send and cost, without sending it. Costs are at the built-in prices of today."""
    scenario = load_scenario(file)
    traces = file_traces(scenario)
    due = schedule(scenario, seed, traces)
    last = float(due[-1]) / 1e9 if len(due) else None
    unjudged = unjudged_conditions(scenario, seed, aws_sources(scenario.observe, _NOWHERE), traces)
    document = {"name": scenario.name, "dispatches": len(due), "last_due_s": last, "not_judged": unjudged}
    document["forecast"] = None if variant is None else _forecast(variant, input_set, len(due))

    def render() -> None:
        table(scenario.name, ("dispatches", "last due (s)"), [(len(due), last or "")])
        if variant is None:
            console.print("What it would cost depends on the variant: name one with --variant.", soft_wrap=True)
        else:
            show_cost(forecast_figures(document["forecast"]))
        _say_unjudged(unjudged)

    emit(as_json, document, render)


def _forecast(variant: str, input_set: str, dispatches: int) -> dict[str, Any]:
    ws = open_workspace()
    chosen, inputs = one_variant(ws, "--variant", variant), known_inputs(ws, input_set)
    book, now = PriceBookSpec().build(), ws.clock.now()
    found = forecast_load(ws, chosen.id, dispatches=dispatches, inputs=len(inputs.members), book=book, at=now)
    return found.document()


@app.command()
def run(
    file: FileArgument,
    variant: Annotated[str, typer.Option(help="WORKFLOW@PROVIDER or id of the variant to put under load.")],
    input_set: Annotated[str, typer.Option(help="Input set that the jobs take turns with.")] = INPUT_SET,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the arrivals.")] = 1,
    run_id: Annotated[str | None, typer.Option(help="Name the run, or continue the one of this name.")] = None,
    fall_back_inline: Annotated[
        bool, typer.Option("--fall-back-inline", help="Drive the shards here when ECS cannot be used.")
    ] = False,
    production: ProductionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Put a variant under the scenario's load. One that may cost much waits until somebody else approves it."""
    scenario = load_scenario(file)
    ws = open_workspace()
    chosen = one_variant(ws, "--variant", variant)
    known_inputs(ws, input_set)
    unjudged = unjudged_conditions(scenario, seed, aws_sources(scenario.observe, _NOWHERE), file_traces(scenario))
    if not as_json:
        _say_unjudged(unjudged)
    provide_lab_aws(connect(), ws, scenario, environment_id=chosen.id.environment)

    def load() -> Any:
        from flows.run_scenario import run_scenario

        return run_scenario

    from flows.run_scenario import RunScenarioRequest

    fields = {"variant": str(chosen.id), "input_set": input_set, "seed": seed, "production": production}
    asked = {"scenario": scenario.model_dump(mode="json"), **fields}
    with run_to_continue(load_settings().home, "scenario", asked, given=run_id) as named:
        asked_for = request(
            RunScenarioRequest, scenario=scenario, run_id=named, fall_back_inline=fall_back_inline, **fields
        )
        ended = once_approved(ws, lambda: run_flow(load, asked_for))
    _present(ended, as_json)


@app.command()
def capacity(
    variant: Annotated[str, typer.Option(help="WORKFLOW@PROVIDER or id of the variant to search the limit of.")],
    slo: Annotated[
        list[str] | None, typer.Option(help='What must hold, as in "p95 total_ms < 5000"; repeat for several.')
    ] = None,
    input_set: Annotated[str, typer.Option(help="Input set that the jobs take turns with.")] = INPUT_SET,
    start: Annotated[float, typer.Option(help="First rate, per second; it doubles from there.")] = 1.0,
    lowest: Annotated[float, typer.Option(help="Below this rate the search ends.")] = 0.01,
    highest: Annotated[float, typer.Option(help="Above this rate nothing is tried.")] = 1000.0,
    step_s: Annotated[float, typer.Option(help="How long each step counts, in seconds.")] = 30.0,
    precision: Annotated[float, typer.Option(help="How wide the interval may be, as a share.")] = 0.1,
    most_steps: Annotated[int, typer.Option(help="After so many steps the search says what it knows.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Fixes the order of inputs.")] = 1,
    run_id: Annotated[str | None, typer.Option(help="Name the search, or continue the one of this name.")] = None,
    production: ProductionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Find the highest rate that a variant sustains within its SLOs; a queue that grows is not sustained.

    When its steps cost much together it waits until somebody else approves the rest of the search.
    """
    ws = open_workspace()
    chosen = one_variant(ws, "--variant", variant)
    known_inputs(ws, input_set)
    limits = {"start_per_s": start, "lowest_per_s": lowest, "highest_per_s": highest}
    slos = {"slos": tuple(slo)} if slo else {}
    search = request(CapacitySearch, **slos, **limits, step_s=step_s, precision=precision, most_steps=most_steps)
    check_search(search)
    connect()

    def load() -> Any:
        from flows.find_capacity import find_capacity

        return find_capacity

    from flows.find_capacity import FindCapacityRequest

    fields = {"variant": str(chosen.id), "input_set": input_set, "seed": seed, "production": production}
    asked = {"search": search.model_dump(mode="json"), **fields}
    with run_to_continue(load_settings().home, "capacity", asked, given=run_id) as named:
        asked_for = request(FindCapacityRequest, search=search, run_id=named, **fields)
        found = once_approved(ws, lambda: run_flow(load, asked_for))
    show_capacity(read_capacity(open_workspace(), found), as_json)


@app.command()
def status(
    run_id: Annotated[str | None, typer.Argument(help="Id of a run; left out: all runs, newest first.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show how a run stands: every term of the conservation law, latencies, lateness; without an id, list the runs."""
    if run_id is None:
        _list(as_json)
    else:
        _present(run_id, as_json)


@app.command()
def cancel(
    run_id: Annotated[str, typer.Argument(help="Id of a run, as `scenario status` lists it.")],
    reason: Annotated[str, typer.Option(help="Kept with the run.")] = "asked by an operator",
    as_json: JsonFlag = False,
) -> None:
    """Stop a run and end its jobs at the target, also when whatever ran it is dead; repeating it changes nothing."""
    settings, ws = load_settings(), open_workspace()
    record = read_run(ws, run_id)
    if not record.ended:
        world = World.load(settings.home)
        provide_lab_aws(world, ws, planned_scenario(ws, record), environment_id=record.environment_id)
    cancel_run(ws, run_id, reason=reason, secret=settings.executor_secret, wait_s=_CANCEL_WAIT_S)
    _present(run_id, as_json)


def _say_unjudged(unjudged: Mapping[str, str]) -> None:
    for condition, why in unjudged.items():
        console.print(f"Not judged in this run: {condition} ({why}).", markup=False, soft_wrap=True)


@app.command()
def report(
    run_id: Annotated[str, typer.Argument(help="Id of a run, as `scenario status` lists it.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a run's report: a page for people, a summary as k6 writes it, JUnit XML for CI."""
    published = publish_report(open_workspace(), run_id)
    document = {"run_id": run_id, "files": {name: file.uri for name, file in published.files.items()}}
    files = list(document["files"].items())
    emit(as_json, document, lambda: table(published.report.title, ("file", "where"), files))


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Id of the run to compare with.")],
    second: Annotated[str, typer.Argument(help="Id of the run that may have become worse.")],
    page: Annotated[Path | None, typer.Option(help="Also write the comparison to this file, as HTML.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say whether the second run is slower, fails more or sends less. Exits 1 for a regression that is significant."""
    found = compare_runs(open_workspace(), first, second)
    document, shown = comparison_document(found), comparison_report(found)
    if page is not None:
        page.write_text(to_html([shown], shown.title))

    def render() -> None:
        figures = next(section for section in shown.sections if isinstance(section, Table))
        table(document["verdict"], figures.columns, [[show(cell) for cell in row] for row in figures.rows])
        for line in found.differs:
            console.print(f"differs: {line}", markup=False, soft_wrap=True)

    emit(as_json, document, render)
    if found.regressed:
        raise RunFailed(document["verdict"], instruction=f"pointsman scenario report {second}", code="regression")


def _present(run_id: str, as_json: bool) -> None:
    document = run_status(open_workspace(), run_id)
    emit(as_json, document, lambda: show_run(document))


def _list(as_json: bool) -> None:
    runs = list_runs(open_workspace(), limit=_LISTED)
    document = [
        {
            "id": one.id,
            "scenario": one.scenario_id,
            "status": one.status,
            "variant": one.variant_id,
            "created_at": one.created_at.isoformat(),
        }
        for one in runs
    ]
    rows = [
        (one.id, one.scenario_id, one.status, VariantId.parse(one.variant_id).label, f"{one.created_at:%F %T}")
        for one in runs
    ]
    columns = ("run", "scenario", "status", "variant", "created (UTC)")
    emit(as_json, document, lambda: table("Load tests", columns, rows))
