"""A real Prefect server chains deployments by itself: a matrix that ends is judged, and a binding is proposed once."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from deployments.bootstrap import Installation, bootstrap, local_pool
from flows.apply_routing import ApplyRoutingRequest, apply_routing
from pointsman.ids import RouteKey
from pointsman.routing import current, history
from pointsman.safety import create_token, list_approvals, who_acts
from pointsman.states import BINDING
from pointsman.storage import tables
from service.cli import main
from service.cli.up import world_environment
from tests.few_inputs import variant
from tests.flows.golden import artifacts, serving
from tests.world import FEW_INPUTS, LabWorld

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("world"), pytest.mark.timeout(1800)]
PREFIX = "chain-"
DEAR, CHEAP = variant("x264-veryfast-crf23"), variant("x265-fast-crf28")
WITHIN_S = 400.0


@pytest.fixture
def client(lab_world: LabWorld) -> Iterator[SyncPrefectClient]:
    """Of a server with every deployment, the automation, and a worker."""
    world = lab_world.world
    environment = world_environment(world)
    bootstrap(Installation(PREFIX, propose="lab"), environment)
    pool = ("--pool", local_pool(PREFIX), "--type", "process")
    argv = [sys.executable, "-m", "prefect", "worker", "start", *pool]
    world.start("worker", argv, port=None, owner="tests", env={**environment, "PREFECT_WORKER_QUERY_SECONDS": "1"})
    with get_client(sync_client=True) as opened:
        yield opened
        for one in opened.read_automations():
            if one.name.startswith(PREFIX):
                opened.delete_automation(one.id)
    world.stop(["worker"])


def run_matrix(client: SyncPrefectClient, **asked: Any) -> UUID:
    """A matrix as somebody starts it in the Prefect UI, to its end."""
    deployed = client.read_deployment_by_name(f"benchmark-matrix/{local_pool(PREFIX)}")
    request = {"variants": [DEAR, CHEAP], "input_set": FEW_INPUTS, **asked}
    run = client.create_flow_run_from_deployment(deployed.id, parameters={"request": request})
    awaited(lambda: is_in(client, run.id, StateType.COMPLETED))
    return run.id


def is_in(client: SyncPrefectClient, flow_run_id: UUID, wanted: StateType) -> bool:
    state = client.read_flow_run(flow_run_id).state
    assert state is not None
    assert state.type == wanted or not state.is_final(), f"{state!r}"
    return state.type == wanted


def proposals(client: SyncPrefectClient) -> list[FlowRun]:
    of_flow = FlowFilter(name=FlowFilterName(any_=["propose-routing"]))
    return client.read_flow_runs(flow_filter=of_flow, sort=FlowRunSort.EXPECTED_START_TIME_ASC)


def serves(lab_world: LabWorld) -> str:
    """What is recorded, which the gateway shows."""
    now = current(lab_world.workspace(), RouteKey.parse(lab_world.route_key))
    assert now is not None
    assert serving(lab_world)["metadata"]["generation"] == now.generation
    return str(now.sole_variant)


def awaited(so: Callable[[], bool]) -> None:
    until = time.monotonic() + WITHIN_S
    while not so():
        assert time.monotonic() < until
        time.sleep(0.5)


def test_a_matrix_that_ends_leads_to_one_proposal_that_a_person_can_approve(
    lab_world: LabWorld, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, route = lab_world.workspace(), RouteKey.parse(lab_world.route_key)
    before = current(ws, route)
    assert before is not None
    first = {"expected_generation": before.generation, "dry_run": False, "input_set": FEW_INPUTS, "probe_jobs": 1}
    apply_routing(ApplyRoutingRequest(route_key=str(route), variant=DEAR, run_id="before-the-chain", **first))
    with ws.database.begin() as connection:  # else the route rests, as after every switch
        long_ago = ws.clock.now() - timedelta(days=30)
        connection.execute(sa.update(tables.routing_bindings).values(created_at=long_ago))
        moved = tables.state_transitions.c.entity == BINDING.name
        connection.execute(sa.update(tables.state_transitions).where(moved).values(at=long_ago))
    generations = len(history(ws, route))

    run_matrix(client, dry_run=True)
    of_run = run_matrix(client)
    awaited(lambda: StateType.PAUSED in {one.state_type for one in proposals(client)})
    (proposal,) = (one for one in proposals(client) if one.state_type == StateType.PAUSED)
    (waits,) = list_approvals(ws)
    (shown,) = artifacts(proposal.id, "routing-change")
    assert f"pointsman approve {waits.id}" in shown
    assert [len(artifacts(proposal.id, key)) for key in ("quality-trust-card", "money-hud")] == [1, 1]
    assert history(ws, route)[0].status == "awaiting_approval"
    assert serves(lab_world) == DEAR

    # The same run id again is the same matrix, whose event comes a second time; a server that has much to do may also
    # start more than one run for one event.
    started = len(proposals(client))
    run_matrix(client, run_id=str(of_run))
    awaited(lambda: len(proposals(client)) > started)
    again = [one for one in proposals(client) if one.id != proposal.id]
    awaited(lambda: all(is_in(client, one.id, StateType.COMPLETED) for one in again))
    for one in again:
        assert artifacts(one.id, "routing-change") == artifacts(one.id, "money-hud") == []
    assert list_approvals(ws) == [waits]
    assert len(history(ws, route)) == generations + 1

    _, admin = create_token(ws, who_acts(ws, None), "approves-a-chain", "admin")
    monkeypatch.setenv("POINTSMAN_TOKEN", admin.reveal())
    assert main(["approve", waits.id]) == 0
    awaited(lambda: is_in(client, proposal.id, StateType.COMPLETED))
    assert serves(lab_world) == CHEAP
    assert "confirm it" in artifacts(proposal.id, "routing-change")[-1]
    assert len(history(ws, route)) == generations + 1
    led_to = {"request": {"of_run": str(of_run), "target": "lab"}}
    assert all(one.parameters == led_to for one in proposals(client)), "a dry run and a proposal lead to none"
