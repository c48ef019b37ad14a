"""The tasks of looks: judge what a matrix has so far, decide, and end the matrix when that is decided."""

from __future__ import annotations

from prefect import get_run_logger, task

from pointsman import benchmark, quality
from pointsman.decision import conclude, require_sequential
from pointsman.quality import ChosenJudge, JudgeUnavailable
from pointsman.settings import load_settings
from tasks.opening import open_judge, open_price_book, open_workspace
from tasks.policies import JUDGE, RECORD


@task(name="require-looks", **RECORD)
def require_looks(bm_id: str, judge: str, price_book: str) -> None:
    """Refuse, before anything is sent, looks that could decide nothing."""
    require_sequential(open_workspace(), bm_id, _chosen(judge, price_book).judge.identity)


@task(name="look", **JUDGE)
def look(bm_id: str, judge: str, price_book: str) -> bool:
    """Whether the comparison is decided, so that the cells which were not begun are skipped.

    Of a matrix that tasks elsewhere run, it sees the rounds up to the first that is not over. A judge that fails
    decides nothing here: who judges the whole comparison then is for `evaluate-quality` to say.
    """
    ws, book = open_workspace(), open_price_book(price_book)
    chosen = _chosen(judge, price_book)
    plan = require_sequential(ws, bm_id, chosen.judge.identity)
    quality.require_may_see(ws, bm_id, chosen.sees)
    reference = str(plan.incumbent) if chosen.compares else None
    set_id = quality.open_evaluation_set(ws, bm_id, chosen.judge.identity, reference=reference)
    seen = benchmark.cells_to_look_at(ws, bm_id)
    todo = [dispatch_id for dispatch_id in quality.pending(ws, set_id) if dispatch_id in seen]
    try:
        quality.judge_chunk(ws, set_id, chosen.judge, todo, cap=chosen.cap)
    except JudgeUnavailable as error:
        get_run_logger().warning("No look: %s", error)
        return False
    found = conclude(ws, bm_id, set_id, book)
    get_run_logger().info("A look: %s, %s.", found.outcome, found.id)
    if found.outcome not in ("WINNER", "EQUIVALENT"):
        return False
    benchmark.end_early(ws, bm_id, why=f"decided at a look, {found.outcome} by {found.id}")
    return True


def _chosen(judge: str, price_book: str) -> ChosenJudge:
    book, now = open_price_book(price_book), open_workspace().clock.now()
    return open_judge(judge).at_once().build(load_settings(), price=lambda sku: book.price(sku, now))
