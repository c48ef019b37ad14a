"""The trust card of an evaluation set: who judged, how much of it worked, how the scores spread, what is not known."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pointsman.ids import VariantId
from pointsman.model import Missing
from pointsman.quality.evaluation import EvaluationSet, evaluation_set, pending
from pointsman.reporting import Cell, Figures, Report, Table, Text, escape_markdown
from pointsman.storage import tables
from pointsman.workspace import Workspace


def trust_card(ws: Workspace, set_id: str) -> Report:
    """Raises `NotFound`."""
    found = evaluation_set(ws, set_id)
    judged = _judged(ws, set_id)
    attempts = _attempts(ws, set_id)
    left = len(pending(ws, set_id))
    unknown = sum(row["quality"] is None for row in judged)
    summary = (
        f"**{escape_markdown(found.identity.name)}** ({escape_markdown(found.identity.model)}) judged "
        f"{len(judged) - unknown} of {len(judged) + left} outputs; the set is {found.status}"
        + (f": {escape_markdown(found.reason)}." if found.reason else ".")
    )
    sections: list[Figures | Table | Text] = [
        Figures(_identity(found), "Judge"),
        Figures(_counts(found, judged, attempts, left), "Counts"),
        Table(
            ("variant", "judged", "mean", "spread (sd)", "lowest", "highest", "scored 0", "missing"), _spread(judged)
        ),
    ]
    problems = _problems(judged, attempts)
    if problems:
        sections.append(Table(("what", "times"), problems, "Problems"))
    return Report("Quality trust card", summary, sections)


def _identity(found: EvaluationSet) -> list[tuple[str, Cell]]:
    return [
        ("judge", found.identity.name),
        ("model", found.identity.model),
        ("rubric", found.identity.rubric_sha256[:12]),
        ("evaluation set", found.id),
        ("benchmark", found.benchmark_id),
    ]


def _counts(
    found: EvaluationSet, judged: Sequence[Mapping[str, Any]], attempts: Sequence[Mapping[str, Any]], left: int
) -> list[tuple[str, Cell]]:
    none = Missing("nothing was asked yet")
    tries = Counter(row["subject_id"] for row in attempts)
    bad = sum(row["outcome"] != "completed" for row in attempts)
    versions = sorted({row["detail"]["model_version"] for row in attempts if row["detail"].get("model_version")})
    figures: list[tuple[str, Cell]] = [
        ("outputs judged", sum(row["quality"] is not None for row in judged)),
        ("quality missing", sum(row["quality"] is None for row in judged)),
        ("not judged yet", left),
        ("attempts", len(attempts)),
        ("attempts that failed", _share(bad, len(attempts)) if attempts else none),
        (
            "outputs asked about more than once",
            _share(sum(n > 1 for n in tries.values()), len(tries)) if tries else none,
        ),
        ("agreement of the judge with itself (A/A)", Missing("no output was judged twice")),
        ("agreement with people", Missing("no output was judged by people")),
        ("fallback", found.reason or "none"),
    ]
    if versions:
        figures.append(("model versions that answered", ", ".join(versions)))
    return figures


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f} %)"


def _spread(judged: Sequence[Mapping[str, Any]]) -> list[tuple[Cell, ...]]:
    by_variant: dict[str, list[float]] = defaultdict(list)
    missing: Counter[str] = Counter()
    for row in judged:
        variant = VariantId.parse(row["variant_id"]).label
        by_variant[variant].extend([] if row["quality"] is None else [float(row["quality"])])
        missing[variant] += row["quality"] is None
    rows: list[tuple[Cell, ...]] = []
    for variant, scores in sorted(by_variant.items()):
        none = Missing("no score")
        rows.append(
            (
                variant,
                len(scores),
                statistics.fmean(scores) if scores else none,
                statistics.stdev(scores) if len(scores) > 1 else Missing("fewer than two scores"),
                min(scores) if scores else none,
                max(scores) if scores else none,
                scores.count(0.0),
                missing[variant],
            )
        )
    return rows


def _problems(judged: Sequence[Mapping[str, Any]], attempts: Sequence[Mapping[str, Any]]) -> list[tuple[Cell, ...]]:
    found: Counter[str] = Counter()
    found.update(f"attempt: {row['detail']['code']}" for row in attempts if row["detail"].get("code"))
    found.update(f"quality missing: {row['missing_reason']}" for row in judged if row["missing_reason"])
    found.update(f"scored 0: {row['scores']['reason']}" for row in judged if row["scores"].get("reason"))
    return [(what, -less) for less, what in sorted((-times, what) for what, times in found.items())]


def _judged(ws: Workspace, set_id: str) -> list[Mapping[str, Any]]:
    evaluations, items = tables.quality_evaluations, tables.benchmark_matrix_run_items
    wanted = (
        sa.select(items.c.variant_id, evaluations.c.quality, evaluations.c.missing_reason, evaluations.c.scores)
        .join(items, items.c.dispatch_id == evaluations.c.dispatch_id)
        .where(evaluations.c.evaluation_set_id == set_id)
    )
    with ws.database.connect() as connection:
        return [dict(row) for row in connection.execute(wanted).mappings()]


def _attempts(ws: Workspace, set_id: str) -> list[Mapping[str, Any]]:
    table = tables.attempts
    wanted = sa.select(table.c.subject_id, table.c.outcome, table.c.detail).where(
        table.c.run_id == set_id, table.c.subject_kind == "judgement"
    )
    with ws.database.connect() as connection:
        return [dict(row) for row in connection.execute(wanted).mappings()]
