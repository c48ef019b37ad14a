"""Automations of a Prefect server: who notices a flow run whose process is gone, and who is told of critical events.

A self-hosted server finds dead runs only in this way. Runs are told apart by a tag of their deployment, so that no run
of anybody else is ever touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from blocks import INSTALLATION_LABEL, installation
from deployments.changes import MARK, Change
from flows.benchmark_matrix import DRY_RUN
from pointsman.actions import CATALOGUE

HEARTBEAT_S = 30
"""How often runs of our deployments are heard of: PREFECT_FLOWS_HEARTBEAT_FREQUENCY in prefect.yaml."""
STUCK_AFTER = timedelta(minutes=10)
"""A task is started within minutes, its image pulled included; one that ended without its flow is never heard of."""
OF_RUN = {"__prefect_kind": "jinja", "template": "{{ flow_run.parameters.request.run_id or flow_run.id }}"}
"""The run id of the matrix whose flow run an event is about. As bare text Prefect would put `| tojson` behind it, which
binds to the second name alone."""
_ENDED = ("Completed", "Failed", "Cancelled", "Crashed")
_AWAY = ("Paused", "Suspended", "Scheduled", "AwaitingRetry", "AwaitingConcurrencySlot", "Late")
"""States in which a run has no process and needs none."""
_STARTING = ("Pending", "Submitting", "InfrastructurePending")
_GOING = ("Running", "Retrying", "Resuming", "Cancelling")


def wanted_automations(prefix: str, deployed_on: Sequence[str], notify: UUID | None) -> list[AutomationCore]:
    """All of them, for runs of deployments of these names; who is to be told is a notification block."""
    runs: dict[str, Any] = {
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {
            "prefect.resource.role": "tag",
            "prefect.resource.id": [f"prefect.tag.pointsman-pool:{name}" for name in deployed_on],
        },
        "for_each": {"prefect.resource.id"},
        "posture": Posture.Proactive,
    }
    found = [
        AutomationCore(
            name=f"{prefix}pointsman: missed heartbeats",
            description=f"A run that has not been heard of for three heartbeats has crashed. {MARK}",
            trigger=EventTrigger(
                **runs,
                after={"prefect.flow-run.heartbeat"},
                # A run that is being cancelled is ended by the server.
                expect={"prefect.flow-run.heartbeat", *_events(*_ENDED, *_AWAY, "Cancelling")},
                within=timedelta(seconds=3 * HEARTBEAT_S),
            ),
            actions=[ChangeFlowRunState(state=StateType.CRASHED, message="Its process has not been heard of.")],
        ),
        AutomationCore(
            name=f"{prefix}pointsman: stuck before start",
            description=f"A run that has been pending for ten minutes has no process. {MARK}",
            trigger=EventTrigger(
                **runs,
                after=_events(*_STARTING),
                expect=_events(*_GOING, *_ENDED, *_AWAY),
                within=STUCK_AFTER,
            ),
            actions=[ChangeFlowRunState(state=StateType.CRASHED, message="It was not started within ten minutes.")],
        ),
    ]
    if notify is not None:
        found.append(
            AutomationCore(
                name=f"{prefix}pointsman: critical events",
                description=f"Somebody is told of every critical event, and what to do. {MARK}",
                trigger=EventTrigger(
                    match={"prefect.resource.id": "pointsman.run.*", INSTALLATION_LABEL: installation(prefix)},
                    expect={f"pointsman.{one.name}" for one in CATALOGUE.values() if one.severity == "critical"},
                ),
                actions=[
                    SendNotification(
                        block_document_id=notify,
                        subject="Pointsman: {{ event.payload.event }}",
                        body="{{ event.payload.meaning }}\n\nRun: {{ event.payload.run_id or event.payload.context }}\n"
                        "What to do: {{ event.payload.instruction }}",
                    )
                ],
            )
        )
    return found


def proposing(prefix: str, pool: str, deployment: UUID | None, target: str) -> AutomationCore:
    """A matrix that a deployment of this pool ran is judged and decided, and a binding proposed, by another one of it.

    A step of a longer chain is no run of its own, and a dry run made nothing that could be judged. `target` is the
    block of the target that serves routes.
    """
    return AutomationCore(
        name=f"{prefix}pointsman: propose after a matrix on {pool}",
        description=f"A matrix that has ended is judged and decided, and a binding is proposed. {MARK}",
        trigger=EventTrigger(
            match={"prefect.resource.id": "prefect.flow-run.*", "prefect.state-message": f"!{DRY_RUN}*"},
            match_related=[
                {"prefect.resource.role": "flow", "prefect.resource.name": "benchmark-matrix"},
                {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.pointsman-pool:{pool}"},
            ],
            for_each={"prefect.resource.id"},
            expect=_events("Completed"),
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            RunDeployment(
                deployment_id=deployment or UUID(int=0),
                parameters={"request": {"of_run": OF_RUN, "target": target}},
            )
        ],
    )


def plan_automation(client: SyncPrefectClient, wanted: AutomationCore) -> Change:
    """Where a person switched ours off it stays off."""
    found = client.read_automations_by_name(wanted.name)
    ours = [one for one in found if MARK in one.description]
    if len(found) > len(ours):
        return Change("automation", wanted.name, "refuse", "somebody else made it")
    if not ours:
        return Change("automation", wanted.name, "create", make=lambda: client.create_automation(wanted))
    first = ours[0]
    renewed = wanted.model_copy(update={"enabled": first.enabled})
    if _content(first) == _content(renewed):
        return Change("automation", wanted.name, "keep")
    return Change(
        "automation", wanted.name, "update", "it differs", lambda: client.update_automation(first.id, renewed)
    )


def _content(automation: AutomationCore) -> dict[str, Any]:
    return AutomationCore.model_validate(automation.model_dump()).model_dump()


def _events(*states: str) -> set[str]:
    return {f"prefect.flow-run.{state}" for state in states}
