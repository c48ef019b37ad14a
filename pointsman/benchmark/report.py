"""The matrix as a report: per variant how many cells ended how, how long they took, and how many tries they needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import sqlalchemy as sa

from pointsman.benchmark.outcomes import ARTIFACT_TYPE
from pointsman.benchmark.runs import MatrixRun, cell_counts, matrix_run
from pointsman.ids import VariantId
from pointsman.model import Missing, Variant
from pointsman.reporting import Figures, Report, Table
from pointsman.storage import tables
from pointsman.versions import versions_in
from pointsman.workspace import Workspace

_ITEMS = tables.benchmark_matrix_run_items
_FAILURES_SHOWN = 20


def matrix_report(ws: Workspace, benchmark_id: str) -> Report:
    """The matrix as it stands, finished or not. Means are over completed cells. Raises `NotFound`."""
    run = matrix_run(ws, benchmark_id)
    with ws.database.begin() as connection:
        items = connection.execute(
            sa.select(_ITEMS).where(_ITEMS.c.benchmark_id == benchmark_id).order_by(_ITEMS.c.seq)
        ).all()
        artifacts = tables.run_artifacts
        sizes = {
            row.subject_id: row.bytes
            for row in connection.execute(
                sa.select(artifacts.c.subject_id, artifacts.c.bytes).where(
                    artifacts.c.run_id == benchmark_id, artifacts.c.artifact_type == ARTIFACT_TYPE
                )
            )
        }
        attempts = tables.attempts
        tries = connection.execute(
            sa.select(attempts.c.subject_id, attempts.c.outcome).where(
                attempts.c.run_id == benchmark_id, attempts.c.subject_kind == "cell"
            )
        ).all()
        chunks = tables.benchmark_chunks
        own_chunks = (chunks.c.benchmark_id == benchmark_id) & chunks.c.id.startswith(f"{benchmark_id}-rounds-")
        tasks = [
            (row.id.removeprefix(f"{benchmark_id}-"), row.turn, row.task_id or "not started")
            for row in connection.execute(
                sa.select(chunks).where(own_chunks).order_by(sa.func.length(chunks.c.id), chunks.c.id)
            )
        ]
    variant_of = {item.dispatch_id: item.variant_id for item in items}
    outcomes: dict[str, list[str]] = {}
    for attempt in tries:
        outcomes.setdefault(variant_of.get(attempt.subject_id, ""), []).append(attempt.outcome)
    own = {str(one.id): [item for item in items if item.variant_id == str(one.id)] for one in run.variants}
    rows = [_row(one, own[str(one.id)], sizes, outcomes.get(str(one.id), [])) for one in run.variants]
    columns = ("variant", "cells", "completed", "failed", "other", "mean total ms", "mean bytes", "attempts", "lost")
    figures: list[tuple[str, Any]] = [
        ("benchmark", run.id),
        ("input set", run.input_set_id),
        ("inputs", len({item.input_id for item in items})),
        ("rounds", len({item.round for item in items})),
        ("seed", run.seed),
    ]
    if "" in outcomes:
        figures.append(("attempts of dispatches that were cancelled and planned again", len(outcomes[""])))
    sections: list[Any] = [Table(columns, rows), Figures(figures)]
    if tasks:
        sections.append(Table(("chunk", "turns", "task"), tasks, title="Run by tasks elsewhere"))
    bad = [item for item in items if item.status in ("failed", "invalid")]
    if bad:
        shown = [(item.dispatch_id, item.status, item.reason or "no reason") for item in bad[:_FAILURES_SHOWN]]
        title = f"Cells without a good output: {len(bad)}" + (
            f", the first {_FAILURES_SHOWN} shown" if len(bad) > _FAILURES_SHOWN else ""
        )
        sections.append(Table(("dispatch", "state", "reason"), shown, title=title))
    skipped = Counter((item.variant_id, item.reason or "no reason") for item in items if item.status == "skipped")
    if skipped:
        labels = {str(one.id): one.id.label for one in run.variants}
        shown_skips = [(labels[variant], count, why) for (variant, why), count in sorted(skipped.items())]
        sections.append(Table(("variant", "cells", "why"), shown_skips, title="Planned and not sent"))
    versions = [(VariantId.parse(one).label, ", ".join(named)) for one, named in versions_in(ws, benchmark_id).items()]
    if versions:
        sections.append(Table(("variant", "model or version"), versions, title="What made the outputs"))
    return Report(f"Benchmark matrix {benchmark_id}", _summary(run, cell_counts(ws, benchmark_id)), sections)


def _summary(run: MatrixRun, counts: Mapping[str, int]) -> str:
    completed = counts.get("completed", 0)
    return f"The matrix is **{run.status}**: {completed} of {run.planned} cells have an output."


def _row(one: Variant, items: Sequence[sa.Row[Any]], sizes: dict[str, int], tries: Sequence[str]) -> tuple[Any, ...]:
    completed = [item for item in items if item.status == "completed"]
    failed = [item for item in items if item.status in ("failed", "invalid")]
    times = [item.total_ms for item in completed if item.total_ms is not None]
    outputs = [sizes[item.dispatch_id] for item in completed if item.dispatch_id in sizes]
    none = Missing("no cell has completed")
    return (
        one.id.label,
        len(items),
        len(completed),
        len(failed),
        len(items) - len(completed) - len(failed),
        fmean(times) if times else none,
        fmean(outputs) if outputs else none,
        len(tries),
        tries.count("lost"),
    )
