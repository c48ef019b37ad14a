"""Events of the action log as events of Prefect, where automations act on them and the UI shows them."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL

from pointsman.actions import EventSink, JsonLinesSink, SinkEvent, SinkSpec
from pointsman.errors import DependencyDown
from pointsman.settings import load_settings

INSTALLATION_LABEL = "pointsman.installation"
"""The label of an event's resource that says whose event it is, where several installations share a server."""


def installation(prefix: str) -> str:
    """The value of that label, for the POINTSMAN_PREFECT_PREFIX of an installation."""
    return prefix or "pointsman"


class PrefectEventSink:
    """Emits `pointsman.<event>` about the resource `pointsman.run.<run or context>`, in relation to the flow run.

    A repetition has the same id, which Prefect keeps once.
    """

    def send(self, event: SinkEvent) -> None:
        # Prefect takes an event into a queue of this process whether or not its server answers: that is asked before.
        problem = _problem()
        subject = event.run_id or event.context or "none"
        emitted = problem or emit_event(
            f"pointsman.{event.event}",
            resource={
                "prefect.resource.id": f"pointsman.run.{subject}",
                "prefect.resource.name": subject,
                INSTALLATION_LABEL: installation(load_settings().prefect_prefix),
            },
            related=_flow_run(event.run_id),
            payload=event.document(),
            occurred=event.at,
            id=event.key,
        )
        if problem or emitted is None:
            raise DependencyDown(
                f"The Prefect server did not take an event: {problem or 'events are off'}.",
                instruction="pointsman doctor",
                code="prefect_unreachable",
            )


def _problem() -> str | None:
    """Why the server would not get an event now."""
    if not PREFECT_API_URL.value():
        return "PREFECT_API_URL is not set"
    with get_client(sync_client=True) as client:
        failed = client.api_healthcheck()
    return None if failed is None else f"{type(failed).__name__}: {failed}"


def _flow_run(run_id: str | None) -> list[dict[str, str]]:
    """The flow run that a run was made by: it lends it its id unless told another."""
    try:
        made_by = UUID(run_id or "")
    except ValueError:
        return []
    return [{"prefect.resource.id": f"prefect.flow-run.{made_by}", "prefect.resource.role": "flow-run"}]


def open_sink(spec: SinkSpec) -> EventSink:
    """The sink that a spec describes."""
    return PrefectEventSink() if spec.path is None else JsonLinesSink(spec.file)
