"""What a verdict may do to routing: a WINNER puts its winner on its route; no other outcome changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from pointsman.errors import GuardRefused, NotFound
from pointsman.ids import RouteKey, VariantId
from pointsman.quality import ensure_trusted
from pointsman.storage import tables
from pointsman.versions import require_unchanged
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ProposedBinding:
    """What a verdict asks for: the route, its new weights, and the sentence that says why."""

    route_key: RouteKey
    weights: Mapping[VariantId, int]
    cause: str


def ensure_asked_for(ws: Workspace, verdict_id: str, route_key: RouteKey, weights: Mapping[VariantId, int]) -> None:
    """Raise as `binding_for_verdict` does, and `GuardRefused` where the verdict asks for something else."""
    proposed = binding_for_verdict(ws, verdict_id)
    if proposed.route_key != route_key or dict(proposed.weights) != dict(weights):
        raise GuardRefused(
            f"The verdict {verdict_id} does not ask for these weights on {route_key}.",
            instruction=f"pointsman route apply --verdict {verdict_id}",
            code="not_what_the_verdict_asks",
            verdict_id=verdict_id,
        )


def binding_for_verdict(ws: Workspace, verdict_id: str) -> ProposedBinding:
    """The binding that the verdict asks for.

    Raises `NotFound`, and `GuardRefused` unless its outcome is WINNER, its judge is trusted, and its variants are still
    what was measured.
    """
    verdicts = tables.verdicts
    with ws.database.connect() as connection:
        row = connection.execute(sa.select(verdicts).where(verdicts.c.id == verdict_id)).mappings().one_or_none()
    if row is None:
        raise NotFound("verdict", verdict_id, "a verdict in the state of record")
    if row["outcome"] != "WINNER":
        raise GuardRefused(
            f"The verdict {verdict_id} is {row['outcome']}; only WINNER may change routing.",
            instruction=f"pointsman hud show {row['benchmark_id']}",
            code="verdict_not_winner",
            verdict_id=verdict_id,
            outcome=row["outcome"],
        )
    ensure_trusted(ws, row["evaluation_set_id"])
    require_unchanged(ws, row["benchmark_id"])
    winner = VariantId.parse(row["winner"])
    cause = f"verdict {verdict_id}: {winner.label} won {row['benchmark_id']}"
    return ProposedBinding(RouteKey.parse(row["route_key"]), {winner: 100}, cause)
