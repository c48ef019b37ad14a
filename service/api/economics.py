"""What a benchmark came to in money."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from pointsman.decision import read_hud, verdicts_of
from pointsman.economics import read_money
from pointsman.errors import NotFound
from service.api.authorization import Asking, OpenWorkspace

router = APIRouter(prefix="/economics", tags=["economics"])


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")

    benchmark_context_id: str = Field(description="A benchmark id (bm_...) whose newest verdict is asked for.")


@router.get("/money-hud")
def money_hud(asked: Annotated[_Asked, Query()], ws: OpenWorkspace, _: Asking) -> dict[str, Any]:
    """Rows per variant, waterfall, frontier, verdict, winner and recommendations of the newest verdict.

    `money` is what an accepted output costs in production, line by line; null for a verdict that has none.
    """
    benchmark_id = asked.benchmark_context_id
    found = verdicts_of(ws, benchmark_id)
    if not found:
        raise NotFound(
            "benchmark_context_id",
            benchmark_id,
            "a benchmark with a verdict",
            instruction=f"pointsman evaluate {benchmark_id}",
        )
    return {**read_hud(ws, found[0].id), "money": read_money(ws, found[0].id)}
