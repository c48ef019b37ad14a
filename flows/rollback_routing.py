"""rollback-routing: put back what a route had before, as a new generation, and prove it by routed jobs."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from pointsman.errors import RunFailed
from tasks.routing import Moved, probe, report_routing, roll_back, takes_guard


class RollbackRoutingRequest(BaseModel):
    """A route and the generation to undo."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route_key: str = Field(title="Route", description="er:<id>:env:<id>:stage:<stage>")
    expected_generation: int = Field(title="Expected generation", description="The generation to undo.", ge=1)
    to_generation: int | None = Field(
        None, title="To generation", description="One that served before; empty: the one just before.", ge=1
    )
    reason: str = Field("asked by an operator", title="Reason", description="Kept in the history.", max_length=500)
    gateway: str | None = Field(
        None,
        title="Gateway",
        description="Name of a saved routing gateway block: where a new route is shown. Empty: `default`; a route that "
        "is bound has its own.",
    )
    target: str = Field("lab", title="Target", description="Name of the target block that serves the route.")
    input_set: str | None = Field(
        None,
        title="Input set",
        description="Inputs of the routed jobs that prove the rollback; empty: none are sent.",
    )
    probe_jobs: int = Field(
        3,
        title="Probe jobs",
        description="Routed jobs that must meet the binding; none are sent into production.",
        ge=1,
        le=1000,
    )
    run_id: str | None = Field(
        None,
        title="Run id",
        description="Names the change. The same id again continues it; empty: the flow run's own id.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )


@flow(name="rollback-routing", flow_run_name="rollback-{request.route_key}")
def rollback_routing(request: RollbackRoutingRequest) -> Moved:
    """Returns the binding before and after, and what the probe saw. Raises `RunFailed` when the probe fails.

    Going back takes nobody's consent, nor inputs; so in production, where routed jobs do, none are sent to prove it.
    """
    run_id = request.run_id or flow_run.id
    back = roll_back(
        request.route_key,
        request.expected_generation,
        run_id,
        request.gateway,
        request.reason,
        to_generation=request.to_generation,
    )
    proved = back
    if request.input_set is not None and not takes_guard(request.route_key):
        proved = probe(back, run_id, request.target, request.input_set, request.probe_jobs, None)
    report_routing(proved)
    if proved.probe is not None and not proved.probe.passed:
        raise RunFailed(
            f"Generation {proved.generation} is published, but routed jobs do not meet it: {proved.probe.why}.",
            instruction=f"pointsman route history {request.route_key}",
            code="probe_failed",
        )
    return proved
