"""What each planned cell of a matrix cost to produce and deliver, read from the rows that the matrix left behind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa

from pointsman.economics.price_book import PriceBook
from pointsman.economics.pricing import attempt_cost, egress_cost, storage_cost, total
from pointsman.errors import InputRefused, NotFound
from pointsman.ids import VariantId
from pointsman.model import Missing, Number
from pointsman.storage import tables
from pointsman.workspace import Workspace

Outcome = Literal["success", "failure", "refused", "infrastructure"]

_OWN_FAULT = ("unknown", "target_lost", "output_fetch", "unauthorised", "chunk_lost")
"""Reasons with which an item fails through our side or the way there, not through the variant."""
NEVER_SENT = ("pending", "skipped")


@dataclass(frozen=True, slots=True)
class PricedCell:
    """One planned cell with its money in USD, split so that the parts add up to `cost` exactly.

    `output_compute` is the attempt that made the output, `other_compute` every other one: retries, lost, failed.
    """

    dispatch_id: str
    variant: VariantId
    input_id: str
    cluster: str
    repeat: int
    status: str
    outcome: Outcome
    reason: str | None
    total_ms: Number
    attempts: int
    output_compute: Number
    other_compute: Number
    egress: Number
    storage: Number

    @property
    def compute(self) -> Number:
        return total((self.output_compute, self.other_compute))

    @property
    def cost(self) -> Number:
        return total((self.output_compute, self.other_compute, self.egress, self.storage))


@dataclass(frozen=True, slots=True)
class _PricedAttempt:
    number: int
    outcome: str
    cost: Number


def outcome_of(status: str, reason: str | None) -> Outcome:
    """What an item's end says about its variant; cells that our own side lost say nothing."""
    if status == "completed":
        return "success"
    if status not in ("failed", "invalid") or (reason or "").startswith(_OWN_FAULT):
        return "infrastructure"
    return "refused" if (reason or "").startswith("refused") else "failure"


def price_cells(
    ws: Workspace,
    benchmark_id: str,
    book: PriceBook,
    *,
    deliveries_per_output: int,
    storage_months: Decimal = Decimal(1),
) -> list[PricedCell]:
    """Every planned cell in planned order, whatever became of it, in three queries. Raises `NotFound`.

    Each attempt is priced as of its start; delivery and storage as of the cell's end. An output that failed is
    delivered to nobody and costs nothing there; one whose size was not recorded makes its cell's cost `Missing`.
    """
    if deliveries_per_output < 0:
        raise InputRefused("deliveries_per_output", deliveries_per_output, "0 or more")
    if not storage_months.is_finite() or storage_months < 0:
        raise InputRefused("storage_months", str(storage_months), "0 or more")
    with ws.database.connect() as connection:
        items, created = _items(connection, benchmark_id)
        attempts = _attempts(connection, benchmark_id, book)
        sizes = _output_sizes(connection, benchmark_id)
    variants = {text: VariantId.parse(text) for text in {item.variant_id for item in items}}
    cells = []
    for item in items:
        at = item.ended_at or item.started_at or created
        outcome = outcome_of(item.status, item.reason)
        of_cell = attempts.get(item.dispatch_id, ())
        output_compute, other_compute = _compute(outcome, item.status, of_cell)
        egress: Number = Decimal(0)
        storage: Number = Decimal(0)
        if outcome == "success":
            size = sizes.get(item.dispatch_id)
            if size is None:
                egress = storage = Missing("the output's size was not recorded")
            else:
                egress = egress_cost(book, size, deliveries_per_output, at)
                storage = storage_cost(book, size, storage_months, at)
        cells.append(
            PricedCell(
                dispatch_id=item.dispatch_id,
                variant=variants[item.variant_id],
                input_id=item.input_id,
                cluster=item.cluster,
                repeat=item.repeat,
                status=item.status,
                outcome=outcome,
                reason=item.reason,
                total_ms=Missing("no time was recorded") if item.total_ms is None else Decimal(repr(item.total_ms)),
                attempts=len(of_cell),
                output_compute=output_compute,
                other_compute=other_compute,
                egress=egress,
                storage=storage,
            )
        )
    return cells


