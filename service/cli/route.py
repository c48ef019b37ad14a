"""`pointsman route`: where a route's traffic goes, moving it, and putting it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.benchmark import input_set as known_inputs
from pointsman.errors import InputRefused, NotFound, PointsmanError
from pointsman.ids import RouteKey
from pointsman.model import Binding
from pointsman.routing import (
    HEADROOM,
    BindingRecord,
    CanaryRules,
    Resolver,
    ShownBy,
    binding_for_verdict,
    check_steps,
    current,
    history,
    pause,
    read_rules,
    require_canary,
    rules_of,
    set_rules,
    shown_by,
    under_way,
)
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from service.cli.approving import acting, once_approved
from service.cli.continuing import run_to_continue
from service.cli.hud_view import show_move
from service.cli.lab_setup import INPUT_SET
from service.cli.naming import one_variant
from service.cli.output import JsonFlag, ProductionOption, YesFlag, agree, console, emit, open_workspace, table
from service.cli.route_drift import show_drift
from service.cli.route_gateway import gateway_command, move_command
from service.cli.route_naming import RouteArgument, route_of
from service.cli.route_view import confirm_switch, show_canary, show_litellm, show_rules
from service.cli.running import connect, request, run_flow

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Where a route's traffic goes, moving it, and putting it back."
)
GatewayOption = Annotated[
    str | None, typer.Option(help="Saved gateway that is to show a new route; one that is bound has its own.")
]
InputsOption = Annotated[str, typer.Option(help="Input set of the routed jobs that prove the change.")]
BackInputsOption = Annotated[
    str | None,
    typer.Option(help="Input set of routed jobs that prove it; else the lab's, and without it none is sent."),
]


CanaryOption = Annotated[
    str | None, typer.Option(help="Go there in steps of so many percent, with a look at each: 5,25,100.")
]
JobsOption = Annotated[int | None, typer.Option(help="Routed jobs of one look at a step of a canary; else 60.")]


def _canary(steps: str | None, jobs: int | None) -> CanaryRules | None:
    if steps is None:
        if jobs is not None:
            raise InputRefused("--jobs", jobs, "together with --canary")
        return None
    try:
        percents = check_steps([int(one) for one in steps.split(",")])
    except ValueError as error:
        raise InputRefused("--canary", steps, "percents with commas, as in 5,25,100") from error
    return request(CanaryRules, steps=percents, **({} if jobs is None else {"jobs_per_step": jobs}))


def _document(record: BindingRecord) -> dict[str, Any]:
    return {
        "route_key": str(record.binding.route_key),
        "generation": record.binding.generation,
        "status": record.status,
        "weights": {str(variant): share for variant, share in record.binding.weights.items()},
        "cause": record.binding.cause,
        "actor": record.actor,
        "verdict_id": record.verdict_id,
        "created_at": record.created_at.isoformat(),
    }


def _show(title: str, records: list[BindingRecord], as_json: bool, held: ShownBy | None = None) -> None:
    columns = ("generation", "status", "traffic", "cause", "at (UTC)")
    rows = [
        (
            record.binding.generation,
            record.status,
            ", ".join(f"{share} % {variant.label}" for variant, share in record.binding.weights.items()),
            record.binding.cause,
            f"{record.created_at:%Y-%m-%d %H:%M:%S}",
        )
        for record in records
    ]
    gateway = {"gateway": held.gateway, "place": held.place} if held else {}

    def render() -> None:
        table(title, columns, rows)
        if held is not None:
            console.print(f"Shown by the gateway {held.gateway}: {held.place}.", markup=False, soft_wrap=True)

    emit(as_json, [_document(record) | gateway for record in records], render)


@app.command("show")
def show_command(
    route: RouteArgument = None,
    drift: Annotated[bool, typer.Option("--drift", help="Compare with what the gateway shows.")] = False,
    restore: Annotated[
        bool, typer.Option("--restore", help="With --drift: let the gateway show what is recorded.")
    ] = False,
    litellm: Annotated[bool, typer.Option("--litellm", help="As a configuration of LiteLLM's proxy.")] = False,
    gateway: GatewayOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what a route is bound to now, and whether the gateway shows that; exits 1 where it does not."""
    ws = open_workspace()
    key = route_of(ws, route)
    if restore and not drift:
        raise InputRefused("--restore", True, "together with --drift")
    if drift:
        show_drift(ws, key, gateway, restore=restore, yes=yes, as_json=as_json)
        return
    binding = current(ws, key)
    if litellm:
        show_litellm(ws, key, binding, as_json)
        return
    number, held = binding.generation if binding else None, shown_by(ws, key)
    _show(f"Binding of {key}", [r for r in history(ws, key) if r.binding.generation == number], as_json, held)


