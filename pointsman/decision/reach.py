"""From stored rows to a verdict and its document: what `conclude` stores, and what an audit computes again."""

from __future__ import annotations

from dataclasses import dataclass

from pointsman.decision.decide import decide
from pointsman.decision.document import verdict_document
from pointsman.decision.evidence import gather
from pointsman.decision.plan import VerdictPlan
from pointsman.economics import PriceBook, measurements
from pointsman.model import Measurement, Verdict
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Reached:
    """What the plan makes of the rows; `document` holds all of it."""

    data: list[Measurement]
    verdict: Verdict
    document: bytes


def reach(ws: Workspace, benchmark_id: str, evaluation_set_id: str, plan: VerdictPlan, book: PriceBook) -> Reached:
    """Equal rows, plan and book give equal bytes. Raises `NotFound` for an unknown benchmark or evaluation set."""
    data = measurements(ws, benchmark_id, evaluation_set_id, book, deliveries_per_output=plan.deliveries_per_output)
    verdict = decide(plan, data)
    evidence = gather(ws, benchmark_id, evaluation_set_id, book)
    return Reached(data, verdict, verdict_document(plan, data, verdict, evidence))
