"""Tasks of watching a route: whether the gateway shows what is recorded, routed jobs, and the promise held to them."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from prefect import task

from pointsman import routing
from pointsman.benchmark import input_set
from pointsman.economics import measurements
from pointsman.errors import GuardRefused, RunFailed
from pointsman.ids import RouteKey, VariantId, derive
from pointsman.quality import ensure_trusted, evaluation_set
from pointsman.routing import Evidence, Mirrored
from pointsman.safety import Consent
from pointsman.workspace import Workspace
from tasks.bridging import cancelled
from tasks.opening import executor_secret, open_gateway, open_price_book, open_target, open_workspace
from tasks.policies import CHANGE, DRIVE, RECORD
from tasks.recording import record_report
from tasks.watched import Watched, watch_report


@task(name="look-at-route", **CHANGE)
def look_at_route(route_key: str, gateway: str | None) -> Watched:
    """What serves, and whether the gateway shows it; where the rules of the route say so it is restored.

    Raises `NotFound` for a route without a binding.
    """
    ws = open_workspace()
    key = RouteKey.parse(route_key)
    routing.promised(ws, key)
    door = open_gateway(route_key, gateway)
    found = routing.drift(ws, door, key)
    said = found.why if found else "agrees"
    if found and routing.rules_of(ws, key).auto_restore:
        routing.reconcile(ws, door, key)
        said = "restored"
    promised = routing.promised(ws, key)
    return Watched(
        route_key=route_key,
        generation=promised.generation,
        variant=None if promised.variant is None else str(promised.variant),
        verdict_id=promised.verdict_id,
        nothing_promised=promised.why_none,
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
    watched: Watched, benchmark_id: str | None, evaluation_set_id: str | None, not_mirrored: str, price_book: str
) -> Watched:
    """Hold the verdict's promise to the routed jobs and the mirrored ones; what is not kept is `routing_drift`.

    Nothing is held against a route whose generation changed in the meantime.
    """
    ws = open_workspace()
    key = RouteKey.parse(watched.route_key)
    variant = VariantId.parse(str(watched.variant))
    promise = routing.evidence_of(ws, str(watched.verdict_id), variant)
    mirrored = Mirrored(unknown=not_mirrored)
    if benchmark_id is not None and evaluation_set_id is not None:
        per_output = promise.plan.deliveries_per_output
        cells = measurements(
            ws, benchmark_id, evaluation_set_id, open_price_book(price_book), deliveries_per_output=per_output
        )
        mirrored = Mirrored(cells, unjudged=_why_unjudged(ws, promise, evaluation_set_id))
    routed = pl.read_parquet(ws.results.path(str(watched.routed_file)))
    held = routing.hold_to_promise(promise, routed, mirrored, routing.rules_of(ws, key))
    now = routing.current(ws, key)
    found = watched.model_copy(
        update={
            "promises": tuple(one.as_document() for one in held),
            "broken": routing.broken(held),
            "astray": routing.astray(routed, variant, watched.generation),
            "expired": routing.expired(ws, str(watched.verdict_id), variant),
            "overtaken_by": None if now is None or now.generation == watched.generation else now.generation,
        }
    )
    if found.overtaken_by is None:
        names = ", ".join(one.name for one in held if one.state == "broken")
        _note(ws, found, "jobs", what="astray" if found.astray else "", why=found.astray)
        _note(ws, found, "promises", what=names, why=found.broken)
    return found


def _note(ws: Workspace, found: Watched, about: routing.About, *, what: str, why: str) -> None:
    key, number = RouteKey.parse(found.route_key), found.generation
    if what:
        routing.note(ws, key, about, what=f"generation {number}: {what}", why=why, recorded=number, shown=number)
    else:
        routing.over(ws, key, about)


def _why_unjudged(ws: Workspace, promise: Evidence, evaluation_set_id: str) -> str:
    """Why qualities of now cannot be held against the verdict's; empty when they can."""
    found = evaluation_set(ws, evaluation_set_id)
    judged = {name: str(value) for name, value in found.identity.as_document().items()}
    if judged != dict(promise.plan.judge):
        return f"the verdict rests on {_named(promise.plan.judge)}, and these were judged by {_named(judged)}"
    try:
        ensure_trusted(ws, evaluation_set_id)
    except GuardRefused as refused:
        return refused.message
    return ""


def _named(judge: Mapping[str, str]) -> str:
    return f"{judge['name']} ({judge['model']}, rubric {judge['rubric_sha256'][:8]})"


@task(name="may-go-back", **CHANGE)
def may_go_back(route_key: str, gateway: str | None) -> bool:
    """Whether the rules of the route let the watch go back by itself, to something else that could serve."""
    return routing.may_go_back(open_workspace(), open_gateway(route_key, gateway), RouteKey.parse(route_key))


@task(name="confirm-switch", **RECORD)
def confirm_switch(watched: Watched) -> Watched:
    """Take the switch for good when its time is over and all was kept: what served before is held no longer."""
    ws = open_workspace()
    key = RouteKey.parse(watched.route_key)
    held = routing.open_hold(ws, key)
    if not watched.all_kept or held is None or ws.clock.now() < held.due_at:
        return watched
    routing.confirm(ws, key, "production kept what the verdict promised")
    return watched.model_copy(update={"confirmed": True})


@task(name="report-watch", **RECORD)
def report_watch(watched: Watched, price_book: str) -> None:
    """The look as an artifact: every promise, what was done, and what is still held."""
    record_report("routing-change", watch_report(open_workspace(), watched, price_book))
