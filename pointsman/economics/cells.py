"""What each planned cell of a matrix cost to produce and deliver, read from the rows that the matrix left behind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

import sqlalchemy as sa

from pointsman.benchmark import NOT_GIVEN, OWN_FAULTS
from pointsman.economics.attempts import Basis, PricedAttempt, priced_attempt
from pointsman.economics.price_book import PriceBook
from pointsman.economics.pricing import egress_cost, storage_cost, total
from pointsman.errors import InputRefused, NotFound
from pointsman.ids import VariantId
from pointsman.model import Missing, Number
from pointsman.storage import tables
from pointsman.workspace import Workspace

Outcome = Literal["success", "failure", "refused", "infrastructure"]

NEVER_SENT = ("pending", "skipped")


@dataclass(frozen=True, slots=True)
class PricedCell:
    """One planned cell with its money in USD, split so that the parts add up to `cost` exactly.

    `output_compute` is the attempt that made the output, `lost_compute` the attempts whose machine went away,
    `other_compute` every other one that was retried or failed. Where the provider's capacity is self-hosted, `idle`,
    `cold_start` and `minimum_billing` are what all these attempts are paid for beside their work.
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
    lost_compute: Number = Decimal(0)
    idle: Number = Decimal(0)
    cold_start: Number = Decimal(0)
    minimum_billing: Number = Decimal(0)
    output_bytes: int | None = None
    basis: Basis = "measured"
    """Of the quantities that its attempts were priced by: `estimated` as soon as one of them is."""
    tried: tuple[PricedAttempt, ...] = ()
    ended: datetime | None = None
    """When its delivery and storage were priced: its end, or the matrix's begin where it has none."""

    @property
    def was_tried(self) -> bool:
        """Whether it has cost something by now, or may have: what runs is only known when it has ended, and what was
        cancelled may never have been sent."""
        return bool(self.attempts) or self.status not in (*NEVER_SENT, "running", "cancelled")

    @property
    def compute(self) -> Number:
        return total((self.output_compute, self.other_compute, self.lost_compute))

    @property
    def hosting(self) -> Number:
        return total((self.idle, self.cold_start, self.minimum_billing))

    @property
    def paid(self) -> Number:
        """What its attempts cost, before anybody is sent the output."""
        return total((self.compute, self.hosting))

    @property
    def cost(self) -> Number:
        return total((self.paid, self.egress, self.storage))


def outcome_of(status: str, reason: str | None) -> Outcome:
    """What an item's end says about its variant; cells that our own side lost say nothing.

    A cell that its variant was not given, by what was declared of it or of the matrix, has no cost, so that its variant
    cannot win, and the comparison of the others stands.
    """
    if status == "completed":
        return "success"
    if status == "skipped" and (reason or "").startswith(NOT_GIVEN):
        return "refused"
    if status not in ("failed", "invalid") or (reason or "").startswith(OWN_FAULTS):
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
    return [
        priced_cell(
            book,
            item,
            variants[item.variant_id],
            attempts.get(item.dispatch_id, ()),
            sizes.get(item.dispatch_id),
            at=item.ended_at or item.started_at or created,
            deliveries_per_output=deliveries_per_output,
            storage_months=storage_months,
        )
        for item in items
    ]


def given_up_cost(ws: Workspace, benchmark_id: str, book: PriceBook) -> Number:
    """USD of the attempts that belong to no cell any more: their dispatches were cancelled, and planned again."""
    with ws.database.connect() as connection:
        found = _attempts(connection, benchmark_id, book, given_up=True)
    return total(attempt.paid for tried in found.values() for attempt in tried)


def priced_cell(
    book: PriceBook,
    item: sa.Row[Any],
    variant: VariantId,
    attempts: Sequence[PricedAttempt],
    output_bytes: int | None,
    *,
    at: datetime,
    deliveries_per_output: int,
    storage_months: Decimal,
) -> PricedCell:
    """One cell from its row, its attempts in their order, and the size of its output."""
    outcome = outcome_of(item.status, item.reason)
    output_compute, other_compute, lost_compute = _compute(outcome, item.status, item.reason, attempts)
    egress: Number = Decimal(0)
    storage: Number = Decimal(0)
    if outcome == "success" and output_bytes is None:
        egress = storage = Missing("the output's size was not recorded")
    elif outcome == "success" and output_bytes is not None:
        egress = egress_cost(book, output_bytes, deliveries_per_output, at)
        storage = storage_cost(book, output_bytes, storage_months, at)
    return PricedCell(
        dispatch_id=item.dispatch_id,
        variant=variant,
        input_id=item.input_id,
        cluster=item.cluster,
        repeat=item.repeat,
        status=item.status,
        outcome=outcome,
        reason=item.reason,
        total_ms=Missing("no time was recorded") if item.total_ms is None else Decimal(repr(item.total_ms)),
        attempts=len(attempts),
        output_compute=output_compute,
        other_compute=other_compute,
        lost_compute=lost_compute,
        idle=_paid_beside(attempts, "idle_usd"),
        cold_start=_paid_beside(attempts, "cold_start_usd"),
        minimum_billing=_paid_beside(attempts, "minimum_billing_usd"),
        egress=egress,
        storage=storage,
        output_bytes=output_bytes if outcome == "success" else None,
        basis="estimated" if any(attempt.basis == "estimated" for attempt in attempts) else "measured",
        tried=tuple(attempts),
        ended=at,
    )


