"""Ending what a judge was sent and nobody waits for any more."""

from __future__ import annotations

from pointsman.quality.calls import LedgerCalls
from pointsman.quality.evaluation import evaluation_sets_of
from pointsman.quality.protocol import SendsBatches
from pointsman.quality.spec import JudgeSpec
from pointsman.settings import Settings
from pointsman.workspace import Workspace


def cancel_batches(ws: Workspace, benchmark_id: str, settings: Settings) -> int:
    """Ask the services to end the open batches of a benchmark's judgements; how many there were.

    They stay on record, as calls that may be billed, until somebody judges the benchmark again: what was answered all
    the same is used then. Raises `InputRefused` without the key that they were sent with.
    """
    cancelled = 0
    for of in evaluation_sets_of(ws, benchmark_id):
        calls = LedgerCalls(ws, of.id, judge=of.identity.name, cap=None)
        if any(batch.answers is None for batch in calls.batches.all()):
            judge = JudgeSpec(kind="gemini", model=of.identity.model).build(settings, clock=ws.clock).judge
            assert isinstance(judge, SendsBatches)
            cancelled += judge.cancel_batches(calls)
    return cancelled
