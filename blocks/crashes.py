"""Why a flow run ended without a word of its own: what its state says, and what its worker wrote into its log."""

from __future__ import annotations

import logging
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId, LogFilterLevel
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import LogSort

_LONGEST = 600
"""Characters of a line of the log: the rest is a traceback."""


def told_of(client: SyncPrefectClient, run: Any, state: State[Any]) -> str:
    """How the run with this id ended, in Prefect's words: `Completed`, `Crashed (why): what its worker says`."""
    told = f"{state.name}{f' ({state.message})' if state.message else ''}"
    if not state.is_crashed():
        return told
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]), level=LogFilterLevel(ge_=logging.ERROR))
    errors = client.read_logs(wanted, limit=1, sort=LogSort.TIMESTAMP_DESC)
    return f"{told}: {errors[0].message[:_LONGEST]}" if errors else told
