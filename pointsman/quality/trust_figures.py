"""The figures of the trust card: what second looks, people, families, fallbacks and bills say about a judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import sqrt

import sqlalchemy as sa

from pointsman.ids import VariantId
from pointsman.model import Missing, Number
from pointsman.quality.evaluation import EvaluationSet
from pointsman.quality.families import families_of, words_in
from pointsman.quality.labels import labels_of, level_of, quality_by_people
from pointsman.statistics import Interval, weighted_kappa, wilson_interval
from pointsman.storage import tables
from pointsman.workspace import Workspace

LEAST_LABELLED = 10
"""With fewer labelled outputs, agreement with people is a matter of luck."""
_LEVELS = 5
_ONE_SOURCE = "the labelled outputs are all of one source"


@dataclass(frozen=True, slots=True)
class Again:
    """Outputs judged twice: the standard deviation of one judgement, and the largest difference of two."""

    outputs: int
    spread: float
    largest: float


@dataclass(frozen=True, slots=True)
class Order:
    """Pairs shown in both orders: how many changed their better output, as a share with its interval."""

    pairs: int
    flips: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        return self.flips / self.pairs


@dataclass(frozen=True, slots=True)
class People:
    """Agreement with people, as quadratically weighted kappa of five levels, over single labels.

    Its interval counts sources: labels of outputs of one source hang together.
    """

    outputs: int
    labels: int
    kappa: Interval


@dataclass(frozen=True, slots=True)
class OwnFamily:
    """Variants made by the judge's own family. `lean`: how much more the judge overrates them than the others."""

    family: str
    variants: tuple[VariantId, ...]
    lean: float | Missing


def again(ws: Workspace, set_id: str) -> Again | Missing:
    """Each difference d of two judgements has twice the variance of one: sqrt(mean(d^2) / 2)."""
    looks = [float(Decimal(one["again"]) - Decimal(one["first"])) for one in _looks(ws, set_id, "again")]
    if not looks:
        return Missing("no output was judged twice")
    return Again(len(looks), sqrt(sum(d * d for d in looks) / len(looks) / 2), max(map(abs, looks)))


def order(ws: Workspace, set_id: str) -> Order | Missing:
    flipped = [bool(one["flipped"]) for one in _looks(ws, set_id, "order")]
    if not flipped:
        return Missing("no pair was shown in both orders")
    low, high = wilson_interval(sum(flipped), len(flipped))
    return Order(len(flipped), sum(flipped), low, high)


def people(ws: Workspace, of: EvaluationSet) -> People | Missing:
    labels = labels_of(ws, of.benchmark_id)
    if not labels:
        return Missing("no output was labelled by people")
    judged = _qualities(ws, of.id)
    if of.reference is not None:
        return _people_on_pairs(ws, of, judged)
    pairs = [
        (level_of(float(label.quality)), level_of(judged[label.dispatch_id]))
        for label in labels
        if label.dispatch_id in judged
    ]
    labelled = {label.dispatch_id for label in labels if label.dispatch_id in judged}
    if len(labelled) < LEAST_LABELLED:
        return Missing(f"{len(labelled)} outputs are labelled, {LEAST_LABELLED} are needed")
    items = tables.benchmark_matrix_run_items
    wanted = sa.select(items.c.cluster.distinct()).where(
        items.c.benchmark_id == of.benchmark_id, items.c.dispatch_id.in_(sorted(labelled))
    )
    with ws.database.connect() as connection:
        sources = len(connection.execute(wanted).all())
    kappa = weighted_kappa(pairs, categories=_LEVELS, independent=sources)
    if kappa is None:
        return Missing(_ONE_SOURCE if sources < 2 else "judge and people put every output on one and the same level")
    return People(len(labelled), len(pairs), kappa)


def _people_on_pairs(ws: Workspace, of: EvaluationSet, judged: Mapping[str, float]) -> People | Missing:
    """A judge that compares agrees with people when both find the same output better than the incumbent's."""
    said = quality_by_people(ws, of.benchmark_id)
    items = tables.benchmark_matrix_run_items
    columns = (items.c.dispatch_id, items.c.variant_id, items.c.input_id, items.c.cluster, items.c.repeat)
    wanted = sa.select(*columns).where(items.c.benchmark_id == of.benchmark_id, items.c.dispatch_id.in_(sorted(said)))
    with ws.database.connect() as connection:
        rows = connection.execute(wanted).all()
    incumbent = {(row.input_id, row.repeat): said[row.dispatch_id] for row in rows if row.variant_id == of.reference}
    both = [
        row
        for row in rows
        if row.variant_id != of.reference and (row.input_id, row.repeat) in incumbent and row.dispatch_id in judged
    ]
    pairs = [
        (_side(said[row.dispatch_id] - incumbent[row.input_id, row.repeat]), _side(judged[row.dispatch_id] - 50))
        for row in both
    ]
    if len(pairs) < LEAST_LABELLED:
        return Missing(f"{len(pairs)} outputs are labelled together with the incumbent's, {LEAST_LABELLED} are needed")
    sources = len({row.cluster for row in both})
    kappa = weighted_kappa(pairs, categories=3, independent=sources)
    if kappa is None:
        return Missing(_ONE_SOURCE if sources < 2 else "judge and people give one and the same answer to every pair")
    return People(len(pairs), len(pairs), kappa)


def _side(difference: float) -> int:
    """0 worse, 1 the same, 2 better."""
    return 1 + (difference > 0) - (difference < 0)


