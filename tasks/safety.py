"""Tasks before a load test is driven, about who starts it, what it will cost and who agrees; after it, what it cost."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from prefect import get_run_logger, task
from prefect.runtime import deployment, flow_run

from pointsman.benchmark import environment_kind, input_set, variant
from pointsman.economics import forecast_load, price_load_run
from pointsman.errors import GuardRefused
from pointsman.model import Variant
from pointsman.safety import Admission, Forecast, Identity, Limits, Permit, ProductionRules, require, unproven, who_acts
from pointsman.scenario import (
    AskedRun,
    Scenario,
    admit_run,
    awaits_admission,
    guard_production,
    planned_dispatches,
    read_run,
)
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from tasks.opening import open_price_book, open_target, open_workspace
from tasks.policies import RECORD


def requester_of(ws: Workspace) -> Identity:
    """Who started this run. A worker's own name and token say nothing about who used the Prefect UI."""
    if deployment.id:
        return unproven(f"flow-run:{flow_run.id}")
    return who_acts(ws, load_settings().token)


@task(name="may-start", **RECORD)
def may_start(
    run_id: str,
    *,
    parent_run_id: str | None,
    scenario: Scenario,
    seed: int,
    variant_id: str,
    input_set_id: str,
    price_book: str,
    production: str | None,
) -> Permit | None:
    """Refuse who may not start runs, and hold one against production to its guard, before anything is written.

    None: the run is not against production.
    """
    ws = open_workspace()
    requester = requester_of(ws)
    require(requester, "operator", "starting a load test")
    chosen = variant(ws, variant_id)
    asked = AskedRun(
        run_id=run_id,
        parent_run_id=parent_run_id,
        scenario=scenario,
        seed=seed,
        environment_id=chosen.id.environment,
        production=production,
        requester=requester,
    )
    settings = load_settings()
    try:
        return guard_production(
            ws,
            asked,
            forecast=lambda dispatches: _forecast(ws, chosen, dispatches, input_set_id, price_book),
            rules=ProductionRules.of(settings),
            limits=Limits.of(settings),
        )
    except GuardRefused as error:
        get_run_logger().critical("production_run_refused %s", error)
        raise


@task(name="admit-scenario", **RECORD)
def admit_scenario(run_id: str, permit: Permit | None, *, input_set_id: str, price_book: str) -> Admission:
    """Forecast the run's cost, hold it against every limit, and ask for consent where it is needed."""
    ws = open_workspace()
    record = read_run(ws, run_id)
    if not awaits_admission(record):
        return Admission(run_id, "admitted", None)
    chosen = variant(ws, record.variant_id)
    dispatches = planned_dispatches(ws, record)
    local = environment_kind(ws, record.environment_id) == "local"
    admission = admit_run(
        ws,
        run_id,
        dispatches=dispatches,
        forecast=_forecast(ws, chosen, dispatches, input_set_id, price_book),
        unbilled=local and _on_this_machine(open_target(chosen.target).base_url),
        limits=Limits.of(load_settings()),
        requester=requester_of(ws),
        permit=permit,
    )
    if permit is not None and admission.state == "waiting":
        # Alarms of CloudFormation count these lines, and those of refusals.
        get_run_logger().warning("production_run_requested %s", admission.waiting_error())
    return admission


def _forecast(ws: Workspace, chosen: Variant, dispatches: int, input_set_id: str, price_book: str) -> Forecast:
    inputs = len(input_set(ws, input_set_id).members)
    book = open_price_book(price_book)
    return forecast_load(ws, chosen.id, dispatches=dispatches, inputs=inputs, book=book, at=ws.clock.now())


@task(name="price-scenario", **RECORD)
def price_scenario(run_id: str, *, price_book: str) -> None:
    """Replace what was set aside for a run that has ended by what it cost."""
    price_load_run(open_workspace(), run_id, open_price_book(price_book))


def _on_this_machine(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
