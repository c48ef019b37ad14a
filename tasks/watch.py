"""Tasks of watching a route: whether the gateway shows what is recorded, routed jobs, and the promise held to them."""

from __future__ import annotations

from decimal import Decimal

import polars as pl
from prefect import task
from pydantic import BaseModel, ConfigDict

from pointsman import routing
from pointsman.actions import ActionLog
from pointsman.benchmark import input_set
from pointsman.economics import measurements
from pointsman.errors import NotFound, RunFailed
from pointsman.ids import RouteKey, VariantId, derive
from pointsman.model import Missing
from pointsman.reporting import Report, Table
from pointsman.safety import Consent
from tasks.bridging import cancelled
from tasks.opening import executor_secret, open_gateway, open_price_book, open_target, open_workspace
from tasks.policies import CHANGE, DRIVE, RECORD
from tasks.recording import record_report


class Watched(BaseModel):
    """What a look at a route found. `variant` is the one whose promise is held; None: there is none to hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route_key: str
    generation: int
    variant: str | None
    verdict_id: str | None
    gateway: str
    """What the gateway showed: `agrees`, `restored`, or why it drifted."""
    routed_file: str | None = None
    """The ledger of the routed jobs, below the results."""
    promises: tuple[dict[str, str], ...] = ()
    broken: str = ""
    confirmed: bool = False
    rolled_back_to: int | None = None


@task(name="look-at-route", **CHANGE)
def look_at_route(route_key: str, gateway: str | None) -> Watched:
    """What serves, and whether the gateway shows it; where the rules of the route say so it is restored.

    Raises `NotFound` for a route without a binding.
    """
    ws = open_workspace()
    key = RouteKey.parse(route_key)
    door = open_gateway(route_key, gateway)
    found = routing.drift(ws, door, key)
    said = found.why if found else "agrees"
    if found and routing.rules_of(ws, key).auto_restore:
        routing.reconcile(ws, door, key)
        said = "restored"
    serving = next((one for one in routing.history(ws, key) if one.status in ("active", "canary")), None)
    if serving is None:
        raise NotFound("binding", route_key, "a route that has one")
    sole = serving.binding.sole_variant
    return Watched(
        route_key=route_key,
        generation=serving.binding.generation,
        variant=str(sole) if sole and serving.verdict_id else None,
        verdict_id=serving.verdict_id,
        gateway=said,
    )


@task(name="sample-route", **DRIVE)
def sample_route(
    watched: Watched, run_id: str, target: str, input_set_id: str, jobs: int, consent: Consent | None
) -> Watched:
    """Send routed jobs, as traffic is. Raises `RunFailed` when a brake of production stops them."""
    ws = open_workspace()
    key = RouteKey.parse(watched.route_key)
    binding = next(one.binding for one in routing.history(ws, key) if one.binding.generation == watched.generation)
    members = input_set(ws, input_set_id).members
    sent = routing.sample_route(
        ws,
        run_id=derive("watch", run_id),
        binding=binding,
        inputs=[members[index % len(members)] for index in range(jobs)],
        target=open_target(target),
        secret=executor_secret(),
        cancelled=cancelled,
        consent=consent,
    )
    if not isinstance(sent, pl.DataFrame):
        raise RunFailed(
            f"The watch of {key} was stopped in production: {sent.message}",
            instruction=f"pointsman route show {key}",
            code=sent.code,
        )
    path = f"routing/{derive('watch', run_id)}/routed.parquet"
    ws.results.path(path).parent.mkdir(parents=True, exist_ok=True)
    sent.select("state", "variant", "generation", "total_ms").write_parquet(ws.results.path(path))
    return watched.model_copy(update={"routed_file": path})


@task(name="hold-to-promise", **RECORD)
def hold_to_promise(
    watched: Watched, benchmark_id: str | None, evaluation_set_id: str | None, price_book: str
) -> Watched:
    """Hold the verdict's promise to the routed jobs and the mirrored ones; a broken one is `routing_drift`."""
    ws = open_workspace()
    key = RouteKey.parse(watched.route_key)
    promise = routing.evidence_of(ws, str(watched.verdict_id), VariantId.parse(str(watched.variant)))
    mirrored = []
    if benchmark_id is not None and evaluation_set_id is not None:
        mirrored = measurements(
            ws,
            benchmark_id,
            evaluation_set_id,
            open_price_book(price_book),
            deliveries_per_output=promise.plan.deliveries_per_output,
        )
    routed = pl.read_parquet(ws.results.path(str(watched.routed_file)))
    held = routing.hold_to_promise(promise, routed, mirrored, routing.rules_of(ws, key))
    why = routing.broken(held)
    if why:
        ActionLog(ws).record(
            "routing_drift", route_key=key, recorded=watched.generation, shown=watched.generation, why=why
        )
    return watched.model_copy(update={"promises": tuple(one.as_document() for one in held), "broken": why})


@task(name="may-roll-back", **RECORD)
def may_roll_back(route_key: str) -> bool:
    """Whether the rules of the route let the watch go back by itself."""
    return routing.rules_of(open_workspace(), RouteKey.parse(route_key)).auto_rollback


@task(name="confirm-switch", **RECORD)
def confirm_switch(watched: Watched) -> Watched:
    """Take the switch for good when its time is over: what served before is held no longer."""
    ws = open_workspace()
    key = RouteKey.parse(watched.route_key)
    held = routing.open_hold(ws, key)
    if held is None or ws.clock.now() < held.due_at or routing.under_way(ws, key) is not None:
        return watched
    routing.confirm(ws, key, "production kept what the verdict promised")
    return watched.model_copy(update={"confirmed": True})


@task(name="report-watch", **RECORD)
def report_watch(watched: Watched, price_book: str) -> None:
    """The watch as an artifact: every promise, and what is still held."""
    ws = open_workspace()
    rows = [(one["name"], one["promised"], one["found"], one["state"]) for one in watched.promises]
    held = routing.open_hold(ws, RouteKey.parse(watched.route_key))
    cost = held.usd(open_price_book(price_book), ws.clock.now()) if held else Decimal(0)
    kept = "keeps" if not watched.broken else "does **not** keep"
    summary = (
        f"Generation {watched.generation} of `{watched.route_key}`: the gateway {watched.gateway}; "
        f"production {kept} what the verdict promised."
        if watched.promises
        else f"Generation {watched.generation} of `{watched.route_key}`: the gateway {watched.gateway}; no verdict "
        "promised anything of it."
    )
    if held:
        shown = cost if isinstance(cost, Missing) else f"{cost:.4f} USD"
        summary += f" Generation {held.generation} is held since {held.since:%F %T} UTC; so far that cost: {shown}."
    table = Table(("promise", "promised", "found", "state"), rows, title="Promises")
    record_report("routing-change", Report(f"Watch of {watched.route_key}", summary, (table,) if rows else ()))
