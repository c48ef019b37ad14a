"""Judging by batches: what is asked and paid, whatever becomes of a batch and of whoever waits for it."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pointsman.clock import ManualClock
from pointsman.model import Missing
from pointsman.quality import (
    JudgeUnavailable,
    SpendCap,
    cancel_batches,
    complete,
    gemini_media,
    judge_chunk,
    media,
    open_evaluation_set,
    pending,
)
from pointsman.quality.batches import LedgerBatches
from pointsman.quality.calls import LedgerCalls
from pointsman.quality.gemini import GeminiJudge
from pointsman.quality.gemini_batches import Batching
from pointsman.quality.pairs import Pair
from pointsman.settings import load_settings
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.quality.gemini_description import fault_of, parsed
from tests.quality.gemini_stand_in import API_KEY, Asked, Reply, StandIn, answering, judgement, refusal
from tests.quality.worlds import LEVELS, VARIANT, Clips, Matrix, gemini_judge, never

HOUR = 3600.0
SKUS = tuple(f"gemini:gemini-2.5-flash:{kind}-token" for kind in ("input", "output", "batch:input", "batch:output"))


@pytest.fixture
def judged(ws: Workspace, matrix: Matrix, gemini: StandIn) -> Judged:
    return Judged(ws, matrix, gemini)


@pytest.fixture(autouse=True)
def each_clip_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding them takes longer than everything else here."""
    monkeypatch.setattr(gemini_media, "look_at", lambda path, **_: seen(path.read_bytes(), path))


_LOOKS: dict[bytes, Any] = {}


def seen(content: bytes, path: Path) -> Any:
    if content not in _LOOKS:
        _LOOKS[content] = media.look_at(path, deadline_s=60.0, stop=never())
    return _LOOKS[content]


class Judged:
    """A matrix of four outputs that a judge judges by batches, as often as it is told to go on."""

    def __init__(self, ws: Workspace, matrix: Matrix, gemini: StandIn) -> None:
        self.ws, self.matrix, self.gemini = ws, matrix, gemini
        gemini.choose = answering(LEVELS)

    def judge(self, **options: Any) -> GeminiJudge:
        assert isinstance(self.ws.clock, ManualClock)
        return gemini_judge(self.gemini.url, clock=self.ws.clock, **{"wait_s": 24 * HOUR, **options})

    def go(self, *, cap: SpendCap | None = None, **options: Any) -> int:
        judge = self.judge(**options)
        self.set_id = open_evaluation_set(self.ws, self.matrix.id, judge.identity)
        return judge_chunk(self.ws, self.set_id, judge, self.matrix.cells, cap=cap)

    def used(self) -> Counter[str]:
        """Calls by the sku of their input, and by what is known of it."""
        rows = [row for row in self.matrix.rows(tables.usage) if row.sku.endswith("input-token")]
        return Counter(f"{row.sku.split(':', 2)[2]}{' unknown' if row.quantity is None else ''}" for row in rows)

    def codes(self) -> Counter[str]:
        return Counter(row.detail["code"] or "completed" for row in self.matrix.rows(tables.attempts))

    def same_number_of_calls(self) -> bool:
        """Whether the ledger has as many as arrived: each by itself, or as a line of a batch that was taken."""
        alone = sum(one.path != "batch" for one in self.gemini.asked)
        return len(self.matrix.rows(tables.attempts)) == alone + sum(len(b.lines) for b in self.gemini.batches.sent)


def test_all_but_the_first_question_go_as_one_batch_at_its_own_price(judged: Judged, clips: Clips) -> None:
    assert judged.go() == 4
    (batch,) = judged.gemini.batches.sent
    assert len(batch.lines) == 3
    assert judged.used() == {"input-token": 1, "batch:input-token": 3}
    assert judged.codes() == {"completed": 4}
    assert judged.same_number_of_calls()
    assert judged.gemini.refused == []
    qualities = [row.quality for row in judged.matrix.rows(tables.quality_evaluations)]
    assert qualities == [Decimal("77.5")] * 4
    complete(judged.ws, judged.set_id)


