"""Events of the log as events of a real Prefect server, and a server that is away."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks import PrefectEventSink, open_sink
from pointsman.actions import ActionLog, JsonLinesSink, list_sinks, parse_sink
from pointsman.errors import DependencyDown
from tasks.opening import open_workspace, tell_sinks
from tests.actions.sink_contract import event, keeps_the_contract
from tests.few_inputs import free_ports
from tests.world import LabWorld


def stored(world: LabWorld, name: str, *, at_least: int) -> list[dict[str, Any]]:
    """What the server knows of events of this name, once there are so many; it stores them a moment later."""
    asked = {"filter": {"event": {"name": [name]}}, "limit": 50}
    for _ in range(100):
        answer = httpx.post(f"{world.world.prefect_api_url}/events/filter", json=asked, timeout=10).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["events"]
        if len(found) >= at_least:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{len(found)} of {at_least} events arrived")


@pytest.mark.e2e
@pytest.mark.xdist_group("world")
def test_prefect_keeps_the_contract_and_keeps_a_repetition_once(lab_world: LabWorld) -> None:
    name = "pointsman.budget_exceeded"
    before = len(stored(lab_world, name, at_least=0))
    keeps_the_contract(
        PrefectEventSink(), lambda: [one["payload"] for one in stored(lab_world, name, at_least=before + 2)]
    )
    assert len(stored(lab_world, name, at_least=before + 2)) == before + 2


@pytest.mark.e2e
@pytest.mark.xdist_group("world")
def test_a_critical_event_of_the_log_is_seen_in_prefect_beside_its_flow_run(lab_world: LabWorld) -> None:
    ws = open_workspace()
    made_by = "0b8f7a52-6a3f-4a0e-9a53-2f4f1f5b1c11"
    ActionLog(ws).record("routing_apply_failed", run_id=made_by, route_key="er:e1:env:lab:stage:s", why="refused")
    tell_sinks()
    assert [count for spec, count in list_sinks(ws) if spec.name == "prefect"] == [0]
    found = stored(lab_world, "pointsman.routing_apply_failed", at_least=1)
    mine = next(one for one in found if one["resource"]["prefect.resource.id"] == f"pointsman.run.{made_by}")
    assert mine["payload"]["data"]["why"] == "refused"
    assert mine["payload"]["instruction"] == "pointsman route show er:e1:env:lab:stage:s"
    assert f"prefect.flow-run.{made_by}" in {one["prefect.resource.id"] for one in mine["related"]}


def test_a_server_that_does_not_answer_has_not_taken_the_event() -> None:
    with (
        temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_ports(1)[0]}/api"}),
        pytest.raises(DependencyDown, match="did not take an event"),
    ):
        PrefectEventSink().send(event())
    with temporary_settings({PREFECT_API_URL: None}), pytest.raises(DependencyDown, match="PREFECT_API_URL is not set"):
        PrefectEventSink().send(event())


def test_each_kind_of_sink_is_opened() -> None:
    assert isinstance(open_sink(parse_sink({"name": "p", "kind": "prefect"})), PrefectEventSink)
    assert isinstance(open_sink(parse_sink({"name": "f", "kind": "json_lines", "path": "x"})), JsonLinesSink)
