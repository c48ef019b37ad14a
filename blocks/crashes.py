"""Why a flow run ended without a word of its own: what its state says, and what its worker wrote into its log."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId, LogFilterLevel
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import LogSort

SAYS_WHY_WITHIN_S = 6.0
"""How long after a run crashed its worker may write why: its log is sent every two seconds."""
_LONGEST = 600
"""Characters of a line of the log: the rest is a traceback."""


def told_of(client: SyncPrefectClient, run: UUID, state: State[Any], *, for_s: float) -> str | None:
    """How the run ended, in Prefect's words: `Completed`, `Crashed (why): what its worker says`.

    It has been known `for_s` seconds that it did. None while its worker may still say why.
    """
    told = f"{state.name}{f' ({state.message})' if state.message else ''}"
    if not state.is_crashed():
        return told
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run]), level=LogFilterLevel(ge_=logging.ERROR))
    errors = client.read_logs(wanted, limit=1, sort=LogSort.TIMESTAMP_DESC)
    if errors:
        return f"{told}: {errors[0].message[:_LONGEST]}"
    return told if for_s >= SAYS_WHY_WITHIN_S else None
