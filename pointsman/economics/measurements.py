"""The measurements that a verdict rests on: one per planned cell, its money joined with what the judge said."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from pointsman.economics.cells import price_cells
from pointsman.economics.price_book import PriceBook
from pointsman.errors import NotFound
from pointsman.model import Measurement, Missing, Number
from pointsman.quality import NO_REFERENCE
from pointsman.storage import tables
from pointsman.workspace import Workspace


def measurements(
    ws: Workspace,
    benchmark_id: str,
    evaluation_set_id: str,
    book: PriceBook,
    *,
    deliveries_per_output: int,
    storage_months: Decimal = Decimal(1),
) -> list[Measurement]:
    """One per planned cell, in planned order, with the qualities of this evaluation set and no other.

    What rests on checks without a source is no quality, so that no verdict but INSUFFICIENT_DATA comes of it.
    Raises `NotFound` for an unknown benchmark, or an evaluation set that is not one of it.
    """
    cells = price_cells(
        ws, benchmark_id, book, deliveries_per_output=deliveries_per_output, storage_months=storage_months
    )
    qualities = qualities_of(ws, benchmark_id, evaluation_set_id)
    return [
        Measurement(
            dispatch_id=cell.dispatch_id,
            variant=cell.variant,
            input_id=cell.input_id,
            cluster=cell.cluster,
            repeat=cell.repeat,
            outcome=cell.outcome,
            quality=qualities.get(cell.dispatch_id, Missing("not judged"))
            if cell.outcome == "success"
            else Missing(f"no output: {cell.reason or cell.outcome}"),
            cost_usd=cell.cost,
            total_ms=cell.total_ms,
        )
        for cell in cells
    ]


def qualities_of(ws: Workspace, benchmark_id: str, evaluation_set_id: str) -> dict[str, Number]:
    """By dispatch id, of the cells that this set judged. Raises `NotFound` for a set of another benchmark."""
    sets, evaluations = tables.evaluation_sets, tables.quality_evaluations
    with ws.database.connect() as connection:
        of_benchmark = set(
            connection.execute(sa.select(sets.c.id).where(sets.c.benchmark_id == benchmark_id)).scalars()
        )
        if evaluation_set_id not in of_benchmark:
            raise NotFound("evaluation set", evaluation_set_id, f"{', '.join(sorted(of_benchmark)) or 'none'}")
        found = sa.select(evaluations).where(evaluations.c.evaluation_set_id == evaluation_set_id)
        return {row.dispatch_id: _quality(row) for row in connection.execute(found)}


def _quality(row: sa.Row[Any]) -> Number:
    if row.quality is None:
        return Missing(row.missing_reason)
    if row.scores.get("basis") == NO_REFERENCE:
        # Whoever wrote a number there: that an output plays and is not black does not make it a good one.
        return Missing("checks without a source make no quality")
    return Decimal(row.quality)
