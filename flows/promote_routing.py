"""promote-routing: let a canary go on from the step where it is, or confirm a switch that has ended."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from flows.apply_routing import go_on, in_steps, prove
from pointsman.routing import CanaryRules
from tasks.canary import check_promotion, find_canary, take_up_canary
from tasks.production import enter_with_change, once_agreed
from tasks.routing import Moved


class PromoteRoutingRequest(BaseModel):
    """A route in a canary, and the generation that serves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route_key: str = Field(title="Route", description="er:<id>:env:<id>:stage:<stage>")
    expected_generation: int = Field(title="Expected generation", description="The generation that serves.", ge=1)
    reason: str = Field("promoted by an operator", title="Reason", description="Kept in the history.", max_length=500)
    to_end: bool = Field(False, title="To the end", description="Everything at once, without a further look.")
    gateway: str | None = Field(
        None,
        title="Gateway",
        description="Name of a saved routing gateway block: where a new route is shown. Empty: `default`; a route that "
        "is bound has its own.",
    )
    target: str = Field("lab", title="Target", description="Name of the target block that serves the route.")
    input_set: str = Field(title="Input set", description="Inputs of the routed jobs.")
    canary: CanaryRules = Field(CanaryRules(), title="Canary", description="How further steps are looked at.")
    probe_jobs: int = Field(6, title="Probe jobs", description="Routed jobs at the end.", ge=1, le=1000)
    price_book: str = Field(
        "default", title="Price book", description="Name of a saved price book block: what the routed jobs will cost."
    )
    production: str | None = Field(
        None,
        title="Production",
        description="Only for a route of production: the id of that environment, to say so.",
        max_length=64,
    )
    run_id: str | None = Field(
        None,
        title="Run id",
        description="Names the change. The same id again continues it; empty: the flow run's own id.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )


@flow(name="promote-routing", flow_run_name="promote-{request.route_key}")
def promote_routing(request: PromoteRoutingRequest) -> Moved:
    """Takes the step where the canary is for good. Returns and raises as apply-routing does.

    In production it is agreed to like the change: an operator decides here what a look was to decide.
    """
    run_id = request.run_id or flow_run.id
    found = find_canary(request.route_key, request.expected_generation)
    check_promotion(found, request.gateway, to_end=request.to_end)
    consent = once_agreed(
        lambda: enter_with_change(
            found,
            run_id,
            input_set_id=request.input_set,
            probe_jobs=request.probe_jobs,
            canary=None if request.to_end else request.canary,
            price_book=request.price_book,
            production=request.production,
        )
    )
    taken_up = take_up_canary(found, request.reason)
    moved = go_on(taken_up, request.gateway, request.reason, consent, to_end=request.to_end)
    moved = in_steps(moved, run_id, request.gateway, request.target, request.input_set, request.canary, consent)
    return prove(moved, run_id, request.gateway, request.target, request.input_set, request.probe_jobs, consent)
