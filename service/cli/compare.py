"""`pointsman compare`: the shortest way in. Your own clips through every way, judged and priced; no routing changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.benchmark import import_inputs, list_variants, named_files, register_input_set
from pointsman.benchmark import input_set as known_inputs
from pointsman.canonical import sha256_of
from pointsman.decision import read_hud
from pointsman.errors import InputRefused, NotFound
from pointsman.ids import VariantId
from pointsman.model import InputSet, Variant
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from service.cli import matrix_options as options
from service.cli.continuing import run_to_continue
from service.cli.hud_view import fail_if_invalid, show_hud
from service.cli.lab_setup import inputs_root, prepare_lab
from service.cli.naming import one_variant
from service.cli.output import JsonFlag, console, emit
from service.cli.progress import shown
from service.cli.report_page import write_report
from service.cli.running import request, run_flow
from service.cli.world import LAB_PORT, PREFECT_PORT, World, sole_owner

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    inputs: Annotated[
        list[Path] | None, typer.Option("--input", help="A clip of yours, or a folder of them; repeat for more.")
    ] = None,
    input_set: Annotated[
        str | None, typer.Option(help="Instead: an input set, as `pointsman inputs list` shows it.")
    ] = None,
    targets: Annotated[
        str, typer.Option(help="Comma separated: target names, or variants as WORKFLOW@PROVIDER.")
    ] = "lab",
    workflow: options.Workflow = None,
    provider: options.Provider = None,
    experiment: options.Experiment = None,
    tag: options.Tag = None,
    budget: options.Budget = None,
    deliveries: Annotated[int, typer.Option(min=0, help="How often one output is sent to a viewer.")] = 100,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Runs of each variant on each clip.")] = 1,
    incumbent: Annotated[str | None, typer.Option(help="WORKFLOW@PROVIDER to beat; default: the lab's.")] = None,
    data_class: Annotated[
        list[str] | None,
        typer.Option(help="What your clips show, such as faces: only variants that may see it get them; repeat."),
    ] = None,
    min_saving: options.MinSaving = 0.05,
    success_margin: options.SuccessMargin = 0.02,
    quality_margin: options.QualityMargin = 2.0,
    alpha: options.Alpha = 0.05,
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="Look at it on the way, and measure no more once it is decided.")
    ] = False,
    stop_after: options.StopAfter = None,
    in_flight: options.InFlight = None,
    drain_limit_s: options.DrainLimit = None,
    run_id: Annotated[str | None, typer.Option(help="Name the run, or continue the one of this name.")] = None,
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect server.")] = PREFECT_PORT,
    lab_port: Annotated[int, typer.Option(help="Port of the lab's effects backend.")] = LAB_PORT,
    as_json: JsonFlag = False,
) -> None:
    """Run your clips through every variant of the targets; show what each costs and how good it is."""
    if bool(inputs) == (input_set is not None):
        raise InputRefused("--input, --input-set", "both" if inputs else None, "one of them")
    if input_set is not None and data_class:
        raise InputRefused("--data-class", data_class, "none with --input-set, which has its own")
    limit, rule = options.usd(budget), options.stop_rule(stop_after)
    filters = options.narrower(workflow, provider, experiment, tag)
    home = load_settings().home
    with sole_owner(home):
        ws = Workspace.open(load_settings(), actor="cli")
        if list_variants(ws):  # else the lab's are registered below
            _named(ws, targets.split(","), filters)
        if input_set is None:
            chosen_set = _own(ws, inputs_root(home), inputs or [], data_class or [])
        else:
            chosen_set = known_inputs(ws, input_set)
        world = World.load(home)
        try:
            if not as_json:
                console.print("Starting Prefect and the lab where they are not up ...")
            serving = prepare_lab(world, prefect_port=prefect_port, lab_port=lab_port, owner="compare")
            candidates = _named(ws, targets.split(","), filters)
            beaten = (
                one_variant(ws, "--incumbent", incumbent).id if incumbent else _default_incumbent(candidates, serving)
            )
            asked = {
                "route_key": str(beaten.route_key),
                "input_set": chosen_set.id,
                "variants": tuple(str(one.id) for one in candidates),
                "incumbent": str(beaten),
                "repeats": repeats,
                "budget_usd": limit,
                "early_stop": rule,
                "rules": {
                    "deliveries_per_output": deliveries,
                    "min_saving": min_saving,
                    "success_margin": success_margin,
                    "quality_margin": quality_margin,
                    "alpha": alpha,
                    "sequential": until_decided,
                },
                **options.round_cells(
                    len({beaten, *(one.id for one in candidates)}),
                    budget=limit is not None,
                    rule=rule,
                    looks_at=len(chosen_set.members) * repeats if until_decided else None,
                ),
                **({} if in_flight is None else {"in_flight_per_provider": in_flight}),
                **({} if drain_limit_s is None else {"drain_limit_s": drain_limit_s}),
            }
            with run_to_continue(home, "compare", asked, given=run_id) as named:
                outcome = _run(ws, named, asked, quiet=as_json)
            outcome["report"] = str(write_report(world, outcome))
        finally:
            world.stop([name for name, running in world.processes.items() if running.owner == "compare"])

    def render() -> None:
        show_hud(outcome["hud"])
        console.print(f"\nReport  {outcome['report']}", soft_wrap=True)

    emit(as_json, outcome, render)
    fail_if_invalid(outcome["hud"])


def _run(ws: Workspace, run_id: str, asked: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    def load() -> Any:
        from flows.choose_route import choose_route

        return choose_route

    from flows.choose_route import ChooseRouteRequest

    with shown(ws, run_id, quiet=quiet):
        choice = run_flow(load, request(ChooseRouteRequest, dry_run=True, run_id=run_id, **asked))
    verdict_id = choice.decided.verdict_id
    return {
        "run_id": run_id,
        "benchmark_id": choice.preparation.benchmark_id,
        "verdict_id": verdict_id,
        "hud": read_hud(ws, verdict_id),
    }


def _own(ws: Workspace, root: Path, paths: Sequence[Path], classes: Sequence[str]) -> InputSet:
    """The user's files as a set of their own, whose name says what they are: the same again is the same set."""
    files = import_inputs(root, named_files(paths, data_classes=classes))
    members = [(file.input_id, file.path.stem, file.cluster, *file.data_classes) for file in files]
    return register_input_set(ws, f"compare-{sha256_of(members)[:16]}", files)


