"""run-scenario: put one variant under an offered load and report how it held."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from pointsman.errors import PointsmanError
from pointsman.safety import Permit
from pointsman.scenario import Scenario
from tasks.approving import await_decision
from tasks.cancelling import cancel_load_test
from tasks.checks import check_ledger
from tasks.naming import named
from tasks.safety import admit_scenario, may_start, price_scenario
from tasks.scenario import (
    check_scenario_faults,
    drive_scenario,
    give_up_scenario,
    plan_scenario,
    report_scenario,
    was_refused,
)


class RunScenarioRequest(BaseModel):
    """One load-test run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenario: Scenario = Field(
        title="Scenario", description="Stages of offered load.", json_schema_extra={"position": 0}
    )
    variant: str = Field(
        title="Variant",
        description="Id of a registered variant: er:..:wf:..:env:..:stage:..:provider:..:exp:..",
        json_schema_extra={"position": 1},
    )
    input_set: str = Field(title="Input set", description="Id of a registered input set.", max_length=64)
    price_book: str = Field(
        "default", title="Price book", description="Name of a saved price book block: what the run will cost."
    )
    seed: int = Field(1, title="Seed", description="Fixes arrivals and the order of inputs.", ge=0, lt=2**31)
    run_id: str | None = Field(
        None,
        title="Run id",
        description="Names the run. The same id again continues it; empty: the flow run's own id.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )
    fall_back_inline: bool = Field(
        False,
        title="Fall back",
        description="Where the shards are to run on ECS and that cannot be used: drive them beside the coordinator.",
    )
    parent_run_id: str | None = Field(None, title="Parent run", description="The run this one is a step of.")
    production: str | None = Field(
        None,
        title="Production",
        description="Only where the variant belongs to production: the id of that environment, to say so.",
        max_length=64,
    )


def _may_start(run_id: str, request: RunScenarioRequest) -> Permit | None:
    return may_start(
        run_id,
        parent_run_id=request.parent_run_id,
        scenario=request.scenario,
        seed=request.seed,
        variant_id=request.variant,
        input_set_id=request.input_set,
        price_book=request.price_book,
        production=request.production,
    )


@flow(name="run-scenario", flow_run_name=named("{scenario[name]}-{id}"), on_cancellation=[cancel_load_test])
def run_scenario(request: RunScenarioRequest) -> str:
    """Returns the id of the load-test run."""
    run_id = request.run_id or flow_run.id
    permit = _may_start(run_id, request)
    plan_scenario(
        run_id,
        parent_run_id=request.parent_run_id,
        scenario=request.scenario,
        seed=request.seed,
        variant_id=request.variant,
        input_set_id=request.input_set,
    )
    try:
        admission = admit_scenario(run_id, permit, input_set_id=request.input_set, price_book=request.price_book)
        while admission.state == "waiting":
            await_decision(admission)
            permit = _may_start(run_id, request)
            admission = admit_scenario(run_id, permit, input_set_id=request.input_set, price_book=request.price_book)
        check_scenario_faults(run_id)
        drive_scenario(run_id, fall_back_inline=request.fall_back_inline)
    except PointsmanError as error:
        if error.code == "awaiting_approval" or was_refused(run_id):
            raise  # nothing was begun that a report could be about
        # As a step of another run the same command continues it; on its own nobody comes back for it.
        if request.parent_run_id is None:
            give_up_scenario(run_id, error.as_failure())
        price_scenario(run_id, price_book=request.price_book)
        if request.parent_run_id is None:
            report_scenario(run_id, return_state=True)  # the failure that is raised is the run's, not the report's
        raise
    price_scenario(run_id, price_book=request.price_book)
    check_ledger(run_id)
    report_scenario(run_id)
    return run_id
