"""The task that drives one shard of a load test, and where the shards of a run are started."""

from __future__ import annotations

from functools import partial

from prefect import task

from blocks import FlowRuns
from blocks.flow_runs import APPROVAL_TAG, ecs_runs
from pointsman.scenario import ElsewhereLauncher, ShardLauncher, drive_shard, read_run
from pointsman.settings import load_settings, require_shared
from tasks.opening import executor_secret, open_workspace
from tasks.policies import ONCE


def shard_launcher(run_id: str) -> ShardLauncher | None:
    """On the work pool that the settings name; None = as children of this process.

    Tasks of a run against production carry its approval: without it AWS starts none.
    """
    settings, ws = load_settings(), open_workspace()
    if settings.runner_pool is None:
        return None
    admitted = read_run(ws, run_id).metrics_json.get("production")
    labels = {} if admitted is None else {APPROVAL_TAG: str(admitted["approval_id"])}
    if settings.runner_mode != "ecs":
        return ElsewhereLauncher(ws, FlowRuns(f"{settings.prefect_prefix}{settings.runner_pool}", labels=labels))
    runs = ecs_runs(settings, labels)
    return ElsewhereLauncher(ws, runs, mode="ecs", require=partial(require_shared, settings))


@task(name="drive-one-shard", **ONCE)
def drive_one_shard(run_id: str, shard: int, turn: int) -> str:
    """Drive the shard to its end and say how it ended; the run's coordinator replaces a process that fails."""
    return drive_shard(open_workspace(), run_id, shard, turn=turn, secret=executor_secret()).outcome
