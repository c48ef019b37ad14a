"""Tasks of judging: open a set, judge a chunk, fall back as a whole, close and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from prefect import get_run_logger, task

from pointsman import benchmark, quality
from pointsman.errors import InputRefused
from pointsman.quality import ChosenJudge, JudgeIdentity
from pointsman.settings import load_settings
from tasks.chunks import chunk_runs
from tasks.opening import open_judge, open_price_book, open_workspace
from tasks.policies import JUDGE, ONCE, RECORD
from tasks.recording import record_report

_EVERYTHING = 10**9


def _chosen(
    name: str, price_book: str, *, at_once: bool = False, tell: Callable[[str], None] | None = None
) -> ChosenJudge:
    book = open_price_book(price_book)
    now = open_workspace().clock.now()
    spec = open_judge(name)
    spec = spec.at_once() if at_once else spec
    return spec.build(load_settings(), price=lambda sku: book.price(sku, now), tell=tell)


def judge_identities(name: str, price_book: str) -> list[JudgeIdentity]:
    """The judge that is asked, and the local one behind it if that is another: plans are declared for both."""
    return list(dict.fromkeys(_chosen(one, price_book).judge.identity for one in (name, "local")))


def sends_batches(name: str, price_book: str) -> bool:
    """Whether the judge sends everything as batches: splitting that up, or paying machines to wait, saves nothing."""
    return _chosen(name, price_book).waits


@task(name="open-evaluation-set", **RECORD)
def open_evaluation_set(
    bm_id: str, judge: str, price_book: str, *, incumbent: str | None = None, reopen: bool = False
) -> str:
    """Open, or find again, the set of this judge; the run's log says why it is this judge."""
    chosen = _chosen(judge, price_book)
    if chosen.compares and incumbent is None:
        raise InputRefused("incumbent", None, "for a judge that compares, the id of the variant to compare with")
    get_run_logger().info(chosen.reason)
    ws = open_workspace()
    quality.require_may_see(ws, bm_id, chosen.sees)
    set_id = quality.open_evaluation_set(
        ws, bm_id, chosen.judge.identity, reference=incumbent if chosen.compares else None
    )
    if reopen:
        quality.reopen(ws, set_id)
    return set_id


@task(name="pending-judgements", **RECORD)
def pending_chunks(set_id: str, size: int | None) -> list[list[str]]:
    """What is not judged yet, so many outputs at a time; None: all of them."""
    size = _EVERYTHING if size is None else size
    return list(quality.pending_chunks(open_workspace(), set_id, size).values())


@task(name="outputs-of-chunk", **RECORD)
def outputs_of_chunk(set_id: str, size: int, chunk: int) -> list[str]:
    return quality.pending_chunks(open_workspace(), set_id, size).get(chunk, [])


@task(name="judge-chunk", **JUDGE)
def judge_chunk(set_id: str, judge: str, price_book: str, dispatch_ids: Sequence[str]) -> None:
    """The run's log says what becomes of batches that are waited for."""
    chosen = _chosen(judge, price_book, tell=get_run_logger().info)
    quality.judge_chunk(open_workspace(), set_id, chosen.judge, dispatch_ids, cap=chosen.cap)


@task(name="judge-elsewhere", **ONCE)
def judge_elsewhere(set_id: str, judge: str, price_book: str, size: int, *, fall_back_inline: bool) -> None:
    """Have the chunks judged elsewhere and wait for them; see `run_chunks` for what is left undone."""
    ws = open_workspace()
    bm_id = quality.evaluation_set(ws, set_id).benchmark_id
    with benchmark.in_place_instead(ws, bm_id, allowed=fall_back_inline):
        quality.judge_elsewhere(ws, set_id, chunk_runs(bm_id), judge=judge, price_book=price_book, chunk_size=size)


@task(name="look-again", **JUDGE)
def look_again(set_id: str, judge: str, price_book: str) -> str | None:
    """Judge some outputs twice and show some pairs in both orders; why that did not get done, if it did not.

    They are few, so nobody waits for a batch of them.
    """
    chosen = _chosen(judge, price_book, at_once=True)
    return quality.look_again(open_workspace(), set_id, chosen.judge, chosen.trust.second_looks, cap=chosen.cap)


@task(name="fall-back", **RECORD)
def fall_back(set_id: str, reason: str) -> Literal["local", "insufficient"]:
    """Abandon the set: judges never meet in one comparison."""
    return quality.fall_back(open_workspace(), set_id, reason)


@task(name="close-evaluation-set", **RECORD)
def close_evaluation_set(set_id: str) -> None:
    quality.complete(open_workspace(), set_id)


@task(name="assess-trust", **RECORD)
def assess_trust(set_id: str, judge: str, price_book: str, unchecked: str | None) -> None:
    """Hold the judge against its policy; the run's log says what speaks against it."""
    chosen = _chosen(judge, price_book)
    ws = open_workspace()
    book, now = open_price_book(price_book), ws.clock.now()
    trust = quality.assess_trust(ws, set_id, chosen.trust, price=lambda sku: book.price(sku, now), unchecked=unchecked)
    for reason in trust.reasons:
        get_run_logger().warning("The judge is not trusted: %s", reason)


@task(name="mark-benchmark-ready", **RECORD)
def mark_benchmark_ready(bm_id: str) -> None:
    benchmark.mark_ready(open_workspace(), bm_id)


@task(name="report-trust", **RECORD)
def report_trust(set_id: str) -> None:
    record_report("quality-trust-card", quality.trust_card(open_workspace(), set_id))
