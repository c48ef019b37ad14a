"""A service that fails in every way at once: the ledger has each call that was made, and the cap holds."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from decimal import Decimal

import pytest

from pointsman.model import Missing
from pointsman.quality import JudgeUnavailable, SpendCap, complete, judge_chunk, open_evaluation_set, pending
from pointsman.quality.retry import RetryPolicy
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.quality.gemini_stand_in import Asked, Reply, StandIn, judgement, refusal
from tests.quality.worlds import LEVELS, Clips, Matrix, gemini_judge

FAULTS: dict[str, Reply] = {
    "rate_limited": refusal(429, "RESOURCE_EXHAUSTED", Retry_After="2"),
    "server_error": refusal(503, "UNAVAILABLE"),
    "truncated": judgement(LEVELS, finish="MAX_TOKENS"),
    "blocked": judgement(LEVELS, finish="SAFETY"),
    "off_schema": judgement({"fidelity": 3}),
    "another_label": judgement(LEVELS, label="00000000"),
    "connection_lost": Reply(drop=True),
    "timeout": Reply(hang_s=1.4, document={}),
}
PATIENT = RetryPolicy(attempts=50, answers=50)


class Weather:
    """Every third answer, in the order in which questions arrive, is a fault of the next kind; all are counted."""

    def __init__(self, seed: int, *, without: tuple[str, ...] = ()) -> None:
        kinds = [name for name in FAULTS if name not in without]
        random.Random(seed).shuffle(kinds)
        self._faults = itertools.cycle(kinds)
        self.sent: Counter[str] = Counter()

    def choose(self, asked: Asked) -> Reply:
        name = next(self._faults) if self.sent.total() % 3 == 1 else "completed"
        self.sent[name] += 1
        return judgement(LEVELS) if name == "completed" else FAULTS[name]


def test_the_ledger_has_exactly_the_calls_that_arrived(ws: Workspace, clips: Clips, gemini: StandIn) -> None:
    matrix = Matrix(ws, clips, inputs=20)
    weather = Weather(1)
    gemini.choose = weather.choose
    judge = gemini_judge(gemini.url, workers=8, policy=PATIENT, timeout_s=1.0)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    assert judge_chunk(ws, set_id, judge, matrix.cells) == 40
    complete(ws, set_id)
    attempts = matrix.rows(tables.attempts)
    assert len(attempts) == gemini.settled() == weather.sent.total()
    found = Counter(row.detail["code"] or "completed" for row in attempts)
    # On a machine that stands still for a second an answer may come too late: the call is known all the same.
    assert set(found - weather.sent) <= {"timeout"}
    assert len(weather.sent) == len(FAULTS) + 1, "every kind of fault came about"
    by_subject = {row.subject_id: [] for row in attempts}
    for row in sorted(attempts, key=lambda row: row.number):
        by_subject[row.subject_id].append(row.number)
    assert len(by_subject) == 40
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_subject.values())
    lost = found["timeout"] + found["connection_lost"]
    billed = found.total() - lost - found["rate_limited"] - found["server_error"]
    usage = [row for row in matrix.rows(tables.usage) if row.sku.endswith("input-token")]
    assert sum(row.quantity or 0 for row in usage) == 1000 * billed
    assert sum(row.quantity is None for row in usage) == lost


def test_calls_that_end_after_somebody_gave_up_are_on_record_too(ws: Workspace, clips: Clips, gemini: StandIn) -> None:
    matrix = Matrix(ws, clips, inputs=8)

    def choose(asked: Asked) -> Reply:
        if len(gemini.asked) == 9:
            return refusal(403, "PERMISSION_DENIED")
        return Reply(document=judgement(LEVELS).document, hang_s=0.02)

    gemini.choose = choose
    judge = gemini_judge(gemini.url, workers=8)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    with pytest.raises(JudgeUnavailable):
        judge_chunk(ws, set_id, judge, matrix.cells)
    attempts = matrix.rows(tables.attempts)
    assert len(attempts) == gemini.settled() >= 9
    assert all(row.detail["code"] != "interrupted" for row in attempts)
    assert len(pending(ws, set_id)) == 16 - (len(attempts) - 1)


@pytest.mark.parametrize(("seed", "workers"), [(3, 1), (4, 8)])
def test_the_cap_is_passed_by_the_calls_in_flight_and_no_more(
    ws: Workspace, clips: Clips, gemini: StandIn, seed: int, workers: int
) -> None:
    matrix = Matrix(ws, clips, inputs=20)
    weather = Weather(seed, without=("timeout",))
    gemini.choose = weather.choose
    judge = gemini_judge(gemini.url, workers=workers, policy=PATIENT)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    one_call = Decimal("1.057")  # 1,000 tokens in, 57 out
    cap = SpendCap(Decimal(20), lambda sku: Decimal("0.001"))
    with pytest.raises(JudgeUnavailable) as caught:
        judge_chunk(ws, set_id, judge, matrix.cells, cap=cap)
    assert caught.value.code == "spend_cap"
    free = ("rate_limited", "server_error", "connection_lost")
    spent = one_call * (gemini.settled() - sum(weather.sent[name] for name in free))
    may_be = spent + one_call * weather.sent["connection_lost"]
    assert may_be >= cap.usd, "it did not stop early"
    assert spent <= cap.usd + workers * one_call
    assert len(matrix.rows(tables.attempts)) == len(gemini.asked)
    # A larger cap goes on where this one stopped, and what was spent counts.
    asked = len(gemini.asked)
    with pytest.raises(JudgeUnavailable, match=r"its cap is 20\.5 USD"):
        judge_chunk(ws, set_id, judge, matrix.cells, cap=SpendCap(Decimal("20.5"), cap.price))
    assert len(gemini.asked) - asked <= workers


def test_a_lost_answer_counts_towards_the_cap_as_the_others_do_on_average(
    ws: Workspace, matrix: Matrix, gemini: StandIn
) -> None:
    gemini.script(judgement(LEVELS), Reply(drop=True))
    judge = gemini_judge(gemini.url, policy=PATIENT)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    with pytest.raises(JudgeUnavailable) as caught:
        judge_chunk(ws, set_id, judge, matrix.cells, cap=SpendCap(Decimal(5), lambda sku: Decimal("0.001")))
    assert caught.value.code == "spend_cap"
    assert len(gemini.asked) == 5
    assert "5.285 USD" in str(caught.value)


def test_what_has_no_price_is_not_taken_for_spent(ws: Workspace, matrix: Matrix, gemini: StandIn) -> None:
    gemini.script(judgement(LEVELS))
    judge = gemini_judge(gemini.url)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    cap = SpendCap(Decimal("0.01"), lambda sku: Missing("no price"))
    assert judge_chunk(ws, set_id, judge, matrix.cells, cap=cap) == 4


def test_while_the_service_refuses_fewer_are_asked_at_once(ws: Workspace, clips: Clips, gemini: StandIn) -> None:
    """It refuses the first two rounds; then at most two of eight are asked at once, and more and more again."""
    matrix = Matrix(ws, clips, inputs=8)
    busy: list[int] = []

    def choose(asked: Asked) -> Reply:
        busy.append(gemini.busy)
        return refusal(429, "RESOURCE_EXHAUSTED") if len(busy) <= 16 else judgement(LEVELS)

    gemini.choose = choose
    judge = gemini_judge(gemini.url, workers=8, policy=PATIENT)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    assert judge_chunk(ws, set_id, judge, matrix.cells) == 16
    assert max(busy[16:18]) <= 4