@app.command("history")
def history_command(route: RouteArgument = None, as_json: JsonFlag = False) -> None:
    """Show every generation of a route, newest first."""
    ws = open_workspace()
    key = route_of(ws, route)
    _show(f"History of {key}", history(ws, key), as_json)


def _replaced(ws: Workspace, key: RouteKey, verdict: str | None, variant: str | None) -> int | None:
    """The generation that the change replaces: of a canary to the same that was cut short, what served before it."""
    found = under_way(ws, key)
    if found is not None:
        rollout, serving = found
        if (serving.verdict_id, None if verdict else [*map(str, rollout.weights)]) == (
            verdict,
            None if verdict else [variant],
        ):
            return rollout.base_generation
    binding = current(ws, key)
    return binding.generation if binding else None


@app.command("apply")
def apply_command(
    verdict: Annotated[str | None, typer.Option(help="Id of a WINNER verdict.")] = None,
    variant: Annotated[str | None, typer.Option(help="A registered variant, without a verdict.")] = None,
    route: Annotated[str | None, typer.Option(help="The route; a verdict or variant knows its own.")] = None,
    input_set: InputsOption = INPUT_SET,
    target: Annotated[str, typer.Option(help="Target that serves the route.")] = "lab",
    gateway: GatewayOption = None,
    peak: Annotated[
        float | None, typer.Option(help="Most arrivals per second; refuse what was not shown to sustain them.")
    ] = None,
    headroom: Annotated[float, typer.Option(help="How many times the peak must be sustained.")] = float(HEADROOM),
    production: ProductionOption = None,
    canary: CanaryOption = None,
    jobs: JobsOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Move a route to a verdict's winner or to a variant, and prove it by routed jobs."""
    if (verdict is None) == (variant is None):
        raise InputRefused("--verdict, --variant", verdict, "exactly one of them")
    ws = open_workspace()
    if variant is not None:
        chosen = one_variant(ws, "--variant", variant).id
        variant, route = str(chosen), route or str(chosen.route_key)
    known_inputs(ws, input_set)
    key = binding_for_verdict(ws, verdict).route_key if verdict else route_of(ws, route)
    connect()

    def load() -> Any:
        from flows.apply_routing import apply_routing

        return apply_routing

    from flows.apply_routing import ApplyRoutingRequest

    asked = request(
        ApplyRoutingRequest,
        route_key=str(key),
        verdict_id=verdict,
        variant=variant,
        expected_generation=_replaced(ws, key, verdict, variant),
        input_set=input_set,
        target=target,
        gateway=gateway,
        peak_per_s=peak,
        headroom=headroom,
        production=production,
        canary=_canary(canary, jobs),
    )
    agree(yes, key, f"Move {key} to {verdict or variant} (now at generation {asked.expected_generation}).")
    with run_to_continue(load_settings().home, "apply", asked.model_dump(mode="json")) as named:
        change = asked.model_copy(update={"dry_run": False, "run_id": named})
        moved = once_approved(ws, lambda: run_flow(load, change)).model_dump(mode="json")
    emit(as_json, moved, lambda: show_move(moved))


def _inputs_there_are(ws: Workspace, named: str | None) -> str | None:
    """Going back waits for no inputs: the lab's where it is there, what was named where it is known."""
    try:
        known_inputs(ws, named or INPUT_SET)
    except PointsmanError:
        if named is not None:
            raise
        return None
    return named or INPUT_SET


@app.command("rollback")
def rollback_command(
    route: RouteArgument = None,
    to: Annotated[int | None, typer.Option(help="Generation to go back to; else the one that served before.")] = None,
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "asked by an operator",
    input_set: BackInputsOption = None,
    target: Annotated[str, typer.Option(help="Target that serves the route.")] = "lab",
    gateway: GatewayOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Put back what the route had before, as a new generation, and prove it by routed jobs where there are inputs."""
    ws = open_workspace()
    input_set = _inputs_there_are(ws, input_set)
    key = route_of(ws, route)
    binding = current(ws, key)
    if binding is None:
        raise NotFound("binding", str(key), "a route that has one")
    connect()

    def load() -> Any:
        from flows.rollback_routing import rollback_routing

        return rollback_routing

    from flows.rollback_routing import RollbackRoutingRequest

    asked = request(
        RollbackRoutingRequest,
        route_key=str(key),
        expected_generation=binding.generation,
        to_generation=to,
        reason=reason,
        input_set=input_set,
        target=target,
        gateway=gateway,
    )
    agree(yes, key, f"Undo generation {binding.generation} of {key}{f', back to generation {to}' if to else ''}.")
    moved = run_flow(load, asked).model_dump(mode="json")
    emit(as_json, moved, lambda: show_move(moved))


@app.command("promote")
def promote_command(
    route: RouteArgument = None,
    to_end: Annotated[bool, typer.Option("--to-end", help="All further steps at once, without a look.")] = False,
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "promoted by an operator",
    input_set: InputsOption = INPUT_SET,
    target: Annotated[str, typer.Option(help="Target that serves the route.")] = "lab",
    gateway: GatewayOption = None,
    jobs: JobsOption = None,
    production: ProductionOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Take the step of a canary for good and go on; after the last one, confirm the switch and hold nothing more."""
    ws = open_workspace()
    key = route_of(ws, route)
    canary = under_way(ws, key)
    if canary is None:
        confirm_switch(ws, key, reason, yes=yes, as_json=as_json)
        return
    known_inputs(ws, input_set)
    connect()

    def load() -> Any:
        from flows.promote_routing import promote_routing

        return promote_routing

    from flows.promote_routing import PromoteRoutingRequest

    rollout, serving = canary
    rules = {} if jobs is None else {"canary": request(CanaryRules, jobs_per_step=jobs)}
    asked = request(
        PromoteRoutingRequest,
        route_key=str(key),
        expected_generation=serving.binding.generation,
        reason=reason,
        to_end=to_end,
        gateway=gateway,
        target=target,
        input_set=input_set,
        production=production,
        **rules,
    )
    agree(yes, key, f"Go on with the canary of {key}, which is at {rollout.steps[serving.step or 0]} %.")
    with run_to_continue(load_settings().home, "promote", asked.model_dump(mode="json")) as named:
        change = asked.model_copy(update={"run_id": named})
        moved = once_approved(ws, lambda: run_flow(load, change)).model_dump(mode="json")
    emit(as_json, moved, lambda: show_move(moved))


@app.command("pause")
def pause_command(
    route: RouteArgument = None,
    reason: Annotated[str, typer.Option(help="Kept with the canary.")] = "paused by an operator",
    as_json: JsonFlag = False,
) -> None:
    """Let a canary stay at the step where it is, until it is promoted or aborted."""
    ws = open_workspace()
    key = route_of(ws, route)
    show_canary(pause(ws, key, reason), as_json)


@app.command("abort")
def abort_command(
    route: RouteArgument = None,
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "aborted by an operator",
    input_set: BackInputsOption = None,
    target: Annotated[str, typer.Option(help="Target that serves the route.")] = "lab",
    gateway: GatewayOption = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """End a canary: what served before it gets all traffic again."""
    ws = open_workspace()
    require_canary(ws, route_of(ws, route))
    rollback_command(route, None, reason, input_set, target, gateway, yes, as_json)


@app.command("rules")
def rules_command(
    route: RouteArgument = None,
    file: Annotated[
        Path | None, typer.Option("--set", help="TOML file whose rules the route gets; for admins.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what changes of a route are held to, or set it."""
    ws = open_workspace()
    key = RouteKey.parse(route) if route else route_of(ws, route)
    if file is not None:
        set_rules(ws, key, read_rules(file), acting(ws))
    show_rules(key, rules_of(ws, key), as_json)


app.command("gateway")(gateway_command)
app.command("move")(move_command)


@app.command("resolve")
def resolve_command(
    route: RouteArgument = None,
    targeting_key: Annotated[
        str | None, typer.Option("--for", help="Whom the request is of; fixes which share it is.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="File that keeps the answer for when nobody answers.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say which variant serves a request of the route, as a service would learn it."""
    if route is None:
        route = str(route_of(open_workspace(), None))

    def recorded(key: RouteKey) -> Binding | None:
        return current(open_workspace(), key)

    found = Resolver(recorded, cache=cache).resolve(route, targeting_key)
    document = {"route_key": route, "variant": str(found.variant), "generation": found.generation, "stale": found.stale}
    emit(as_json, document, lambda: console.print(str(found.variant), markup=False, soft_wrap=True))
