"""What people would say of all outputs of a variant, from the few that they labelled and the judge's scores of all."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import sqlalchemy as sa

from pointsman.ids import VariantId
from pointsman.quality.evaluation import evaluation_set
from pointsman.quality.labels import quality_by_people
from pointsman.statistics import Interval, corrected_mean
from pointsman.storage import tables
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Corrected:
    """Mean quality of a variant's outputs as people would see it, with its 95 % interval.

    `bias` is by how much the judge scores higher than people where both did. `labelled` of `inputs` have a label.
    """

    quality: Interval
    bias: float
    labelled: int
    inputs: int


def corrected_qualities(ws: Workspace, set_id: str) -> dict[VariantId, Corrected]:
    """By variant, for those of which inputs of at least two sources have a label. The unit is the input, repeats are
    averaged, and inputs of one source hang together. A cell without output is nothing that people could rate.

    Raises `NotFound`.
    """
    people = quality_by_people(ws, evaluation_set(ws, set_id).benchmark_id)
    if not people:
        return {}
    items, evaluations = tables.benchmark_matrix_run_items, tables.quality_evaluations
    wanted = (
        sa.select(items.c.variant_id, items.c.input_id, items.c.cluster, items.c.dispatch_id, evaluations.c.quality)
        .join(evaluations, evaluations.c.dispatch_id == items.c.dispatch_id)
        .where(evaluations.c.evaluation_set_id == set_id, evaluations.c.quality.is_not(None))
    )
    source: dict[str, str] = {}
    scored: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    labelled: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    with ws.database.connect() as connection:
        for row in connection.execute(wanted):
            source[row.input_id] = row.cluster
            scored[row.variant_id][row.input_id].append(float(row.quality))
            if row.dispatch_id in people:
                labelled[row.variant_id][row.input_id].append((people[row.dispatch_id], float(row.quality)))
    found: dict[VariantId, Corrected] = {}
    for variant, by_input in scored.items():
        both = [_mean_pair(pairs) for pairs in labelled[variant].values()]
        others = [name for name in by_input if name not in labelled[variant]]
        rest = [sum(by_input[name]) / len(by_input[name]) for name in others]
        sources = [source[name] for name in (*labelled[variant], *others)]
        quality = corrected_mean([said for said, _ in both], [score for _, score in both], rest, sources=sources)
        if quality is not None:
            bias = sum(score - said for said, score in both) / len(both)
            held = Interval(*(min(100.0, max(0.0, one)) for one in (quality.value, quality.low, quality.high)))
            found[VariantId.parse(variant)] = Corrected(held, bias, len(both), len(by_input))
    return found


def _mean_pair(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(said for said, _ in pairs) / len(pairs), sum(score for _, score in pairs) / len(pairs)
