"""find-capacity: the highest rate that a variant sustains within its SLOs, by load tests at constant rates."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from flows.run_scenario import RunScenarioRequest, run_scenario
from pointsman.errors import DependencyDown
from pointsman.scenario import CapacitySearch
from tasks.naming import named
from tasks.safety import price_scenario
from tasks.scenario import end_lost_capacity_step, next_capacity_step, report_capacity


class FindCapacityRequest(BaseModel):
    """One search."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: str = Field(
        title="Variant",
        description="Id of a registered variant: er:..:wf:..:env:..:stage:..:provider:..:exp:..",
        json_schema_extra={"position": 0},
    )
    input_set: str = Field(title="Input set", description="Id of a registered input set.", max_length=64)
    search: CapacitySearch = Field(
        default=CapacitySearch(), title="What to search for", description="SLOs, bounds, precision and steps."
    )
    seed: int = Field(1, title="Seed", description="Fixes the order of inputs in every step.", ge=0, lt=2**31 - 100)
    run_id: str | None = Field(
        None,
        title="Run id",
        description="Names the search. The same id again continues it; empty: the flow run's own id.",
        pattern=r"^[A-Za-z0-9._-]{1,60}$",
    )
    production: str | None = Field(
        None,
        title="Production",
        description="Only where the variant belongs to production: the id of that environment, to say so.",
        max_length=64,
    )


@flow(name="find-capacity", flow_run_name=named("capacity-{variant}"))
def find_capacity(request: FindCapacityRequest) -> str:
    """Returns the id of the search. Each step is a load test of its own, with the search as its parent."""
    search_id = request.run_id or flow_run.id
    while True:
        step = next_capacity_step(search_id, request.variant, request.search, request.seed)
        if step is None:
            break
        asked = RunScenarioRequest(
            scenario=step.scenario,
            variant=request.variant,
            input_set=request.input_set,
            seed=step.seed,
            run_id=step.run_id,
            parent_run_id=search_id,
            production=request.production,
        )
        try:
            run_scenario.fn(asked)
        except DependencyDown as error:
            # A target that goes down under a rate does not sustain it; one that was away before tells nothing.
            if error.code != "target_lost" or not end_lost_capacity_step(step.run_id, error.as_failure()):
                raise
            price_scenario(step.run_id, price_book=asked.price_book)
    report_capacity(search_id)
    return search_id
