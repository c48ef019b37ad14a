"""The frames that the suites look at: one row per thing that is handed over, with the columns that the rules name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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
    "queue_ms": pl.Float64,
    "run_ms": pl.Float64,
    "total_ms": pl.Float64,
    "output_sha256": pl.String,
    "output_bytes": pl.Int64,
    "attempts": pl.Int64,
}
_EVALUATIONS_SCHEMA: Mapping[str, Any] = {
    "dispatch_id": pl.String,
    "evaluation_id": pl.String,
    "judge": pl.String,
    "variant_id": pl.String,
    "input_id": pl.String,
    "cluster": pl.String,
    "repeat": pl.Int64,
    "quality": pl.Float64,
    "missing_reason": pl.String,
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
    "valid_to": pl.String,
    "modality": pl.String,
    "resolution": pl.String,
    "tier": pl.String,
    "currency": pl.String,
    "amount": pl.Float64,
    "fx_rate": pl.Float64,
    "fx_date": pl.String,
    "validity": pl.String,
    "follows": pl.String,
}


def ledger_frame(dispatches: pl.LazyFrame, folder: Path | None = None) -> pl.DataFrame:
    """The columns of a closed ledger (`scan_dispatches`) that the suite `ledger` looks at; nothing else is read."""
    held = dispatches.collect_schema()
    read = [name for name in suite("ledger", folder).reads if name in held]
    return dispatches.select(read).collect(engine="streaming")


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

    Each score of the judge is a column by its path: a number or text as it is, a list as JSON, nothing where an
    evaluation has no such score. Raises `NotFound` when there is no such set.
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
        named = (items.c[name] for name in ("dispatch_id", "variant_id", "input_id", "cluster", "repeat"))
        completed = sa.select(*named).where(of_benchmark, items.c.status == "completed").order_by(items.c.seq)
        cells = {row["dispatch_id"]: dict(row) for row in connection.execute(completed).mappings()}
    strangers = {subject for subject, provider in providers if provider != opened["judge"]}
    rows = [
        {
            **dict(_scores(row["scores"])),
            **cells.get(row["dispatch_id"], {}),
            "dispatch_id": row["dispatch_id"],
            "evaluation_id": row["id"],
            "judge": opened["judge"],
            "missing_reason": row["missing_reason"],
            "quality": None if row["quality"] is None else float(row["quality"]),
            "known": _known(row["quality"], row["missing_reason"]),
            "of_benchmark": "yes" if row["dispatch_id"] in cells else "no",
            "by_the_sets_judge": "no" if f"{set_id}:{row['dispatch_id']}" in strangers else "yes",
        }
        for row in judged
    ]
    judged_ids = {row["dispatch_id"] for row in judged}
    rows += [{**cell, "judge": opened["judge"]} for name, cell in cells.items() if name not in judged_ids]
    sparse = dict.fromkeys(suite("evaluations").holds, pl.String)
    scores = {name: _kind(rows, name) for name in sorted({name for row in rows for name in row})}
    return _frame(rows, {**_EVALUATIONS_SCHEMA, **sparse, **scores, **_EVALUATIONS_SCHEMA})


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
                **{name: entry[name] for name in _PRICES_SCHEMA if name in entry},
                **{name: _number(entry[name]) for name in ("usd", "amount", "fx_rate")},
                "valid_from": start.isoformat(),
                "valid_to": None if end is None else end.isoformat(),
                "validity": "open" if end is None else "a period" if end > start else "ends before it starts",
                "follows": follows,
            }
        )
    return _frame(rows, _PRICES_SCHEMA)


def _scores(answered: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What a judge answered, part by part; a path is what a verdict's plan calls the same score."""
    if isinstance(answered, Mapping):
        for name, part in answered.items():
            yield from _scores(part, f"{path}.{name}" if path else str(name))
    else:
        yield path, json.dumps(answered) if isinstance(answered, list) else answered


def _kind(rows: Iterable[Mapping[str, Any]], name: str) -> Any:
    kinds = {type(row[name]) for row in rows if row.get(name) is not None}
    return pl.Boolean if kinds == {bool} else pl.Float64 if kinds and kinds <= {int, float} else pl.String


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _known(quality: object, reason: str | None) -> str:
    if quality is None:
        return "reason" if reason else "neither"
    return "quality" if reason is None else "both"


def _frame(rows: Iterable[Mapping[str, Any] | sa.RowMapping], schema: Mapping[str, Any]) -> pl.DataFrame:
    def cell(row: Mapping[str, Any] | sa.RowMapping, name: str) -> Any:
        value = row.get(name)
        return str(value) if schema[name] is pl.String and value is not None else value

    return pl.DataFrame([[cell(row, name) for name in schema] for row in rows], schema=dict(schema), orient="row")
