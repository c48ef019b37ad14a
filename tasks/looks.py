"""The task of a look: judge what a matrix has so far, decide, and end the matrix when that is decided."""

from __future__ import annotations

from prefect import get_run_logger, task

from pointsman import benchmark, quality
from pointsman.decision import conclude
from pointsman.quality import JudgeUnavailable
from pointsman.settings import load_settings
from tasks.opening import open_judge, open_price_book, open_workspace
from tasks.policies import JUDGE


@task(name="look", **JUDGE)
def look(bm_id: str, judge: str, price_book: str) -> bool:
    """Whether the comparison is decided, so that the cells which were not begun are skipped.

    A judge that fails decides nothing here: who judges the whole comparison then is for `evaluate-quality` to say.
    """
    ws, book = open_workspace(), open_price_book(price_book)
    now = ws.clock.now()
    chosen = open_judge(judge).build(load_settings(), price=lambda sku: book.price(sku, now))
    quality.require_may_see(ws, bm_id, chosen.sees)
    set_id = quality.open_evaluation_set(ws, bm_id, chosen.judge.identity)
    try:
        quality.judge_chunk(ws, set_id, chosen.judge, quality.pending(ws, set_id), cap=chosen.cap)
    except JudgeUnavailable as error:
        get_run_logger().warning("No look: %s", error)
        return False
    found = conclude(ws, bm_id, set_id, book)
    get_run_logger().info("A look: %s, %s.", found.outcome, found.id)
    if found.outcome not in ("WINNER", "EQUIVALENT"):
        return False
    benchmark.end_early(ws, bm_id, why=f"decided at a look, {found.outcome} by {found.id}")
    return True