def test_a_batch_asks_word_for_word_what_a_call_asks(judged: Judged) -> None:
    judged.go(wait_s=0.0)
    alone = {asked.label: asked.body for asked in judged.gemini.asked}
    for table in (tables.quality_evaluations, tables.usage, tables.attempts):
        with judged.ws.database.begin() as connection:
            connection.execute(table.delete())
    judged.gemini.asked.clear()
    judged.go()
    together = {asked.label: asked.body for asked in judged.gemini.asked if asked.path == "batch"}
    assert len(together) == 3
    for label, body in together.items():
        one, other = (parsed("GenerateContentRequest", document) for document in (body, alone[label]))
        assert one.contents[0].parts[2].inline_data.data
        assert one == other


def test_prompts_and_answers_of_a_batch_are_kept_like_any_others(judged: Judged) -> None:
    judged.go()
    for row in judged.matrix.rows(tables.quality_evaluations):
        kept = row.scores["transcript"]
        document = json.loads(judged.ws.results.read(kept["path"]))
        ((question,),) = [document["questions"]]
        assert "Judge the output labelled" in question["prompt"]
        assert "fidelity looks like 4" in question["answers"][0]["text"]
        (attempt,) = [one for one in judged.matrix.rows(tables.attempts) if one.subject_id.endswith(row.dispatch_id)]
        assert attempt.detail["transcript"] == kept


def test_the_service_learns_no_id_and_keeps_nothing(judged: Judged) -> None:
    judged.go()
    (batch,) = judged.gemini.batches.sent
    assert [line["key"] for line in batch.lines] == ["0", "1", "2"]
    told = batch.display_name + str([one["start"] | one["file"] for one in judged.gemini.uploads])
    assert not any(word in told for word in (judged.matrix.id, judged.set_id, "acme", "fast-lane"))
    assert all(upload["deleted"] for upload in judged.gemini.uploads)
    assert batch.deleted
    assert batch.results_deleted


USELESS = {
    "blocked": judgement(LEVELS, finish="SAFETY"),
    "truncated": judgement(LEVELS, finish="MAX_TOKENS"),
    "off_schema": judgement({"fidelity": 3}),
    "another_label": judgement(LEVELS, label="00000000"),
    "garbage_answer": Reply(document={"candidates": "none"}),
    "empty_answer": Reply(document={"newField": {}}),
    "batch_incomplete": Reply(drop=True),
    "rate_limited": refusal(8, "RESOURCE_EXHAUSTED"),
    "batch_failed": refusal(13, "INTERNAL"),
}


def test_an_answer_that_cannot_be_used_is_on_record_and_asked_again_at_once(
    ws: Workspace, clips: Clips, gemini: StandIn
) -> None:
    judged = Judged(ws, Matrix(ws, clips, inputs=5), gemini)
    left = list(USELESS.values())
    gemini.choose = lambda asked: left.pop() if asked.path == "batch" else judgement(LEVELS)
    assert judged.go() == 10
    assert left == []
    assert judged.codes() == Counter({"completed": 10}) + Counter(list(USELESS))
    assert judged.same_number_of_calls()
    # Four were answered and cost; of three nobody told what they cost; two were errors.
    assert judged.used() == {"input-token": 10, "batch:input-token": 4, "batch:input-token unknown": 3}
    numbers = Counter(row.number for row in judged.matrix.rows(tables.attempts))
    assert numbers == {1: 10, 2: 9}


def test_a_question_that_no_answer_fits_is_given_up_after_the_policys_tries(judged: Judged) -> None:
    first: list[Asked] = []

    def choose(asked: Asked) -> Reply:
        first.append(asked)
        return judgement(LEVELS) if len(first) == 1 else judgement({"fidelity": 3})

    judged.gemini.choose = choose
    with pytest.raises(JudgeUnavailable) as caught:
        judged.go()
    assert caught.value.code == "off_schema"
    (failed, *_) = caught.value.failed
    assert [one.number for one in failed.attempts] == [1, 2, 3]
    assert judged.same_number_of_calls()


# What becomes of the batch


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("BATCH_STATE_FAILED", "batch_failed"),
        ("BATCH_STATE_EXPIRED", "batch_expired"),
        ("BATCH_STATE_CANCELLED", "batch_cancelled"),
    ],
)
def test_a_batch_that_comes_to_nothing_may_have_been_billed_and_is_asked_at_once(
    judged: Judged, end: str, code: str
) -> None:
    judged.gemini.batches.end = end
    assert judged.go() == 4
    assert judged.codes() == {"completed": 4, code: 3}
    assert judged.used() == {"input-token": 4, "batch:input-token unknown": 3}


