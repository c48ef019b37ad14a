"""What a verdict rests on, written into its document: inputs, attempts, usage, prices, outputs and the judge's answers.

With it the document alone says where each measurement comes from. It holds hashes and no addresses, so that results
which moved are still the same evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark import ARTIFACT_TYPE
from pointsman.canonical import sha256_of
from pointsman.economics import PriceBook
from pointsman.economics.plain import exact, exact_text
from pointsman.economics.pricing import EGRESS_SKU, STORAGE_SKU
from pointsman.errors import NotFound
from pointsman.model import Json
from pointsman.storage import tables
from pointsman.workspace import Workspace

ATTEMPT_COLUMNS = ("id", "kind", "provider", "outcome", "started_at", "ended_at", "why_no_usage", "usage")
"""`usage` holds [sku, quantity or null, why it is not known or null, basis]."""
CELL_COLUMNS = ("dispatch_id", "status", "reason", "priced_at")
"""`priced_at` is the day of the prices for its delivery and storage; attempts are priced when they started."""
OUTPUT_COLUMNS = ("dispatch_id", "sha256", "bytes")
JUDGEMENT_COLUMNS = ("dispatch_id", "quality", "why_none", "scores")
"""`scores` is all that the judge answered, and names the stored transcript with its hash."""


def gather(
    ws: Workspace, benchmark_id: str, evaluation_set_id: str, book: PriceBook, dispatch_ids: Collection[str]
) -> dict[str, Json]:
    """The evidence of these cells of one benchmark and evaluation set, equal for equal rows. Raises `NotFound`."""
    with ws.database.connect() as connection:
        matrix, created = _matrix(connection, benchmark_id)
        cells = [row for row in _cells(connection, benchmark_id, created) if row[0] in dispatch_ids]
        attempts, days = _attempts(connection, benchmark_id, evaluation_set_id, dispatch_ids)
        outputs = [row for row in _outputs(connection, benchmark_id) if row[0] in dispatch_ids]
        judgements = [row for row in _judgements(connection, evaluation_set_id) if row[0] in dispatch_ids]
        inputs = _inputs(connection, str(matrix["input_set_id"]))
    return {
        "benchmark": {"id": benchmark_id, **matrix},
        "evaluation_set_id": evaluation_set_id,
        "inputs": inputs,
        "cells": {"columns": list(CELL_COLUMNS), "rows": [*cells]},
        "attempts": {"columns": list(ATTEMPT_COLUMNS), "rows": attempts},
        "outputs": {"columns": list(OUTPUT_COLUMNS), "rows": [*outputs]},
        "judgements": {"columns": list(JUDGEMENT_COLUMNS), "rows": [*judgements]},
        "prices": _prices(book, days),
        "hosting": [one.as_document() for one in book.hosting],
    }


def inputs_sha256(evidence: Mapping[str, Any]) -> str:
    """The hash of the input set that the evidence lists, as the set was registered."""
    return sha256_of(evidence["inputs"])


def _matrix(connection: sa.Connection, benchmark_id: str) -> tuple[dict[str, Json], datetime]:
    """What was planned, and when."""
    runs = tables.benchmark_matrix_runs
    row = connection.execute(sa.select(runs).where(runs.c.id == benchmark_id)).one_or_none()
    if row is None:
        raise NotFound("benchmark", benchmark_id, "a benchmark id (bm_...) of `pointsman benchmark show`")
    found: dict[str, Json] = {
        name: getattr(row, name) for name in ("environment_id", "input_set_id", "plan_sha256", "seed")
    }
    return found, row.created_at


def _cells(connection: sa.Connection, benchmark_id: str, created: datetime) -> list[list[Json]]:
    items = tables.benchmark_matrix_run_items
    wanted = sa.select(items).where(items.c.benchmark_id == benchmark_id).order_by(items.c.dispatch_id)
    return [
        [row.dispatch_id, row.status, row.reason, (row.ended_at or row.started_at or created).isoformat()]
        for row in connection.execute(wanted)
    ]


def _inputs(connection: sa.Connection, set_id: str) -> list[Json]:
    table = tables.input_sets
    members = connection.execute(sa.select(table.c.members).where(table.c.id == set_id)).scalar() or []
    return [{name: value for name, value in member.items() if name != "uri"} for member in members]


def _attempts(
    connection: sa.Connection, benchmark_id: str, evaluation_set_id: str, dispatch_ids: Collection[str]
) -> tuple[list[Json], dict[str, set[datetime]]]:
    """Rows of `ATTEMPT_COLUMNS`, and for each sku the days on which it was used."""
    attempts, usage = tables.attempts, tables.usage
    wanted = (
        sa.select(attempts, usage.c.sku, usage.c.quantity, usage.c.missing_reason, usage.c.basis)
        .outerjoin(usage, usage.c.subject_id == attempts.c.id)
        .where(attempts.c.run_id.in_((benchmark_id, evaluation_set_id)))
        .order_by(attempts.c.id, usage.c.sku)
    )
    subjects = {*dispatch_ids, *(f"{evaluation_set_id}:{dispatch_id}" for dispatch_id in dispatch_ids)}
    rows: dict[str, list[Json]] = {}
    days: dict[str, set[datetime]] = {}
    for row in connection.execute(wanted):
        if row.subject_id not in subjects:
            continue
        known = rows.get(row.id)
        if known is None:
            ended = None if row.ended_at is None else row.ended_at.isoformat()
            known = [row.id, row.subject_kind, row.provider, row.outcome, row.started_at.isoformat(), ended]
            known += [row.detail.get("no_usage"), []]
            rows[row.id] = known
        if row.sku is None:
            continue
        used = known[-1]
        assert isinstance(used, list)
        used.append([row.sku, _text(row.quantity), row.missing_reason, row.basis])
        days.setdefault(row.sku, set()).add(row.started_at.replace(hour=0, minute=0, second=0, microsecond=0))
    return list(rows.values()), days


def _outputs(connection: sa.Connection, benchmark_id: str) -> list[list[Json]]:
    table = tables.run_artifacts
    wanted = (
        sa.select(table.c.subject_id, table.c.sha256, table.c.bytes)
        .where(table.c.run_id == benchmark_id, table.c.artifact_type == ARTIFACT_TYPE)
        .order_by(table.c.subject_id)
    )
    return [list(row) for row in connection.execute(wanted)]


def _judgements(connection: sa.Connection, evaluation_set_id: str) -> list[list[Json]]:
    table = tables.quality_evaluations
    wanted = (
        sa.select(table.c.dispatch_id, table.c.quality, table.c.missing_reason, table.c.scores)
        .where(table.c.evaluation_set_id == evaluation_set_id)
        .order_by(table.c.dispatch_id)
    )
    return [[row.dispatch_id, _text(row.quality), row.missing_reason, row.scores] for row in connection.execute(wanted)]


def _prices(book: PriceBook, days: Mapping[str, set[datetime]]) -> list[Json]:
    """The book's entries for what was used, delivered, kept and held beside; of what it does not list, the price of
    each day.
    """
    held = {f"{one.provider}:{unit}" for one in book.hosting for unit in one.instance}
    wanted = {*days, *held, EGRESS_SKU, STORAGE_SKU}
    found: list[Json] = [entry.as_document() for entry in book.entries if entry.sku in wanted]
    unlisted = [(sku, day) for sku in sorted(set(days) - set(book.skus)) for day in sorted(days[sku])]
    found += [{"sku": sku, "day": f"{day:%Y-%m-%d}", "usd_each": exact(book.price(sku, day))} for sku, day in unlisted]
    return found


def _text(number: Decimal | None) -> str | None:
    return None if number is None else exact_text(number)


def output_addresses(ws: Workspace, benchmark_id: str) -> dict[str, str]:
    """Where the outputs of a benchmark lie, by dispatch id."""
    table = tables.run_artifacts
    wanted = sa.select(table.c.subject_id, table.c.uri).where(
        table.c.run_id == benchmark_id, table.c.artifact_type == ARTIFACT_TYPE
    )
    with ws.database.connect() as connection:
        return {row.subject_id: row.uri for row in connection.execute(wanted)}


def transcripts(evidence: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The stored transcripts that the judgements name: path in the results store, and sha256."""
    for *_, scores in evidence["judgements"]["rows"]:
        if "transcript" in scores:
            yield scores["transcript"]["path"], scores["transcript"]["sha256"]
