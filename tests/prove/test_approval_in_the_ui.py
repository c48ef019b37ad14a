"""A deployed run waits for its approval without holding a process, and its form in the Prefect UI decides."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, StateType

from deployments.bootstrap import Installation, bootstrap, local_pool
from flows.run_scenario import RunScenarioRequest, run_scenario
from pointsman.safety import create_token, list_tokens, read_approval, who_acts
from pointsman.scenario import read_run
from pointsman.storage import tables
from pointsman.workspace import Workspace
from service.cli.up import world_environment
from tests.few_inputs import variant
from tests.world import FEW_INPUTS, LabWorld

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("world"), pytest.mark.timeout(600)]
PREFIX = "asking-"
STAGE = {"name": "only", "kind": "constant", "rate": 4.0, "duration_s": 1.0}
WITHIN_S = 90.0


@pytest.fixture(scope="module")
def _worker(_running_world: LabWorld) -> Iterator[None]:
    world = _running_world.world
    with _running_world.active():
        environment = world_environment(world) | {"POINTSMAN_APPROVAL_LIMIT_USD": "0.000001"}
        bootstrap(Installation(PREFIX), environment)
        pool = ("--pool", local_pool(PREFIX), "--type", "process")
        argv = [sys.executable, "-m", "prefect", "worker", "start", *pool]
        world.start("worker", argv, port=None, owner="tests", env={**environment, "PREFECT_WORKER_QUERY_SECONDS": "1"})
    yield
    world.stop(["worker"])


@pytest.fixture(scope="module")
def _measured(_running_world: LabWorld) -> None:
    """One run, so that what the others will cost can be forecast: of unknown cost the lab's runs ask nobody.

    It is run here, where no limit is set: other tests may have measured the same before, and then it would ask too."""
    with _running_world.active():
        run_scenario(RunScenarioRequest.model_validate(request("measured-before")))


@pytest.fixture
def client(lab_world: LabWorld, _worker: None, _measured: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as opened:
        yield opened


def request(run_id: str) -> dict[str, Any]:
    return {
        "scenario": {"name": "asked", "stages": [STAGE], "drain_limit_s": 30.0},
        "variant": variant("x264-veryfast-crf23"),
        "input_set": FEW_INPUTS,
        "run_id": run_id,
    }


def start(client: SyncPrefectClient, run_id: str) -> UUID:
    deployed = client.read_deployment_by_name(f"run-scenario/{local_pool(PREFIX)}")
    return client.create_flow_run_from_deployment(deployed.id, parameters={"request": request(run_id)}).id


def await_state(client: SyncPrefectClient, flow_run_id: UUID, *wanted: StateType, turn: int = 0) -> FlowRun:
    until = time.monotonic() + WITHIN_S
    while time.monotonic() < until:
        found = client.read_flow_run(flow_run_id)
        paused = found.empirical_policy.pause_keys or set()
        if found.state is not None and found.state.type in wanted and len(paused) >= turn:
            return found
        time.sleep(0.5)
    raise AssertionError(f"{found.state!r}")


def kept_by_prefect(client: SyncPrefectClient, flow_run_id: UUID) -> str:
    return str(client.filter_flow_run_input(flow_run_id, key_prefix="", limit=100, exclude_keys=set()))


def everything(ws: Workspace) -> str:
    with ws.database.connect() as connection:
        return str([row for table in tables.metadata.sorted_tables for row in connection.execute(table.select())])


def asked_for(ws: Workspace, run_id: str) -> Any:
    with ws.database.connect() as connection:
        of_run = tables.approvals.select().where(tables.approvals.c.subject_id == run_id)
        return connection.execute(of_run).one()


def test_the_form_decides_by_a_token_which_is_used_up_and_kept_nowhere(
    lab_world: LabWorld, client: SyncPrefectClient
) -> None:
    ws = lab_world.workspace()
    me = who_acts(ws, None)
    flow_run_id = start(client, "asked-in-the-ui")
    await_state(client, flow_run_id, StateType.PAUSED, turn=1)
    assert read_run(ws, "asked-in-the-ui").status == "awaiting_approval"
    asked = asked_for(ws, "asked-in-the-ui")
    assert asked.requester_proof == "none", "the Prefect UI proves nobody's name"

    _, operator = create_token(ws, me, "an-operator", "operator")
    client.resume_flow_run(flow_run_id, run_input={"decision": "approve", "token": operator.reveal()})
    await_state(client, flow_run_id, StateType.PAUSED, turn=2)
    assert read_approval(ws, asked.id).decision is None, "it takes an admin, and the form is shown again"
    assert "takes the role admin" in kept_by_prefect(client, flow_run_id)

    _, admin = create_token(ws, me, "an-admin", "admin")
    client.resume_flow_run(flow_run_id, run_input={"decision": "approve", "token": admin.reveal(), "reason": "fine"})
    await_state(client, flow_run_id, StateType.COMPLETED)
    assert read_approval(ws, asked.id).decided_by == "an-admin"
    assert read_run(ws, "asked-in-the-ui").status == "completed"
    used = {one.identity: one.revoked_at for one in list_tokens(ws)}
    assert None not in (used["an-operator"], used["an-admin"])
    for token in (operator, admin):
        assert token.reveal() not in kept_by_prefect(client, flow_run_id) + everything(ws)


def test_an_approval_at_the_terminal_wakes_the_run(
    lab_world: LabWorld, client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.cli import main

    ws = lab_world.workspace()
    flow_run_id = start(client, "approved-at-a-terminal")
    await_state(client, flow_run_id, StateType.PAUSED, turn=1)
    _, admin = create_token(ws, who_acts(ws, None), "at-a-terminal", "admin")
    monkeypatch.setenv("POINTSMAN_TOKEN", admin.reveal())
    assert main(["approve", asked_for(ws, "approved-at-a-terminal").id]) == 0
    await_state(client, flow_run_id, StateType.COMPLETED)
    assert read_run(ws, "approved-at-a-terminal").status == "completed"


def test_a_rejected_run_has_failed(lab_world: LabWorld, client: SyncPrefectClient) -> None:
    ws = lab_world.workspace()
    flow_run_id = start(client, "rejected-in-the-ui")
    await_state(client, flow_run_id, StateType.PAUSED, turn=1)
    _, admin = create_token(ws, who_acts(ws, None), "who-says-no", "admin")
    form = {"decision": "reject", "token": admin.reveal(), "reason": "not now"}
    client.resume_flow_run(flow_run_id, run_input=form)
    await_state(client, flow_run_id, StateType.FAILED)
    failure = read_run(ws, "rejected-in-the-ui").metrics_json["failure"]
    assert failure["code"] == "approval_rejected"
    assert "who-says-no rejected" in failure["message"]