def test_a_batch_that_takes_longer_than_it_may_is_cancelled_and_asked_at_once(judged: Judged) -> None:
    judged.gemini.batches.looks = 10**9
    assert judged.go(wait_s=2 * HOUR) == 4
    (batch,) = judged.gemini.batches.sent
    assert batch.cancels == 1
    assert 2 * HOUR <= judged.ws.clock.monotonic() <= 2 * HOUR + 120
    assert batch.looks < 60, "it is looked at ever more rarely"
    assert judged.codes() == {"completed": 4, "batch_expired": 3}


def test_answers_that_come_while_it_is_cancelled_are_used(judged: Judged) -> None:
    judged.gemini.batches.cancels = False
    waited = 2 * HOUR
    judged.gemini.batches.looks = 10**9
    look = judged.gemini.batches.look

    def late(batch: Any) -> Any:
        if batch.cancels:
            judged.gemini.batches.looks = 0
        return look(batch)

    judged.gemini.batches.look = late  # type: ignore[method-assign]
    assert judged.go(wait_s=waited) == 4
    assert judged.codes() == {"completed": 4}


def test_a_cancelled_batch_that_does_not_end_is_left_after_a_while(judged: Judged) -> None:
    judged.gemini.batches.cancels = False
    judged.gemini.batches.looks = 10**9
    assert judged.go(wait_s=HOUR) == 4
    assert judged.ws.clock.monotonic() <= HOUR + 180
    assert judged.codes() == {"completed": 4, "batch_expired": 3}


def test_whoever_waits_is_told_what_changes_and_now_and_then_that_it_goes_on(judged: Judged) -> None:
    told: list[str] = []
    judged.gemini.batches.looks = 10**9
    judged.go(wait_s=2 * HOUR, tell=told.append)
    first, second, *others = told
    sent = "Gemini's batches/b1 (3 calls, sent 2026-01-01 00:00 UTC)"
    assert first == f"{sent} is running since 2026-01-01 00:00 UTC; it is waited for until 2026-01-01 02:00 UTC."
    assert second == first, "the same after a quarter of an hour or more"
    assert len(others) <= 8
    assert others[-2].startswith(f"{sent} is being cancelled (still running) since 2026-01-01 02:00 UTC;")
    assert others[-1] == "Gemini's batches/b1 is no longer waited for (late): 0 of 3 calls have an answer."


def test_a_batch_that_succeeds_says_so_once(judged: Judged) -> None:
    told: list[str] = []
    judged.gemini.batches.looks = 10
    judged.go(tell=told.append)
    assert len(told) == 2
    assert told[-1] == "Gemini's batches/b1 is no longer waited for (succeeded): 3 of 3 calls have an answer."


# Sending it


@pytest.mark.parametrize(
    "replies",
    [
        [(False, refusal(429, "RESOURCE_EXHAUSTED", Retry_After="7"))],
        [(False, refusal(503, "UNAVAILABLE"))],
        [(True, refusal(503, "UNAVAILABLE"))],
        [(True, Reply(drop=True))],
        [(False, Reply(drop=True)), (True, Reply(raw=b"no json"))],
    ],
)
def test_a_batch_whose_creation_seems_to_fail_is_made_once(judged: Judged, replies: list[tuple[bool, Reply]]) -> None:
    judged.gemini.batch_replies = replies
    assert judged.go() == 4
    assert len(judged.gemini.batches.sent) == 1
    assert judged.codes() == {"completed": 4}