def price_missing(cells: Iterable[PricedCell]) -> list[dict[str, object]]:
    """One fact per variant and reason for which a cell has no cost: `{variant, reason, cells}`, for the action log."""
    found: dict[tuple[VariantId, str], int] = {}
    for cell in cells:
        cost = cell.cost
        if isinstance(cost, Missing) and cell.outcome != "infrastructure":
            found[cell.variant, cost.reason] = found.get((cell.variant, cost.reason), 0) + 1
    return [{"variant": str(variant), "reason": reason, "cells": n} for (variant, reason), n in sorted(found.items())]


def _compute(outcome: Outcome, status: str, attempts: Sequence[_PricedAttempt]) -> tuple[Number, Number]:
    if not attempts:
        if outcome == "refused":
            return Decimal(0), Decimal(0)  # turned away at the door: there was no attempt to bill
        if status in NEVER_SENT:
            return Missing("the cell was not run"), Decimal(0)
        return Missing("no attempt was reported"), Decimal(0)
    made = None
    if outcome == "success":
        made = next((attempt for attempt in reversed(attempts) if attempt.outcome == "completed"), None)
    others = total(attempt.cost for attempt in attempts if attempt is not made)
    return (Decimal(0) if made is None else made.cost), others


def _items(connection: sa.Connection, benchmark_id: str) -> tuple[Sequence[sa.Row[Any]], datetime]:
    runs, items = tables.benchmark_matrix_runs, tables.benchmark_matrix_run_items
    created = connection.execute(sa.select(runs.c.created_at).where(runs.c.id == benchmark_id)).scalar()
    if created is None:
        raise NotFound("benchmark", benchmark_id, "a benchmark id (bm_...) of `pointsman benchmark show`")
    query = sa.select(items).where(items.c.benchmark_id == benchmark_id).order_by(items.c.seq)
    return connection.execute(query).all(), created


def _attempts(connection: sa.Connection, benchmark_id: str, book: PriceBook) -> dict[str, list[_PricedAttempt]]:
    items, attempts, usage = tables.benchmark_matrix_run_items, tables.attempts, tables.usage
    query = (
        sa.select(
            attempts.c.id,
            attempts.c.subject_id,
            attempts.c.number,
            attempts.c.outcome,
            attempts.c.provider,
            attempts.c.started_at,
            usage.c.sku,
            usage.c.quantity,
            sa.func.coalesce(usage.c.missing_reason, attempts.c.detail["no_usage"].as_string()).label("missing_reason"),
        )
        .join(items, items.c.dispatch_id == attempts.c.subject_id)
        .outerjoin(usage, usage.c.subject_id == attempts.c.id)
        .where(items.c.benchmark_id == benchmark_id, attempts.c.subject_kind == "cell")
        .order_by(attempts.c.subject_id, attempts.c.number, usage.c.sku)
    )
    found: dict[str, list[_PricedAttempt]] = {}
    for rows in _grouped(connection.execute(query)):
        first = rows[0]
        cost = total(attempt_cost(book, row._asdict(), row.started_at) for row in rows)
        found.setdefault(first.subject_id, []).append(_PricedAttempt(first.number, first.outcome, cost))
    return found


def _grouped(rows: Iterable[sa.Row[Any]]) -> Iterable[list[sa.Row[Any]]]:
    group: list[sa.Row[Any]] = []
    for row in rows:
        if group and group[0].id != row.id:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _output_sizes(connection: sa.Connection, benchmark_id: str) -> dict[str, int]:
    items, artifacts = tables.benchmark_matrix_run_items, tables.run_artifacts
    query = (
        sa.select(artifacts.c.subject_id, artifacts.c.bytes)
        .join(items, items.c.dispatch_id == artifacts.c.subject_id)
        .where(
            items.c.benchmark_id == benchmark_id,
            artifacts.c.artifact_type == "benchmark_variant_dispatches",
        )
    )
    return {row.subject_id: row.bytes for row in connection.execute(query)}
