"""When a judge fails in the middle: the whole comparison goes to the local judge, or nothing can be concluded."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import Conflict
from pointsman.quality.evaluation import evaluation_set, move_set
from pointsman.quality.samples import every_output_has_a_source
from pointsman.storage import tables
from pointsman.workspace import Workspace


def fall_back(ws: Workspace, set_id: str, reason: str) -> Literal["local", "insufficient"]:
    """Abandon the set and say how to go on; log `quality_evaluation_fallback` in the same transaction, once.

    `local`: every output has a source, so judge *all* of them with `LocalJudge` in a set of its own. `insufficient`:
    some have none, so the verdict is INSUFFICIENT_DATA. Judges never meet in one comparison, so what the abandoned set
    holds is not used. Raises `Conflict` for a set that is complete, or that is the local judge's own.
    """
    found = evaluation_set(ws, set_id)
    if found.status == "complete" or found.identity.name == "local":
        raise Conflict(
            f"Evaluation set {set_id} ({found.identity.name}, {found.status}) has nothing to fall back from.",
            instruction=f"Read it with `pointsman evaluate {found.benchmark_id}`.",
            code="no_fallback",
        )
    way: Literal["local", "insufficient"] = (
        "local" if every_output_has_a_source(ws, found.benchmark_id) else "insufficient"
    )
    runs = tables.benchmark_matrix_runs
    with ws.database.begin() as connection:
        if move_set(connection, set_id, "running", "abandoned", reason):
            parent = connection.execute(sa.select(runs.c.parent_run_id).where(runs.c.id == found.benchmark_id)).scalar()
            ActionLog(ws).record_in(
                connection,
                "quality_evaluation_fallback",
                run_id=parent,
                context=found.benchmark_id,
                evaluation_set_id=set_id,
                judge=found.identity.name,
                model=found.identity.model,
                reason=reason,
                continues=way,
            )
    return way
