"""What a cancel in Prefect means for a run of ours: whoever ends the flow run's process carries it out afterwards."""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State

from pointsman.errors import NotFound
from pointsman.ids import benchmark_id
from pointsman.quality import cancel_batches
from pointsman.scenario import cancel_run
from pointsman.settings import load_settings
from pointsman.workspace import Workspace

_ENDS_WITHIN_S = 60.0


def cancel_load_test(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Cancel the load test of the flow run, whose jobs are ended at their target and whose books are closed.

    As a step of another run it is left to be continued: a cancelled load test would end the whole chain for good.
    """
    request = flow_run.parameters["request"]
    if request.get("parent_run_id"):
        return
    settings = load_settings()
    ws = Workspace.open(settings, actor=f"flow-run:{flow_run.id}")
    try:
        cancel_run(
            ws,
            request.get("run_id") or str(flow_run.id),
            reason="the flow run was cancelled in Prefect",
            secret=settings.executor_secret,
            wait_s=_ENDS_WITHIN_S,
        )
    except NotFound:
        return  # it was cancelled before it had planned anything


def cancel_judging(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Have the judge's service end the batches that the flow run waited for."""
    request = flow_run.parameters["request"]
    run_id = request.get("of_run") or request.get("run_id") or str(flow_run.id)
    settings = load_settings()
    ws = Workspace.open(settings, actor=f"flow-run:{flow_run.id}")
    cancel_batches(ws, request.get("benchmark_id") or benchmark_id(run_id), settings)