def _named(ws: Workspace, names: list[str], filters: Mapping[str, Any]) -> list[Variant]:
    """The enabled variants that the names stand for, all of a target or one by its label, and the filters let through.

    Raises `NotFound` for a name of none, and `InputRefused` when the filters leave none.
    """
    registered = list_variants(ws, enabled=True)
    chosen: dict[VariantId, Variant] = {}
    for name in (name.strip() for name in names):
        found = [one for one in registered if name in (one.target, one.id.label, str(one.id))]
        if not found:
            known = sorted({one.target for one in registered} | {one.id.label for one in registered})
            raise NotFound(
                "--targets", name, ", ".join(known) or "none is registered", instruction="See: pointsman variants list"
            )
        chosen.update({one.id: one for one in found})
    left = {one.id for one in list_variants(ws, enabled=True, **filters)}
    kept = [one for one in chosen.values() if one.id in left]
    if not kept:
        raise InputRefused(
            "--workflow, --provider, --experiment, --tag",
            options.asked_of(filters),
            f"what a variant of {', '.join(names)} matches",
            instruction="See: pointsman variants list",
        )
    return kept


def _default_incumbent(candidates: list[Variant], serving: VariantId) -> VariantId:
    return serving if any(one.id == serving for one in candidates) else candidates[0].id
