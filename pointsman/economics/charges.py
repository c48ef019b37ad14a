"""What is to be paid for one month, by day: every usage of matrices, judgements and load tests, added up and priced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

import polars as pl
import sqlalchemy as sa

from pointsman.economics.attempts import Basis
from pointsman.economics.entries import PriceEntry
from pointsman.economics.exact import EXACT
from pointsman.economics.load import summed_usage
from pointsman.economics.price_book import PriceBook
from pointsman.economics.pricing import attempt_cost, not_taken
from pointsman.errors import InputRefused, NotFound
from pointsman.ids import VariantId
from pointsman.model import Missing
from pointsman.scenario import read_run, scan_run_attempts
from pointsman.storage import tables
from pointsman.workspace import Workspace

Purpose = Literal["matrix", "judging", "load"]
Part = Literal["work", "idle", "cold start", "minimum billing"]
WORK: Part = "work"
_ATTEMPTS: dict[str, Any] = {
    **dict.fromkeys(("dispatch_id", "provider", "outcome", "sku", "quantity", "missing_reason", "basis"), pl.String),
    "number": pl.Int64,
    "started": pl.Datetime("us", "UTC"),
}
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])\Z")


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC."""

    start: datetime
    end: datetime

    @classmethod
    def parse(cls, text: str) -> Month:
        """`2026-11`. Raises `InputRefused`."""
        if not _MONTH.match(text):
            raise InputRefused("month", text, "a year and a month, as 2026-11")
        year, month = int(text[:4]), int(text[5:])
        after = (year + 1, 1) if month == 12 else (year, month + 1)
        return cls(datetime(year, month, 1, tzinfo=UTC), datetime(*after, 1, tzinfo=UTC))


@dataclass(frozen=True, slots=True)
class Charge:
    """One day's use of a sku by one run: `quantity` of the sku's own unit for `usd` at list price.

    `resource` is a variant id, or the run: the evaluation set of a judgement, and the matrix of a dispatch that was
    cancelled and planned again. `entry` is the price that applied. `part` is what is charged: the work, or what
    self-hosted capacity is paid for beside it.
    """

    day: date
    run_id: str
    purpose: Purpose
    resource: str
    provider: str
    sku: str
    quantity: Decimal
    usd: Decimal
    basis: Basis
    entry: PriceEntry
    part: Part = WORK


@dataclass(frozen=True, slots=True)
class Uncharged:
    """Usage that has no amount, and why: so many rows of one run."""

    run_id: str
    purpose: Purpose
    provider: str
    reason: str
    rows: int


def charges_of(ws: Workspace, book: PriceBook, month: Month) -> tuple[list[Charge], list[Uncharged]]:
    """Everything that started within the month, ordered by day, run and sku; and what has no amount.

    Self-hosted capacity is charged for what is paid beside its work, too, in parts of their own.
    """
    sums: dict[tuple[Any, ...], Decimal] = {}
    unknown: dict[tuple[str, Purpose, str, str], int] = {}
    for row in (*_stored(ws, book, month), *_under_load(ws, book, month)):
        if not_taken(row):
            continue
        cost = attempt_cost(book, row, row["started"])
        if isinstance(cost, Missing):
            named = row["run_id"], row["purpose"], row["provider"], cost.reason
            unknown[named] = unknown.get(named, 0) + row["rows"]
            continue
        key = (
            *(row["started"].date(), row["run_id"], row["purpose"], row["resource"], row["provider"], row["sku"]),
            *(row["part"], row["basis"], _entry(book, row["sku"], row["started"]).valid_from),
        )
        sums[key] = EXACT.add(sums.get(key, Decimal(0)), Decimal(row["quantity"]))
    charges = []
    for (day, run_id, purpose, resource, provider, sku, part, basis, since), quantity in sums.items():
        usd = book.cost(sku, quantity, since)
        assert not isinstance(usd, Missing)
        entry = _entry(book, sku, since)
        charges.append(Charge(day, run_id, purpose, resource, provider, sku, quantity, usd, basis, entry, part))
    charges.sort(
        key=lambda one: (one.day, one.run_id, one.purpose, one.resource, one.sku, one.part, one.basis, one.usd)
    )
    return charges, [Uncharged(*named, rows) for named, rows in sorted(unknown.items())]


def _entry(book: PriceBook, sku: str, at: datetime) -> PriceEntry:
    """Of a sku that has a cost then."""
    found = book.entry(sku, at)
    assert isinstance(found, PriceEntry)
    return found


def _stored(ws: Workspace, book: PriceBook, month: Month) -> Iterator[Mapping[str, Any]]:
    """Attempts of cells and judgements, which are rows of the database."""
    attempts, usage, items = tables.attempts, tables.usage, tables.benchmark_matrix_run_items
    query = (
        sa.select(
            attempts.c.id.label("dispatch_id"),
            attempts.c.number,
            attempts.c.run_id,
            attempts.c.subject_kind,
            attempts.c.provider,
            attempts.c.outcome,
            attempts.c.started_at.label("started"),
            items.c.variant_id,
            usage.c.sku,
            usage.c.quantity,
            usage.c.basis,
            sa.func.coalesce(usage.c.missing_reason, attempts.c.detail["no_usage"].as_string()).label("missing_reason"),
        )
        .outerjoin(usage, usage.c.subject_id == attempts.c.id)
        .outerjoin(items, items.c.dispatch_id == attempts.c.subject_id)
        .where(attempts.c.started_at >= month.start, attempts.c.started_at < month.end)
        # A judgement without a usage row cost nothing outside this machine.
        .where((attempts.c.subject_kind == "cell") | usage.c.id.is_not(None))
    )
    found: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    with ws.database.connect() as connection:
        for row in connection.execute(query).mappings():
            cell = row["subject_kind"] == "cell"
            resource = (row["variant_id"] if cell else None) or row["run_id"]
            named = row["run_id"], "matrix" if cell else "judging", resource
            told = None if row["quantity"] is None else format(row["quantity"], "f")
            found.setdefault(named, []).append({**row, "quantity": told})
    for (run_id, purpose, resource), rows in sorted(found.items()):
        for summed in summed_usage(pl.LazyFrame(rows, _ATTEMPTS), book):
            yield {**summed, "run_id": run_id, "purpose": purpose, "resource": resource}


def _under_load(ws: Workspace, book: PriceBook, month: Month) -> Iterator[Mapping[str, Any]]:
    """Attempts of load tests, which are rows of their ledgers."""
    for run_id, variant in _runs_in(ws, month):
        about = {"run_id": run_id, "purpose": "load", "resource": variant}
        try:
            attempts = scan_run_attempts(ws, read_run(ws, run_id))
        except NotFound:
            yield {
                **about,
                **dict.fromkeys(("sku", "quantity")),
                "provider": VariantId.parse(variant).provider,
                "outcome": "unknown",
                "started": month.start,
                "missing_reason": "the load test has no closed ledger",
                "rows": 1,
            }
            continue
        for row in summed_usage(attempts, book):
            if month.start <= row["started"] < month.end:
                yield {**row, **about}


def _runs_in(ws: Workspace, month: Month) -> Sequence[tuple[str, str]]:
    runs = tables.load_test_runs
    query = (
        sa.select(runs.c.id, runs.c.variant_id)
        .where(runs.c.started_at.is_not(None), runs.c.started_at < month.end)
        .where(runs.c.ended_at.is_(None) | (runs.c.ended_at >= month.start))
        .order_by(runs.c.id)
    )
    with ws.database.connect() as connection:
        return [(row.id, row.variant_id) for row in connection.execute(query)]
