"""Tasks before a load test is driven, about who starts it, what it will cost and who agrees; after it, what it cost."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from prefect import task
from prefect.runtime import deployment, flow_run

from pointsman.benchmark import environment_kind, input_set, variant
from pointsman.economics import forecast_load, price_load_run
from pointsman.safety import Identity, Limits, require, unproven, who_acts
from pointsman.scenario import Admission, admit_run, awaits_admission, planned_dispatches, read_run
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from tasks.opening import open_price_book, open_target, open_workspace
from tasks.policies import RECORD


def _requester(ws: Workspace) -> Identity:
    """Who started this run. A worker's own name and token say nothing about who used the Prefect UI."""
    if deployment.id:
        return unproven(f"flow-run:{flow_run.id}")
    return who_acts(ws, load_settings().token)


@task(name="may-start", **RECORD)
def may_start() -> None:
    """Refuse who may not start runs before anything is written."""
    require(_requester(open_workspace()), "operator", "starting a load test")


@task(name="admit-scenario", **RECORD)
def admit_scenario(run_id: str, *, input_set_id: str, price_book: str) -> Admission:
    """Forecast the run's cost, hold it against every limit, and ask for consent where it is needed."""
    ws = open_workspace()
    record = read_run(ws, run_id)
    if not awaits_admission(record):
        return Admission(run_id, "admitted", None)
    chosen = variant(ws, record.variant_id)
    dispatches = planned_dispatches(ws, record)
    forecast = forecast_load(
        ws,
        chosen.id,
        dispatches=dispatches,
        inputs=len(input_set(ws, input_set_id).members),
        book=open_price_book(price_book),
        at=ws.clock.now(),
    )
    local = environment_kind(ws, record.environment_id) == "local"
    return admit_run(
        ws,
        run_id,
        dispatches=dispatches,
        forecast=forecast,
        unbilled=local and _on_this_machine(open_target(chosen.target).base_url),
        limits=Limits.of(load_settings()),
        requester=_requester(ws),
    )


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