def price_missing(cells: Iterable[PricedCell]) -> list[dict[str, object]]:
    """One fact per variant and reason for which a cell has no cost: `{variant, reason, cells}`, for the action log."""
    found: dict[tuple[VariantId, str], int] = {}
    for cell in cells:
        cost = cell.cost
        if isinstance(cost, Missing) and cell.outcome != "infrastructure" and cell.status != "skipped":
            found[cell.variant, cost.reason] = found.get((cell.variant, cost.reason), 0) + 1
    return [{"variant": str(variant), "reason": reason, "cells": n} for (variant, reason), n in sorted(found.items())]


def _compute(
    outcome: Outcome, status: str, reason: str | None, attempts: Sequence[PricedAttempt]
) -> tuple[Number, Number, Number]:
    """Of the attempt that made the output, of the others, and of those that were lost."""
    nothing = Decimal(0)
    if not attempts:
        if status == "skipped":
            return Missing(f"not all of its cells were run: {reason}"), nothing, nothing
        if outcome == "refused":
            return nothing, nothing, nothing  # turned away at the door: there was no attempt to bill
        if status in NEVER_SENT:
            return Missing("the cell was not run"), nothing, nothing
        return Missing("no attempt was reported"), nothing, nothing
    made = None
    if outcome == "success":
        made = next((attempt for attempt in reversed(attempts) if attempt.outcome == "completed"), None)
    lost = total(attempt.cost for attempt in attempts if attempt.outcome == "lost")
    others = total(attempt.cost for attempt in attempts if attempt is not made and attempt.outcome != "lost")
    return (nothing if made is None else made.cost), others, lost


def _paid_beside(attempts: Sequence[PricedAttempt], part: str) -> Number:
    return total(
        attempt.overhead if isinstance(attempt.overhead, Missing) else getattr(attempt.overhead, part)
        for attempt in attempts
    )


def _items(connection: sa.Connection, benchmark_id: str) -> tuple[Sequence[sa.Row[Any]], datetime]:
    runs, items = tables.benchmark_matrix_runs, tables.benchmark_matrix_run_items
    created = connection.execute(sa.select(runs.c.created_at).where(runs.c.id == benchmark_id)).scalar()
    if created is None:
        raise NotFound("benchmark", benchmark_id, "a benchmark id (bm_...) of `pointsman benchmark show`")
    query = sa.select(items).where(items.c.benchmark_id == benchmark_id).order_by(items.c.seq)
    return connection.execute(query).all(), created


def _attempts(
    connection: sa.Connection, benchmark_id: str, book: PriceBook, *, given_up: bool = False
) -> dict[str, list[PricedAttempt]]:
    """By dispatch id of a cell; or of the dispatches that were `given_up`: cancelled, and their cells planned again."""
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
            usage.c.basis,
            sa.func.coalesce(usage.c.missing_reason, attempts.c.detail["no_usage"].as_string()).label("missing_reason"),
        )
        .outerjoin(items, items.c.dispatch_id == attempts.c.subject_id)
        .outerjoin(usage, usage.c.subject_id == attempts.c.id)
        .where(attempts.c.run_id == benchmark_id, attempts.c.subject_kind == "cell")
        .where(items.c.dispatch_id.is_(None) if given_up else items.c.dispatch_id.is_not(None))
        .order_by(attempts.c.subject_id, attempts.c.number, usage.c.sku)
    )
    found: dict[str, list[PricedAttempt]] = {}
    for _, rows in groupby(connection.execute(query).mappings(), key=itemgetter("id")):
        attempt = [dict(row) for row in rows]
        subject, started = attempt[0]["subject_id"], attempt[0]["started_at"]
        found.setdefault(subject, []).append(priced_attempt(book, attempt, started))
    return found


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
