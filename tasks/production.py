"""Entering production with a matrix or a change of a route: the guard's task, and waiting for somebody's consent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from prefect import get_run_logger, task

from pointsman.benchmark import input_set, matrix_run, variant
from pointsman.canonical import sha256_of
from pointsman.economics import forecast_load, forecast_together
from pointsman.errors import GuardRefused, NotFound
from pointsman.ids import RouteKey, VariantId
from pointsman.routing import PROBE_IN_FLIGHT, PROBES_AT_MOST, CanaryRules
from pointsman.safety import Admission, Consent, Entrant, Forecast, Limits, ProductionRules, enter_production
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from tasks.approving import await_decision
from tasks.opening import open_price_book, open_workspace
from tasks.policies import RECORD
from tasks.routing import Moved
from tasks.safety import requester_of


def once_agreed(ask: Callable[[], Admission | None]) -> Consent | None:
    """Ask until it is admitted, waiting as `await_decision` does; None for what is not in production."""
    admission = ask()
    while admission is not None and admission.state == "waiting":
        await_decision(admission)
        admission = ask()
    return None if admission is None else admission.consent


def lower_budget(budget_usd: float | None, consent: Consent | None) -> float | None:
    """What may be spent, in USD: what was asked for, or what was agreed to where that is less."""
    if consent is None or (budget_usd is not None and Decimal(str(budget_usd)) <= consent.limit_usd):
        return budget_usd
    return float(consent.limit_usd)


@task(name="enter-with-matrix", **RECORD)
def enter_with_matrix(
    bm_id: str,
    *,
    variant_ids: Sequence[str],
    input_set_id: str,
    repeats: int,
    in_flight_per_provider: int,
    price_book: str,
    production: str | None,
) -> Admission | None:
    """Hold a matrix against production to its guard, before anything is written; one that is done sends nothing."""
    ws = open_workspace()
    if _has_been_run(ws, bm_id):
        return None
    variants = [variant(ws, one) for one in variant_ids]
    inputs = len(input_set(ws, input_set_id).members)
    each = inputs * repeats
    lanes = {(one.target, one.id.provider) for one in variants}
    entrant = Entrant(
        run_id=bm_id,
        what=f"The matrix {bm_id} of {len(variants)} variants and {inputs} inputs",
        environment_id=variants[0].id.environment,
        production=production,
        requester=requester_of(ws),
        dispatches=len(variants) * each,
        in_flight=min(len(lanes) * in_flight_per_provider, len(variants) * each),
        drives=len({one.target for one in variants}),
    )
    return _enter(
        ws, entrant, lambda: forecast_together(_forecasts(ws, [one.id for one in variants], each, inputs, price_book))
    )


@task(name="enter-with-change", **RECORD)
def enter_with_change(
    planned: Moved,
    run_id: str,
    *,
    input_set_id: str,
    probe_jobs: int,
    canary: CanaryRules | None,
    price_book: str,
    production: str | None,
) -> Admission | None:
    """Hold a change of a route in production to the guard before it is made, with the routed jobs that look at it."""
    ws = open_workspace()
    key = RouteKey.parse(planned.route_key)
    before = {VariantId.parse(one): weight for one, weight in planned.before.items() if weight}
    after = {VariantId.parse(one): weight for one, weight in planned.after.items() if weight}
    more = [one for one, weight in after.items() if weight > before.get(one, 0)]
    jobs = PROBES_AT_MOST * probe_jobs + (canary.most_jobs if canary else 0)
    what = f"The change of {key} to {', '.join(one.label for one in more)}, proved by at most {jobs}"
    # Which of several variants a job meets is not known before: each may get them all, in a canary the old ones too.
    met = sorted({*after, *before} if canary else after)
    looks = None if canary is None else canary.model_dump(mode="json")
    agreed_to = {"before": planned.before, "after": planned.after, "looks": looks, "jobs": jobs, "inputs": input_set_id}
    asked = _routed(ws, _named("change", run_id, agreed_to), f"{what} routed jobs", key, jobs, production)
    return _enter(ws, asked, lambda: _routed_forecast(ws, met, jobs, input_set_id, price_book))


@task(name="enter-with-watch", **RECORD)
def enter_with_watch(
    route_key: str,
    variant_id: str,
    run_id: str,
    *,
    input_set_id: str,
    jobs: int,
    price_book: str,
    production: str | None,
) -> Admission | None:
    """Hold the routed jobs of a watch in production to the guard before they are sent."""
    ws = open_workspace()
    key, serves = RouteKey.parse(route_key), VariantId.parse(variant_id)
    what = f"The watch of {key}, {jobs} routed jobs to {serves.label}"
    agreed_to = {"variant": variant_id, "jobs": jobs, "inputs": input_set_id}
    asked = _routed(ws, _named("watch", run_id, agreed_to), what, key, jobs, production)
    return _enter(ws, asked, lambda: _routed_forecast(ws, [serves], jobs, input_set_id, price_book))


def _named(kind: str, run_id: str, agreed_to: dict[str, Any]) -> str:
    """What consent is given to: the same run id with another content is another thing, and is asked about anew."""
    return f"{kind}-{run_id}-{sha256_of(agreed_to)[:8]}"


def _routed(ws: Workspace, run_id: str, what: str, key: RouteKey, jobs: int, production: str | None) -> Entrant:
    return Entrant(
        run_id=run_id,
        what=what,
        environment_id=key.environment,
        production=production,
        requester=requester_of(ws),
        dispatches=jobs,
        in_flight=min(PROBE_IN_FLIGHT, jobs),
    )


def _routed_forecast(
    ws: Workspace, met: Sequence[VariantId], jobs: int, input_set_id: str, price_book: str
) -> Forecast:
    inputs = len(input_set(ws, input_set_id).members)
    return forecast_together(_forecasts(ws, met, jobs, inputs, price_book))


def _enter(ws: Workspace, entrant: Entrant, forecast: Callable[[], Forecast]) -> Admission | None:
    settings = load_settings()
    rules, limits = ProductionRules.of(settings), Limits.of(settings)
    try:
        admission = enter_production(ws, entrant, forecast=forecast, rules=rules, limits=limits)
    except GuardRefused as error:
        get_run_logger().critical("production_run_refused %s", error)
        raise
    if admission is not None and admission.state == "waiting":
        # Alarms of CloudFormation count these lines, and those of refusals.
        get_run_logger().warning("production_run_requested %s", admission.waiting_error())
    return admission


def _forecasts(
    ws: Workspace, variants: Sequence[VariantId], dispatches: int, inputs: int, price_book: str
) -> list[Forecast]:
    book, now = open_price_book(price_book), ws.clock.now()
    return [forecast_load(ws, one, dispatches=dispatches, inputs=inputs, book=book, at=now) for one in variants]


def _has_been_run(ws: Workspace, bm_id: str) -> bool:
    try:
        return matrix_run(ws, bm_id).status in ("collected", "ready")
    except NotFound:
        return False
