"""From stored rows to a verdict and its document: what `conclude` stores, and what an audit computes again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark import NOT_GIVEN
from pointsman.decision.decide import decide
from pointsman.decision.document import verdict_document
from pointsman.decision.evidence import gather
from pointsman.decision.plan import VerdictPlan
from pointsman.decision.service import Services
from pointsman.economics import PriceBook, measurements
from pointsman.model import Measurement, Missing, Number, Verdict
from pointsman.storage import tables
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Reached:
    """What the plan makes of the rows; `document` holds all of it."""

    data: list[Measurement]
    verdict: Verdict
    document: bytes


def reach(
    ws: Workspace,
    benchmark_id: str,
    evaluation_set_id: str,
    plan: VerdictPlan,
    book: PriceBook,
    services: Services,
    *,
    seen: Collection[str] | None = None,
) -> Reached:
    """Equal rows, plan, book and services give equal bytes. Raises `NotFound` for an unknown benchmark or set.

    Of a sequential plan only those cells count that were done; or those `seen` at an earlier look.
    """
    data = measurements(ws, benchmark_id, evaluation_set_id, book, deliveries_per_output=plan.deliveries_per_output)
    if plan.sequential:
        done = _done(ws, benchmark_id, evaluation_set_id) if seen is None else seen
        data = [cell for cell in data if cell.dispatch_id in done]
    if plan.scores:
        data = _with_scores(ws, evaluation_set_id, data, tuple(plan.scores))
    verdict = decide(plan, data, services)
    evidence = gather(ws, benchmark_id, evaluation_set_id, book, {cell.dispatch_id for cell in data})
    return Reached(data, verdict, verdict_document(plan, data, verdict, services=services, evidence=evidence))


def _done(ws: Workspace, benchmark_id: str, evaluation_set_id: str) -> frozenset[str]:
    """The cells that were run to their end and, where they gave an output, judged; and those that their variants were
    not given, which are over as well."""
    items, judged = tables.benchmark_matrix_run_items, tables.quality_evaluations
    ended = sa.select(items.c.dispatch_id, items.c.status, items.c.reason).where(
        items.c.benchmark_id == benchmark_id, items.c.status.in_(("completed", "failed", "invalid", "skipped"))
    )
    heard = sa.select(judged.c.dispatch_id).where(judged.c.evaluation_set_id == evaluation_set_id)
    with ws.database.connect() as connection:
        known = set(connection.execute(heard).scalars())
        rows = connection.execute(ended).all()
    return frozenset(
        row.dispatch_id
        for row in rows
        if (row.status != "completed" or row.dispatch_id in known)
        and (row.status != "skipped" or (row.reason or "").startswith(NOT_GIVEN))
    )


def _with_scores(
    ws: Workspace, evaluation_set_id: str, data: Sequence[Measurement], names: Sequence[str]
) -> list[Measurement]:
    table = tables.quality_evaluations
    wanted = sa.select(table.c.dispatch_id, table.c.scores).where(table.c.evaluation_set_id == evaluation_set_id)
    with ws.database.connect() as connection:
        answered = {row.dispatch_id: row.scores for row in connection.execute(wanted)}
    return [
        replace(cell, scores=tuple((name, _score_of(cell, answered.get(cell.dispatch_id, {}), name)) for name in names))
        if cell.outcome == "success"
        else cell
        for cell in data
    ]


def _score_of(cell: Measurement, answered: Any, path: str) -> Number:
    """An output that is worth nothing, such as one that does not play, may have been compared with nothing: it scores 0
    as a cell without output does.
    """
    found = _score(answered, path)
    return Decimal(0) if isinstance(found, Missing) and cell.quality == 0 else found


def _score(answered: Any, path: str) -> Number:
    """The number at a dotted path of what the judge answered."""
    for part in path.split("."):
        answered = answered.get(part) if isinstance(answered, Mapping) else None
    if isinstance(answered, bool) or not isinstance(answered, (int, float)):
        return Missing(f"the judge gave no number as {path}")
    return Decimal(repr(answered))
