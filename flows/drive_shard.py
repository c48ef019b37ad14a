"""drive-shard: one shard of a load test, in a process of its own wherever a worker is, for the run's coordinator."""

from __future__ import annotations

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from tasks.naming import named
from tasks.shards import drive_one_shard


class DriveShardRequest(BaseModel):
    """One process of a shard."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str = Field(
        title="Run id",
        description="A load-test run that somebody coordinates now: `run-scenario` does, and starts its shards.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
        json_schema_extra={"position": 0},
    )
    shard: int = Field(title="Shard", description="Which one, from 0.", ge=0, lt=64, json_schema_extra={"position": 1})
    turn: int = Field(
        1,
        title="Turn",
        description="How many processes the shard will have had: a later one takes over from an earlier one.",
        ge=1,
    )


@flow(name="drive-shard", flow_run_name=named("{run_id}-{shard}-{turn}"))
def drive_shard(request: DriveShardRequest) -> str:
    """Returns how the shard's drive ended: `completed` or `cancelled`."""
    return drive_one_shard(request.run_id, request.shard, request.turn)
