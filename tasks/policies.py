"""The failure policies of tasks: a task exists because its work fails, and is retried, as one.

No policy caches or persists results: the state of record is SQL, and every engine function continues its own work.
"""

from __future__ import annotations

from typing import Any

import httpx
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from pointsman.errors import Cancelled, DataCheckFailed, DependencyDown, GuardRefused, InputRefused
from pointsman.quality import JudgeUnavailable

_FINAL = (InputRefused, GuardRefused, DataCheckFailed, Cancelled, JudgeUnavailable, httpx.TransportError)


def worth_retrying(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """A refusal stays a refusal however often it is repeated; everything else may pass.

    For a judge, a target and a Prefect server out of reach whoever called them has waited already.
    """
    outcome = state.result(raise_on_failure=False)
    lost = isinstance(outcome, DependencyDown) and outcome.code == "target_lost"
    return not lost and not isinstance(outcome, _FINAL)


_COMMON: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "retry_condition_fn": worth_retrying}

RECORD: dict[str, Any] = {**_COMMON, "retries": 2, "retry_delay_seconds": [0.5, 2]}
"""Short work on our own database and store: a lock or a hiccup passes within seconds."""

DRIVE: dict[str, Any] = {**_COMMON, "retries": 2, "retry_delay_seconds": [1, 5]}
"""A child that sends jobs: when it or its target dies, the journal lets the next try continue."""

JUDGE: dict[str, Any] = {**_COMMON, "retries": 1, "retry_delay_seconds": [1]}
"""A chunk of judgements: judges retry their own calls, so this covers only the loss of a process."""

CHANGE: dict[str, Any] = {**_COMMON, "retries": 3, "retry_delay_seconds": [0.5, 2, 5]}
"""A change of routing: idempotent by key, so it is repeated until SQL and gateway agree."""

ONCE: dict[str, Any] = {**_COMMON, "retries": 0}
"""An answer that a repetition cannot change: a data check, a decision."""
