"""What people say of outputs: levels by a rubric, kept per output and labeller, for every judge of that benchmark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa

from pointsman.storage import tables
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Label:
    """One labeller's levels of one output; `quality` is what the rubric makes of them, 0 to 100."""

    dispatch_id: str
    labeller: str
    levels: Mapping[str, int]
    quality: Decimal


def labels_of(ws: Workspace, benchmark_id: str) -> list[Label]:
    """Every label of a benchmark's outputs."""
    table = tables.human_labels
    wanted = (
        sa.select(table).where(table.c.benchmark_id == benchmark_id).order_by(table.c.dispatch_id, table.c.labeller)
    )
    with ws.database.connect() as connection:
        rows = connection.execute(wanted).mappings().all()
    return [Label(row["dispatch_id"], row["labeller"], row["levels"], row["quality"]) for row in rows]


def quality_by_people(ws: Workspace, benchmark_id: str) -> dict[str, float]:
    """Per labelled output the mean of what its labellers say."""
    said: dict[str, list[float]] = defaultdict(list)
    for label in labels_of(ws, benchmark_id):
        said[label.dispatch_id].append(float(label.quality))
    return {dispatch_id: sum(values) / len(values) for dispatch_id, values in said.items()}


def level_of(quality: float) -> int:
    """A quality from 0 to 100 as one of five levels, 0 to 4, for agreement in ordered categories."""
    return min(4, max(0, int(quality / 25 + 0.5)))