def test_among_many_batches_ours_is_found(judged: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(130):
        judged.gemini.uploads.append({"content": b"", "deleted": False, "looks": 0})
        config = {"displayName": f"another {number}", "inputConfig": {"fileName": f"files/f-{number + 1}"}}
        assert judged.gemini.batches.create("m", {"batch": config})[0] == 200
    judged.gemini.batch_replies = [(True, Reply(drop=True))]
    assert judged.go() == 4
    assert len(judged.gemini.batches.sent) == 131


@pytest.mark.parametrize(
    ("reply", "code"),
    [(refusal(429, "RESOURCE_EXHAUSTED", Retry_After="1"), "rate_limited"), (refusal(500, "INTERNAL"), "server_error")],
)
def test_a_batch_that_is_not_taken_is_asked_at_once(judged: Judged, reply: Reply, code: str) -> None:
    judged.gemini.batch_replies = [(False, reply)] * 5
    assert judged.go() == 4
    assert judged.gemini.batches.sent == []
    assert judged.codes() == {"completed": 4, code: 3}
    assert judged.used() == {"input-token": 4}
    assert all(upload["deleted"] for upload in judged.gemini.uploads)


def test_a_batch_that_is_refused_for_good_ends_the_judging(judged: Judged) -> None:
    judged.gemini.batch_replies = [(False, refusal(403, "PERMISSION_DENIED"))]
    with pytest.raises(JudgeUnavailable) as caught:
        judged.go()
    assert caught.value.code == "auth"
    assert judged.codes()["auth"] == 3


def test_a_wrong_key_shows_before_anything_is_waited_for(judged: Judged) -> None:
    with pytest.raises(JudgeUnavailable) as caught:
        judged.go(key="not-the-key")
    assert caught.value.code == "auth"
    assert judged.gemini.uploads == []
    assert judged.ws.clock.monotonic() == 0


def test_questions_beyond_the_size_of_a_file_go_into_another_batch(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.quality.gemini_batches.FILE_BYTES", 1)
    assert judged.go() == 4
    assert [len(batch.lines) for batch in judged.gemini.batches.sent] == [1, 1, 1]
    assert judged.used() == {"input-token": 1, "batch:input-token": 3}


def test_media_by_file_last_as_long_as_the_batches_that_name_them(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.quality.gemini_media.INLINE_LIMIT_BYTES", 1000)
    monkeypatch.setattr("pointsman.quality.gemini_batches.FILE_BYTES", 1)
    judged.gemini.choose = lambda asked: (
        judgement(LEVELS) if not any(upload["deleted"] for upload in judged.gemini.uploads) else refusal(3, "gone")
    )
    assert judged.go() == 4
    assert judged.codes() == {"completed": 4}
    assert all(upload["deleted"] for upload in judged.gemini.uploads)


# Whoever waits ends


class Killed(BaseException):
    """The process ends here."""


MOMENTS = {
    "before it is sent": (Batching, "_create", False),
    "before its name is known": (LedgerBatches, "named", False),
    "while it is awaited": (Batching, "_ended", False),
    "before its answers are kept": (LedgerBatches, "close", False),
    "before they are judged": (Batching, "ask", True),
}


def killed_at(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    target, name, afterwards = MOMENTS[moment]
    really = getattr(target, name)

    def die(*arguments: Any) -> None:
        if afterwards:
            really(*arguments)
        raise Killed

    monkeypatch.setattr(target, name, die)


@pytest.mark.parametrize(
    ("moment", "wait_s"),
    # Who does not wait any more ends what is open, and uses what was answered.
    [*((moment, 24 * HOUR) for moment in MOMENTS), ("while it is awaited", 0.0), ("before they are judged", 0.0)],
)
def test_a_process_that_is_killed_finds_its_batch_again_and_pays_once(
    judged: Judged, moment: str, wait_s: float
) -> None:
    with pytest.MonkeyPatch.context() as context:
        killed_at(context, moment)
        with pytest.raises(Killed):
            judged.go()
    settled = moment == "before they are judged"
    assert all(upload["deleted"] == settled for upload in judged.gemini.uploads)
    assert judged.codes()["interrupted"] == (0 if settled else 3)
    judged.gemini.batches.looks = 0
    assert judged.go(wait_s=wait_s) == 3
    assert pending(judged.ws, judged.set_id) == []
    if moment == "before it is sent":
        assert judged.codes() == {"completed": 4, "not_sent": 3}
        assert len(judged.gemini.batches.sent) == (1 if wait_s else 0)
    else:
        assert judged.codes() == {"completed": 4}
        assert len(judged.gemini.batches.sent) == 1
        assert judged.used() == {"input-token": 1, "batch:input-token": 3}
        assert judged.same_number_of_calls()
    assert all(upload["deleted"] for upload in judged.gemini.uploads)


def test_answers_of_calls_that_nobody_asks_any_more_are_on_record(judged: Judged) -> None:
    with pytest.MonkeyPatch.context() as context:
        killed_at(context, "while it is awaited")
        with pytest.raises(Killed):
            judged.go()
    (last,) = pending(judged.ws, judged.set_id)[-1:]
    assert judge_chunk(judged.ws, judged.set_id, judged.judge(), [last]) == 1
    assert judged.codes() == {"completed": 2, "not_needed": 2}
    assert judged.used() == {"input-token": 1, "batch:input-token": 3}
    # They are kept, so that whoever asks after all need not pay again.
    assert judged.go() == 2
    assert judged.same_number_of_calls()


def test_a_service_out_of_reach_leaves_the_batch_to_be_found(judged: Judged) -> None:
    judged.gemini.look_replies = [refusal(503, "UNAVAILABLE")] * 5
    with pytest.raises(JudgeUnavailable) as caught:
        judged.go()
    assert caught.value.code == "server_error"
    assert "--reopen" in caught.value.instruction
    assert judged.codes() == {"completed": 1, "interrupted": 3}
    assert judged.go() == 3
    assert len(judged.gemini.batches.sent) == 1


def test_a_batch_or_answers_that_the_service_lost_may_have_been_billed(judged: Judged) -> None:
    judged.gemini.look_replies = [refusal(404, "NOT_FOUND")]
    assert judged.go() == 4
    assert judged.codes() == {"completed": 4, "batch_incomplete": 3}
    assert judged.used()["batch:input-token unknown"] == 3


def test_cancelling_ends_the_batch_at_the_service(judged: Judged, tmp_path: Path) -> None:
    settings = load_settings(
        {"POINTSMAN_HOME": str(tmp_path), "GEMINI_API_KEY": API_KEY, "POINTSMAN_GEMINI_BASE_URL": judged.gemini.url}
    )
    assert cancel_batches(judged.ws, judged.matrix.id, settings) == 0
    with pytest.MonkeyPatch.context() as context:
        killed_at(context, "before its name is known")
        with pytest.raises(Killed):
            judged.go()
    assert cancel_batches(judged.ws, judged.matrix.id, settings) == 1
    (batch,) = judged.gemini.batches.sent
    assert (batch.cancels, batch.state) == (1, "BATCH_STATE_CANCELLED")
    assert judged.codes()["interrupted"] == 3
    assert judged.go() == 3
    assert judged.codes() == {"completed": 4, "batch_cancelled": 3}


# Money


def half(sku: str) -> Decimal:
    return Decimal("0.0005") if ":batch:" in sku else Decimal("0.001")


def test_no_more_is_sent_than_the_cap_allows_if_each_costs_as_much_as_the_dearest(
    ws: Workspace, clips: Clips, gemini: StandIn
) -> None:
    judged = Judged(ws, Matrix(ws, clips, inputs=4), gemini)
    # A call costs 1.057, in a batch half of it.
    assert judged.go(cap=SpendCap(Decimal("4.8"), half)) == 8
    assert [len(batch.lines) for batch in gemini.batches.sent] == [7]


@pytest.mark.parametrize(("usd", "lines", "alone"), [("2.7", [3], 2), ("3.2", [4], 2), ("1.2", [], 2), ("0.5", [], 1)])
def test_what_the_cap_has_no_room_for_is_not_sent(
    ws: Workspace, clips: Clips, gemini: StandIn, usd: str, lines: list[int], alone: int
) -> None:
    judged = Judged(ws, Matrix(ws, clips, inputs=4), gemini)
    cap = SpendCap(Decimal(usd), half)
    with pytest.raises(JudgeUnavailable) as caught:
        judged.go(cap=cap)
    assert caught.value.code == "spend_cap"
    assert [len(batch.lines) for batch in gemini.batches.sent] == lines
    assert judged.used() == Counter({"input-token": alone, "batch:input-token": sum(lines)})
    spent = Decimal("1.057") * alone + Decimal("0.5285") * sum(lines)
    assert cap.usd <= spent <= cap.usd + Decimal("1.057")
    assert judged.same_number_of_calls()


def test_calls_of_a_batch_count_as_the_dearest_while_nobody_knows_what_they_cost(judged: Judged) -> None:
    with pytest.MonkeyPatch.context() as context:
        killed_at(context, "while it is awaited")
        with pytest.raises(Killed):
            judged.go()
    calls = LedgerCalls(judged.ws, judged.set_id, judge="gemini", cap=SpendCap(Decimal("2.7"), half))
    # 1.057 at once and 3 x 0.5285 in the batch are spent already: 0.0575 are left.
    assert calls.room(SKUS[2:]) == 0
    calls = LedgerCalls(judged.ws, judged.set_id, judge="gemini", cap=SpendCap(Decimal("4.3"), half))
    assert calls.room(SKUS[2:]) == 3
    assert LedgerCalls(judged.ws, judged.set_id, judge="gemini", cap=None).room(SKUS[2:]) is None


def test_without_a_price_of_batches_none_is_sent_under_a_cap(judged: Judged) -> None:
    cap = SpendCap(Decimal(9), lambda sku: Missing("no price") if ":batch:" in sku else Decimal("0.001"))
    assert judged.go(cap=cap) == 4
    assert judged.used() == {"input-token": 4}


# Pairs, repeats, and outputs that nobody is asked about


def test_both_orders_of_every_pair_go_together(ws: Workspace, clips: Clips, gemini: StandIn) -> None:
    matrix = Matrix(ws, clips, inputs=3)
    gemini.choose = answering(LEVELS, dict.fromkeys(LEVELS, "first"))
    judge = gemini_judge(gemini.url, clock=ws.clock, wait_s=HOUR, pairwise=True)
    incumbent = VARIANT.format("fast-lane")
    set_id = open_evaluation_set(ws, matrix.id, judge.identity, reference=incumbent)
    assert judge_chunk(ws, set_id, judge, matrix.cells) == 6
    (batch,) = gemini.batches.sent
    assert len(batch.lines) == 4  # two pairs of three, in both orders: one was asked about at once
    scores = [row.scores for row in matrix.rows(tables.quality_evaluations)]
    assert sum("flipped" in one for one in scores) == 3
    assert all(one.get("flipped", True) for one in scores)
    looks = [Pair(f"p{n}", clips.good, clips.poor, clips.source, f"label{n}") for n in range(3)]
    assert len(list(judge.compare(looks, LedgerCalls(ws, set_id, judge="gemini", cap=None)))) == 3
    assert len(gemini.batches.sent[1].lines) == 6


def test_repeats_go_together_and_what_does_not_play_is_not_asked_about(
    ws: Workspace, clips: Clips, gemini: StandIn
) -> None:
    matrix = Matrix(ws, clips)
    matrix.add_cell("no-lane", "input-0", clips.garbage)
    judged = Judged(ws, matrix, gemini)
    assert judged.go(repeats=3) == 5
    assert [len(batch.lines) for batch in gemini.batches.sent] == [9]
    assert [line["request"]["generationConfig"]["seed"] for line in gemini.batches.sent[0].lines] == [0, 5, 10] * 3
    assert judged.same_number_of_calls()


def test_an_open_batch_is_waited_for_until_its_own_time_is_up(judged: Judged) -> None:
    judged.gemini.batches.looks = 10**9
    with pytest.MonkeyPatch.context() as context:
        killed_at(context, "while it is awaited")
        with pytest.raises(Killed):
            judged.go(wait_s=2 * HOUR)
    judged.ws.clock.sleep(1.5 * HOUR)
    assert judged.go(wait_s=2 * HOUR) == 3
    assert 2 * HOUR <= judged.ws.clock.monotonic() <= 2 * HOUR + 120


def test_waiting_changes_nothing_of_who_judges(gemini: StandIn) -> None:
    alone, together = gemini_judge(gemini.url), gemini_judge(gemini.url, wait_s=HOUR)
    assert alone.identity == together.identity
    assert alone.billed_skus == SKUS[:2]
    assert together.billed_skus == SKUS


@pytest.mark.parametrize("end", ["BATCH_STATE_SUCCEEDED", "BATCH_STATE_EXPIRED"])
def test_what_the_stand_in_answers_is_what_the_api_answers(judged: Judged, end: str) -> None:
    judged.gemini.batches.end = end
    judged.go()
    (batch,) = judged.gemini.batches.sent
    assert fault_of("Operation", batch.operation()) is None
    assert fault_of("ListOperationsResponse", judged.gemini.batches.page(0, 1)) is None
    assert all(fault_of("ResponseLine", json.loads(line)) is None for line in batch.results.splitlines())
