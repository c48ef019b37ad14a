"""capture-baseline: look at an environment without touching it, and keep what it consists of and how it stands."""

from __future__ import annotations

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from tasks.acceptance import read_environment, report_baseline


class CaptureBaselineRequest(BaseModel):
    """One environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: str = Field(
        "staging",
        title="Environment",
        description="Names the environment in results; a registered one brings its region and cluster.",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$",
    )
    region: str | None = Field(
        None,
        title="Region",
        description="AWS region; empty: the environment's own, else that of the AWS settings.",
        pattern=r"^[a-z]{2}(-[a-z]+)+-\d$",
    )
    cluster: str | None = Field(
        None,
        title="ECS cluster",
        description="Name or ARN; empty: the environment's own, else every cluster of the region.",
        max_length=255,
    )
    run_id: str | None = Field(
        None,
        title="Run id",
        description="Names the run. The same id again shows what it found then; empty: the flow run's own id.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )


@flow(name="capture-baseline", flow_run_name="baseline-of-{request.environment}")
def capture_baseline(request: CaptureBaselineRequest) -> str:
    """Returns the id of the run, under which the baseline is found."""
    run_id = request.run_id or flow_run.id
    read_environment(run_id, environment_id=request.environment, region=request.region, cluster=request.cluster)
    report_baseline(run_id)
    return run_id
