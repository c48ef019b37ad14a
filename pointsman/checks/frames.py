"""The frames that the suites look at: one row per thing that is handed over, with the columns that the rules name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from pointsman.checks.suites import suite
from pointsman.errors import NotFound
from pointsman.storage import tables
from pointsman.workspace import Workspace

_ITEMS_SCHEMA: Mapping[str, Any] = {
    "dispatch_id": pl.String,
    "variant_id": pl.String,
    "input_id": pl.String,
    "cluster": pl.String,
    "repeat": pl.Int64,
    "round": pl.Int64,
    "status": pl.String,
    "reason": pl.String,
    "job_id": pl.String,
    "total_ms": pl.Float64,
    "output_sha256": pl.String,
    "output_bytes": pl.Int64,
    "attempts": pl.Int64,
}
_EVALUATIONS_SCHEMA: Mapping[str, Any] = {
    "dispatch_id": pl.String,
    "evaluation_id": pl.String,
    "quality": pl.Float64,
    "known": pl.String,
    "of_benchmark": pl.String,
    "by_the_sets_judge": pl.String,
}
_PRICES_SCHEMA: Mapping[str, Any] = {
    "entry": pl.String,
    "sku": pl.String,
    "unit": pl.String,
    "source": pl.String,
    "usd": pl.Float64,
    "valid_from": pl.String,
    "validity": pl.String,
    "follows": pl.String,
}


def ledger_frame(dispatches: pl.LazyFrame, home: Path | None = None) -> pl.DataFrame:
    """The columns of a closed ledger (`scan_dispatches`) that the suite `ledger` looks at; nothing else is read."""
    held = dispatches.collect_schema()
    return dispatches.select(name for name in suite("ledger", home).columns if name in held).collect(engine="streaming")


def run_items_frame(ws: Workspace, benchmark_id: str) -> pl.DataFrame:
    """The cells of a matrix, each with its output and its number of attempts."""
    items, outputs, attempts = tables.benchmark_matrix_run_items, tables.run_artifacts, tables.attempts
    tried = (
        sa.select(attempts.c.subject_id, sa.func.count().label("attempts"))
        .where(attempts.c.subject_kind == "cell")
        .group_by(attempts.c.subject_id)
        .subquery()
    )
    output_of = sa.and_(
        outputs.c.subject_id == items.c.dispatch_id, outputs.c.artifact_type == "benchmark_variant_dispatches"
    )
    wanted = (
        sa.select(
            *(items.c[name] for name in _ITEMS_SCHEMA if name in items.c),
            outputs.c.sha256.label("output_sha256"),
            outputs.c.bytes.label("output_bytes"),
            tried.c.attempts,
        )
        .select_from(items)
        .outerjoin(outputs, output_of)
        .outerjoin(tried, tried.c.subject_id == items.c.dispatch_id)
        .where(items.c.benchmark_id == benchmark_id)
        .order_by(items.c.seq)
    )
    with ws.database.connect() as connection:
        return _frame(connection.execute(wanted).mappings(), _ITEMS_SCHEMA)


def evaluations_frame(ws: Workspace, set_id: str) -> pl.DataFrame:
    """The evaluations of a set, and a row without one for every completed cell of its benchmark that has none.

    Raises `NotFound` when there is no such set.
    """
    sets, evaluations, items = tables.evaluation_sets, tables.quality_evaluations, tables.benchmark_matrix_run_items
    tries = tables.attempts
    of_set = sa.select(evaluations).where(evaluations.c.evaluation_set_id == set_id)
    asked = sa.select(tries.c.subject_id, tries.c.provider).where(
        tries.c.run_id == set_id, tries.c.subject_kind == "judgement"
    )
    with ws.database.connect() as connection:
        opened = connection.execute(sa.select(sets).where(sets.c.id == set_id)).mappings().one_or_none()
        if opened is None:
            raise NotFound("evaluation set", set_id, "one that was opened")
        judged = connection.execute(of_set.order_by(evaluations.c.dispatch_id)).mappings().all()
        providers = {(row.subject_id, row.provider) for row in connection.execute(asked)}
        of_benchmark = items.c.benchmark_id == opened["benchmark_id"]
        completed = connection.execute(
            sa.select(items.c.dispatch_id).where(of_benchmark, items.c.status == "completed").order_by(items.c.seq)
        ).scalars()
        cells = dict.fromkeys(completed)
    strangers = {subject for subject, provider in providers if provider != opened["judge"]}
    rows = [
        {
            "dispatch_id": row["dispatch_id"],
            "evaluation_id": row["id"],
            "quality": None if row["quality"] is None else float(row["quality"]),
            "known": _known(row["quality"], row["missing_reason"]),
            "of_benchmark": "yes" if row["dispatch_id"] in cells else "no",
            "by_the_sets_judge": "no" if f"{set_id}:{row['dispatch_id']}" in strangers else "yes",
        }
        for row in judged
    ]
    judged_ids = {row["dispatch_id"] for row in judged}
    return _frame([*rows, *({"dispatch_id": cell} for cell in cells if cell not in judged_ids)], _EVALUATIONS_SCHEMA)


def price_book_frame(ws: Workspace, book_sha256: str) -> pl.DataFrame:
    """The entries of one price book, each with how it follows the entry of its SKU before it."""
    book = tables.price_book
    wanted = sa.select(book).where(book.c.book_sha256 == book_sha256).order_by(book.c.sku, book.c.valid_from)
    with ws.database.connect() as connection:
        entries = connection.execute(wanted).mappings().all()
    rows = []
    for before, entry in zip([None, *entries], entries, strict=False):
        start, end = entry["valid_from"], entry["valid_to"]
        if before is None or before["sku"] != entry["sku"]:
            follows = "first"
        elif before["valid_to"] is None or before["valid_to"] > start:
            follows = "overlap"
        else:
            follows = "adjoins" if before["valid_to"] == start else "gap"
        rows.append(
            {
                "entry": f"{entry['sku']} from {start.isoformat()}",
                **{name: entry[name] for name in ("sku", "unit", "source")},
                "usd": float(entry["usd"]),
                "valid_from": start.isoformat(),
                "validity": "open" if end is None else "a period" if end > start else "ends before it starts",
                "follows": follows,
            }
        )
    return _frame(rows, _PRICES_SCHEMA)


def _known(quality: object, reason: str | None) -> str:
    if quality is None:
        return "reason" if reason else "neither"
    return "quality" if reason is None else "both"


def _frame(rows: Iterable[Mapping[str, Any] | sa.RowMapping], schema: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([[row.get(name) for name in schema] for row in rows], schema=dict(schema), orient="row")