def own_family(ws: Workspace, of: EvaluationSet) -> OwnFamily | None:
    """None when no variant is of the judge's own family."""
    judges = families_of([of.identity.name, of.identity.model])
    if of.identity.name == "local" or not judges:
        return None
    items, variants = tables.benchmark_matrix_run_items, tables.variants
    used = sa.select(items.c.variant_id).where(items.c.benchmark_id == of.benchmark_id).distinct()
    with ws.database.connect() as connection:
        ids = [VariantId.parse(one) for one in connection.execute(used).scalars()]
        known = {
            row.id: [row.target, *words_in(row.params)]
            for row in connection.execute(sa.select(variants).where(variants.c.id.in_([str(one) for one in ids])))
        }
    own = tuple(
        sorted(one for one in ids if families_of([one.provider, one.workflow, *known.get(str(one), [])]) & judges)
    )
    return OwnFamily(min(judges), own, _lean(ws, of, frozenset(own))) if own else None


def fallback(ws: Workspace, of: EvaluationSet) -> tuple[float, str | None]:
    """The share of outputs that another judge than the one asked for judged, and why: none or all of them."""
    table = tables.evaluation_sets
    given_up = sa.select(table.c.judge, table.c.reason).where(
        table.c.benchmark_id == of.benchmark_id, table.c.status == "abandoned", table.c.id != of.id
    )
    with ws.database.connect() as connection:
        row = connection.execute(given_up.order_by(table.c.created_at.desc())).first()
    if row is None or of.identity.name != "local":
        return 0.0, None
    return 1.0, f"{row.judge}: {row.reason}"


def cost(ws: Workspace, of: EvaluationSet, price: Callable[[str], Number] | None) -> Number:
    """USD of every call of the set, second looks too, and of the judges that were given up before it fell to it."""
    usage, sets = tables.usage, tables.evaluation_sets
    given_up = sa.select(sets.c.id).where(sets.c.benchmark_id == of.benchmark_id, sets.c.status == "abandoned")
    paid = usage.c.run_id == of.id
    if of.identity.name == "local":
        paid |= usage.c.run_id.in_(given_up)
    with ws.database.connect() as connection:
        rows = connection.execute(sa.select(usage.c.sku, usage.c.quantity).where(paid)).all()
    lost = sum(row.quantity is None for row in rows)
    if lost:
        return Missing(f"the tokens of {lost} answers that were lost are not known")
    total = Decimal(0)
    for sku, quantity in rows:
        known = price(sku) if price is not None else Missing("no price book was given")
        if isinstance(known, Missing):
            return Missing(f"{sku}: {known.reason}")
        total += known * quantity
    return total


def versions(ws: Workspace, set_id: str) -> list[str]:
    """The versions of the model that gave the judgements, as the service names them."""
    table = tables.attempts
    wanted = sa.select(table.c.detail).where(
        table.c.run_id == set_id, table.c.subject_kind == "judgement", table.c.outcome == "completed"
    )
    with ws.database.connect() as connection:
        told = {detail.get("model_version") for detail in connection.execute(wanted).scalars()}
    return sorted(str(one) for one in told if one)


def words_for_the_judge(ws: Workspace, set_id: str) -> dict[VariantId, tuple[int, str]]:
    """Per variant how many outputs hold words that tell the judge what to do, and the first of these words."""
    items, evaluations = tables.benchmark_matrix_run_items, tables.quality_evaluations
    wanted = (
        sa.select(items.c.variant_id, evaluations.c.scores)
        .join(evaluations, evaluations.c.dispatch_id == items.c.dispatch_id)
        .where(evaluations.c.evaluation_set_id == set_id)
        .order_by(items.c.seq)
    )
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    with ws.database.connect() as connection:
        for row in connection.execute(wanted):
            if words := row.scores.get("words_for_the_judge"):
                counts[row.variant_id] += 1
                first.setdefault(row.variant_id, str(words))
    return {VariantId.parse(one): (counts[one], first[one]) for one in sorted(counts)}


def _lean(ws: Workspace, of: EvaluationSet, own: frozenset[VariantId]) -> float | Missing:
    """Mean of judge minus people among the family's outputs, minus the same among the others."""
    if of.reference is not None:
        return Missing("a judge that compares is on another scale than people")
    said, judged = quality_by_people(ws, of.benchmark_id), _qualities(ws, of.id)
    items = tables.benchmark_matrix_run_items
    wanted = sa.select(items.c.dispatch_id, items.c.variant_id).where(items.c.benchmark_id == of.benchmark_id)
    sides: Mapping[bool, list[float]] = {True: [], False: []}
    with ws.database.connect() as connection:
        for row in connection.execute(wanted):
            if row.dispatch_id in said and row.dispatch_id in judged:
                sides[VariantId.parse(row.variant_id) in own].append(judged[row.dispatch_id] - said[row.dispatch_id])
    if not sides[True] or not sides[False]:
        return Missing("it takes labels of its own family's outputs and of others'")
    return sum(sides[True]) / len(sides[True]) - sum(sides[False]) / len(sides[False])


def _looks(ws: Workspace, set_id: str, kind: str) -> list[Mapping[str, str]]:
    table = tables.second_looks
    wanted = sa.select(table.c.result).where(table.c.evaluation_set_id == set_id, table.c.kind == kind)
    with ws.database.connect() as connection:
        return [dict(result) for result in connection.execute(wanted.order_by(table.c.subject)).scalars()]


def _qualities(ws: Workspace, set_id: str) -> dict[str, float]:
    table = tables.quality_evaluations
    wanted = sa.select(table.c.dispatch_id, table.c.quality).where(
        table.c.evaluation_set_id == set_id, table.c.quality.is_not(None)
    )
    with ws.database.connect() as connection:
        return {row.dispatch_id: float(row.quality) for row in connection.execute(wanted)}
