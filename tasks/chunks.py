"""Chunks of a benchmark that run as tasks elsewhere: whether they do, where they are started, and the turn of one."""

from __future__ import annotations

from contextlib import AbstractContextManager

from blocks.flow_runs import APPROVAL_TAG, ecs_runs
from pointsman import benchmark
from pointsman.benchmark import Turn
from pointsman.scenario import RunLauncher
from pointsman.settings import load_settings, require_shared
from tasks.opening import open_workspace


def runs_elsewhere() -> bool:
    """Whether chunks run as tasks that share only the database and the results store; else within this flow run."""
    return load_settings().runner_mode == "ecs"


def chunk_runs(bm_id: str) -> RunLauncher:
    """Runs on the work pool that the settings name. Raises `InputRefused` when a task there would not see our state.

    Tasks of a matrix in production, and of its judging, carry the approval: without it AWS starts none there.
    """
    settings = load_settings()
    require_shared(settings)
    consent = benchmark.matrix_run(open_workspace(), bm_id).consent
    return ecs_runs(settings, {} if consent is None else {APPROVAL_TAG: consent.approval_id})


def as_turn(turn: Turn) -> AbstractContextManager[None]:
    """What ends the flow run is told to whoever started it, when all tries of its tasks are used up."""
    return benchmark.as_turn(open_workspace(), turn)
