"""The trust card of an evaluation set: who judged, how much of it worked, how the scores spread, what is not known."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pointsman.ids import VariantId
from pointsman.model import Missing
from pointsman.quality import trust_figures
from pointsman.quality.correction import Corrected, corrected_qualities
from pointsman.quality.evaluation import EvaluationSet, evaluation_set, pending
from pointsman.quality.trust import Trust, trust_of
from pointsman.quality.trust_policy import TrustPolicy
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
    trust = trust_of(ws, set_id)
    summary = (
        f"**{escape_markdown(found.identity.name)}** ({escape_markdown(found.identity.model)}) judged "
        f"{len(judged) - unknown} of {len(judged) + left} outputs; the set is {found.status}"
        + (f": {escape_markdown(found.reason)}." if found.reason else ".")
        + _worth(trust)
    )
    sections: list[Figures | Table | Text] = [
        Figures(_identity(found), "Judge"),
        Figures(_counts(judged, attempts, left, trust_figures.versions(ws, set_id)), "Counts"),
        Table(("question", "answer", "policy"), _questions(ws, found, trust), "Trust"),
        Table(
            ("variant", "judged", "mean", "spread (sd)", "lowest", "highest", "scored 0", "missing"), _spread(judged)
        ),
    ]
    corrected = corrected_qualities(ws, set_id)
    if corrected:
        columns = ("variant", "labelled inputs", "judge above people", "quality by people", "95 % interval")
        sections.append(
            Table(columns, _by_people(corrected, compares=found.reference is not None), "Quality as people see it")
        )
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
    judged: Sequence[Mapping[str, Any]], attempts: Sequence[Mapping[str, Any]], left: int, versions: Sequence[str]
) -> list[tuple[str, Cell]]:
    none = Missing("nothing was asked yet")
    tries = {row["subject_id"] for row in attempts}
    again = {row["subject_id"] for row in attempts if row["outcome"] != "completed"}
    bad = sum(row["outcome"] != "completed" for row in attempts)
    figures: list[tuple[str, Cell]] = [
        ("outputs judged", sum(row["quality"] is not None for row in judged)),
        ("quality missing", sum(row["quality"] is None for row in judged)),
        ("not judged yet", left),
        ("attempts", len(attempts)),
        ("attempts that failed", _share(bad, len(attempts)) if attempts else none),
        ("questions that failed at least once", _share(len(again), len(tries)) if tries else none),
    ]
    if versions:
        figures.append(("model versions that answered", ", ".join(versions)))
    return figures


def _worth(trust: Trust | None) -> str:
    if trust is None:
        return ""
    if trust.trusted:
        return " Nothing speaks against trusting it."
    reasons = " ".join(escape_markdown(reason) for reason in trust.reasons)
    return f" **It is not trusted, and no verdict of it is applied:** {reasons}"


def _questions(ws: Workspace, found: EvaluationSet, trust: Trust | None) -> list[tuple[Cell, ...]]:
    policy = trust.policy if trust else TrustPolicy()
    again, order = trust_figures.again(ws, found.id), trust_figures.order(ws, found.id)
    people, own = trust_figures.people(ws, found), trust_figures.own_family(ws, found)
    share, why = trust_figures.fallback(ws, found)
    cost = trust.cost_usd if trust else Missing("the set is not closed yet")
    computed = found.identity.name == "local"
    rows: list[tuple[Cell, ...]] = [
        (
            "agreement of the judge with itself (A/A)",
            "computed: the same files get the same score"
            if computed
            else again
            if isinstance(again, Missing)
            else f"{again.outputs} outputs judged twice: standard deviation {again.spread:.2f}, "
            f"largest difference {again.largest:.2f} points",
            f"at most {policy.most_spread:g} points",
        ),
        (
            "better output that changes with the order",
            "computed: pairs are not compared"
            if computed
            else order
            if isinstance(order, Missing)
            else f"{_share(order.flips, order.pairs)} of pairs; 95 %: {order.low:.0%} to {order.high:.0%}",
            f"at most {100 * policy.most_flips:g} %",
        ),
        (
            "agreement with people",
            people
            if isinstance(people, Missing)
            else f"weighted kappa {people.kappa.value:.2f} (95 %: {people.kappa.low:.2f} to {people.kappa.high:.2f}), "
            f"{people.labels} labels of {people.outputs} outputs",
            f"at least {policy.least_agreement:g}",
        ),
        (
            "self-preference",
            "no variant is of the judge's family"
            if own is None
            else f"{own.family} made {', '.join(one.label for one in own.variants)}; overrated by "
            + (str(own.lean) if isinstance(own.lean, Missing) else f"{own.lean:+.1f} points against the others"),
            policy.own_family,
        ),
        (
            "fallback",
            f"{100 * share:g} %" + (f" ({why})" if why else f" ({found.reason})" if found.reason else ""),
            f"at most {100 * policy.most_fallback:g} %",
        ),
        ("cost of judging (USD)", cost if isinstance(cost, Missing) else f"{cost:f}", ""),
    ]
    for variant, (count, words) in trust_figures.words_for_the_judge(ws, found.id).items():
        rows.append((f"words for the judge in {variant.label}", f"{count} outputs, for one: {words[:200]!r}", "none"))
    return rows


def _by_people(corrected: Mapping[VariantId, Corrected], *, compares: bool) -> list[tuple[Cell, ...]]:
    other_scale = Missing("a judge that compares is on another scale than people")
    return [
        (
            variant.label,
            f"{one.labelled} of {one.inputs}",
            other_scale if compares else one.bias,
            one.quality.value,
            f"{one.quality.low:.1f} to {one.quality.high:.1f}",
        )
        for variant, one in sorted(corrected.items())
    ]


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
    for row in judged:
        variant = VariantId.parse(row["variant_id"]).label
        found.update(f"seen: {name.replace('_', ' ')} ({variant})" for name in row["scores"].get("findings", ()))
        found.update(f"no {name}: {why}" for name, why in row["scores"].get("not_measured", {}).items())
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
