"""The automations of a real Prefect server as they fire: on a run that nobody starts, and on one that went silent."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import emit_event
from prefect.states import Pending, Running

from deployments import automations
from tests.lab.running import eventually
from tests.world import LabWorld

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("world")]
TAG = "pointsman-pool:fires-local"
WITHIN_S = 60.0


def run(client: SyncPrefectClient, *tags: str) -> UUID:
    flow_id = client.create_flow_from_name("of-a-test")
    deployment = client.create_deployment(flow_id, name=f"fires-{len(tags)}", tags=list(tags))
    return client.create_flow_run_from_deployment(deployment).id


def beat(flow_run: UUID, *tags: str) -> None:
    """As its engine does."""
    related = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags]
    resource = {"prefect.resource.id": f"prefect.flow-run.{flow_run}"}
    emit_event(event="prefect.flow-run.heartbeat", resource=resource, related=related)


def test_a_run_that_nobody_starts_and_one_that_went_silent_are_crashed_and_no_other(
    lab_world: LabWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automations, "STUCK_AFTER", timedelta(seconds=10))
    monkeypatch.setattr(automations, "HEARTBEAT_S", 4)
    with get_client(sync_client=True) as client:
        made = [
            client.create_automation(one) for one in automations.wanted_automations("fires-", ["fires-local"], None)
        ]
        stuck, silent, lively, foreign = run(client, TAG), run(client, TAG), run(client, TAG), run(client)
        for one in (stuck, foreign):
            client.set_flow_run_state(one, Pending(), force=True)
        for one in (silent, lively):
            client.set_flow_run_state(one, Running(), force=True)
            beat(one, TAG)
        told: dict[UUID, str | None] = {}

        def both_crashed() -> bool:
            beat(lively, TAG)
            for one in (stuck, silent):
                state = client.read_flow_run(one).state
                if state is not None and state.is_crashed():
                    told[one] = state.message
            return len(told) == 2

        eventually(both_crashed, WITHIN_S)
        assert told == {
            stuck: "It was not started within ten minutes.",
            silent: "Its process has not been heard of.",
        }
        assert client.read_flow_run(lively).state_name == "Running"
        assert client.read_flow_run(foreign).state_name == "Pending"
        for automation in made:
            client.delete_automation(automation)
