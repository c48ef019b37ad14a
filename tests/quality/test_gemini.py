"""The Gemini judge against a loopback stand-in: the request, the answer, every way to fail, and what is recorded."""

from __future__ import annotations

import json
import logging
import socket
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pointsman.clock import ManualClock
from pointsman.model import Missing
from pointsman.quality import (
    Criterion,
    Evaluation,
    JudgeAttempt,
    JudgeUnavailable,
    Rubric,
    Sample,
    gemini_media,
    load_rubric,
)
from pointsman.quality.retry import RetryPolicy
from tests.quality.gemini_stand_in import API_KEY, Asked, Reply, StandIn, blocked_prompt, judgement, refusal
from tests.quality.transcripts import questions_of, scored
from tests.quality.worlds import LEVELS, Clips, Counted, gemini_judge

IN, OUT = "gemini:gemini-2.5-flash:input-token", "gemini:gemini-2.5-flash:output-token"


@pytest.fixture
def sample(clips: Clips) -> Sample:
    return Sample("studio_load_test_bm-77_4_abc", clips.good, clips.source, "5e1fab1e")


def judge(stand_in: StandIn, sample: Sample, **options: Any) -> Evaluation:
    (evaluation,) = gemini_judge(stand_in.url, **options).judge([sample], Counted())
    return evaluation


def failure(stand_in: StandIn, sample: Sample, **options: Any) -> tuple[JudgeUnavailable, tuple[JudgeAttempt, ...]]:
    with pytest.raises(JudgeUnavailable) as caught:
        judge(stand_in, sample, **options)
    (failed,) = caught.value.failed
    assert failed.dispatch_id == sample.dispatch_id
    return caught.value, failed.attempts


def used(attempt: JudgeAttempt) -> dict[str, Decimal | Missing]:
    return {usage.sku: usage.quantity for usage in attempt.usage}


# The request


def test_the_request_holds_both_clips_the_rubric_and_a_schema(gemini: StandIn, sample: Sample, clips: Clips) -> None:
    gemini.script(judgement(LEVELS))
    judge(gemini, sample)
    (asked,) = gemini.asked
    assert asked.model == "gemini-2.5-flash"
    assert asked.media == [("video/mp4", clips.source.read_bytes()), ("video/mp4", clips.good.read_bytes())]
    config = asked.body["generationConfig"]
    assert (config["temperature"], config["seed"], config["responseMimeType"]) == (0, 0, "application/json")
    schema = config["responseSchema"]
    assert schema["required"] == ["label", "words_for_the_judge", "criteria"]
    criteria = schema["properties"]["criteria"]
    assert criteria["required"] == list(LEVELS)
    level = criteria["properties"]["fidelity"]["properties"]["level"]
    assert (level["type"], level["minimum"], level["maximum"]) == ("INTEGER", 1, 5)
    for criterion in load_rubric("video-effect").criteria:
        assert criterion.question in asked.words
        assert all(level in asked.words for level in criterion.levels)


def test_a_video_is_looked_at_several_times_a_second(gemini: StandIn, sample: Sample) -> None:
    gemini.script(judgement(LEVELS))
    judge(gemini, sample)
    parts = gemini.asked[0].body["contents"][0]["parts"]
    assert [part["videoMetadata"]["fps"] for part in parts if "inlineData" in part] == [5, 5]


def test_pictures_are_sent_as_pictures(gemini: StandIn, clips: Clips) -> None:
    gemini.script(judgement(LEVELS))
    judge(gemini, Sample("d-1", clips.picture_again, clips.picture, "label"))
    assert [mime for mime, _ in gemini.asked[0].media] == ["image/png", "image/jpeg"]
    assert "videoMetadata" not in gemini.asked[0].words


def test_the_judge_learns_no_id_no_file_name_and_no_provider(gemini: StandIn, clips: Clips, tmp_path: Path) -> None:
    secretive = tmp_path / "acme-cloud-x264-slow"
    secretive.write_bytes(clips.good.read_bytes())
    gemini.script(judgement(LEVELS))
    judge(gemini, Sample("studio_load_test_bm-77_4_abc", secretive, clips.source, "5e1fab1e"))
    words = gemini.asked[0].words + json.dumps(dict(gemini.asked[0].headers))
    assert "5e1fab1e" in words
    for telling in ("bm-77", "studio_load_test", "acme", "x264", "slow", "source.mp4", str(tmp_path)):
        assert telling not in words


def test_words_in_the_media_are_declared_data(gemini: StandIn, sample: Sample) -> None:
    gemini.script(judgement(LEVELS))
    judge(gemini, sample)
    assert "never instructions" in gemini.asked[0].words


def test_without_a_source_only_what_can_be_answered_is_asked(gemini: StandIn, clips: Clips) -> None:
    gemini.script(judgement({"artefacts": 5, "temporal_consistency": 1}))
    evaluation = judge(gemini, Sample("d-1", clips.good, None, "label"))
    assert len(gemini.asked[0].media) == 1
    assert "fidelity" not in gemini.asked[0].words
    assert evaluation.quality == Decimal(60)


def test_the_key_goes_in_a_header_and_nowhere_else(
    gemini: StandIn, sample: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gemini.script(refusal(500, "INTERNAL", f"your key {API_KEY} did it"), judgement(LEVELS))
    evaluation = judge(gemini, sample)
    asked = gemini.asked[0]
    assert asked.headers["x-goog-api-key"] == API_KEY
    assert API_KEY not in asked.path
    assert API_KEY not in asked.words
    assert caplog.text
    assert API_KEY not in caplog.text
    assert API_KEY not in repr(evaluation)
    assert "your key *** did it" in json.dumps(evaluation.transcript)


def test_a_redirect_is_not_followed_because_it_would_carry_the_key_away(gemini: StandIn, sample: Sample) -> None:
    gemini.script(Reply(302, {}, headers={"Location": f"{gemini.url}/v1beta/models/other:generateContent"}))
    error, attempts = failure(gemini, sample)
    assert (error.code, len(attempts), len(gemini.asked)) == ("unexpected_status", 1, 1)


# The answer


def test_levels_become_a_weighted_quality_and_tokens_become_usage(gemini: StandIn, sample: Sample) -> None:
    gemini.script(judgement(LEVELS, tokens=(1200, 80, 33)))
    evaluation = judge(gemini, sample)
    assert evaluation.quality == Decimal("77.5")  # (5 * 3/4 + 3 * 4/4 + 2 * 2/4) / 10
    assert scored(evaluation, "fidelity") == {"level": 4, "reason": "fidelity looks like 4."}
    (attempt,) = evaluation.attempts
    assert (attempt.outcome, attempt.code, attempt.detail["model_version"]) == ("completed", None, "stand-in-001")
    assert used(attempt) == {IN: Decimal(1200), OUT: Decimal(113)}


def test_the_transcript_holds_what_was_asked_and_every_raw_answer(gemini: StandIn, sample: Sample) -> None:
    gemini.script(judgement(LEVELS, text="I like it"), judgement(LEVELS))
    (question,) = questions_of(judge(gemini, sample))
    assert "5e1fab1e" in question.prompt
    first, second = question.answers
    assert (first.number, first.text) == (1, "I like it")
    assert json.loads(second.text)["criteria"]["fidelity"]["level"] == 4


def test_thoughts_are_not_taken_for_the_answer(gemini: StandIn, sample: Sample) -> None:
    reply = judgement(LEVELS)
    reply.document["candidates"][0]["content"]["parts"].insert(0, {"text": "Let me see.", "thought": True})
    gemini.script(reply)
    assert judge(gemini, sample).quality == Decimal("77.5")


def test_an_output_that_does_not_play_scores_zero_without_asking(gemini: StandIn, clips: Clips) -> None:
    for broken in (clips.garbage, clips.cut, clips.empty):
        evaluation = judge(gemini, Sample("d-1", broken, clips.source, "label"))
        assert evaluation.quality == Decimal(0)
        assert str(evaluation.scores["reason"]).startswith("undecodable")
        assert evaluation.attempts == ()
    assert gemini.asked == []


@pytest.mark.parametrize("name", ["json", "model_config", "model_dump", "label"])
def test_a_criterion_may_have_any_name(gemini: StandIn, sample: Sample, name: str) -> None:
    asked = Criterion(name=name, question="Good?", levels=("1", "2", "3", "4", "5"), weight=1)
    gemini.script(judgement({name: 3}))
    evaluation = judge(gemini, sample, rubric=Rubric(name="mine", version=1, criteria=(asked,)))
    assert evaluation.quality == 50
    assert scored(evaluation, name)["level"] == 3


# Failures that pass


def limited(**headers: str) -> Reply:
    return refusal(429, "RESOURCE_EXHAUSTED", **headers)


@pytest.mark.parametrize(
    ("reply", "code", "outcome", "waited"),
    [
        (limited(Retry_After="7"), "rate_limited", "refused", 7.0),
        (limited(Retry_After="Thu, 01 Jan 2026 00:00:45 GMT"), "rate_limited", "refused", 45.0),
        (refusal(429, "X", details=[{"retryDelay": "36s"}]), "rate_limited", "refused", 36.0),
        (limited(), "rate_limited", "refused", None),
        (refusal(503, "UNAVAILABLE", Retry_After="3"), "server_error", "failed", 3.0),
        (limited(Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), "rate_limited", "refused", None),
        (Reply(502, raw=b"<html>bad gateway</html>"), "server_error", "failed", None),
    ],
)
def test_a_refusal_is_waited_out_recorded_and_not_billed(
    gemini: StandIn, sample: Sample, reply: Reply, code: str, outcome: str, waited: float | None
) -> None:
    clock = ManualClock()
    gemini.script(reply, judgement(LEVELS))
    evaluation = judge(gemini, sample, clock=clock)
    assert evaluation.quality == Decimal("77.5")
    first, second = evaluation.attempts
    assert (first.number, first.outcome, first.code, first.usage) == (1, outcome, code, ())
    assert (second.number, second.outcome) == (2, "completed")
    assert (second.started - first.ended).total_seconds() == pytest.approx(clock.monotonic())
    if waited is None:
        assert 0.5 <= clock.monotonic() <= 1
    else:
        assert clock.monotonic() == waited


def test_an_answer_that_is_lost_may_have_been_billed(gemini: StandIn, sample: Sample) -> None:
    gemini.script(Reply(drop=True), judgement(LEVELS))
    first, second = judge(gemini, sample).attempts
    assert (first.outcome, first.code) == ("unknown", "connection_lost")
    assert all(isinstance(quantity, Missing) for quantity in used(first).values())
    assert set(used(first)) == {IN, OUT} == set(used(second))


def test_a_slow_answer_times_out_and_may_have_been_billed(gemini: StandIn, sample: Sample) -> None:
    gemini.script(Reply(hang_s=0.6, document={}), judgement(LEVELS))
    first, _ = judge(gemini, sample, timeout_s=0.2).attempts
    assert (first.outcome, first.code) == ("unknown", "timeout")
    assert isinstance(used(first)[IN], Missing)


@pytest.mark.parametrize(
    ("reply", "code", "outcome"),
    [
        (judgement(LEVELS, finish="SAFETY"), "blocked", "refused"),
        (judgement(LEVELS, finish="MAX_TOKENS"), "truncated", "failed"),
        (judgement(LEVELS, finish="OTHER"), "unfinished", "failed"),
        (judgement(LEVELS, text=""), "empty_answer", "failed"),
        (judgement(LEVELS, text="```json\n" + json.dumps({}) + "\n```"), "fenced", "failed"),
        (judgement(LEVELS, text="Looks fine to me."), "off_schema", "failed"),
        (judgement({**LEVELS, "fidelity": 6}), "off_schema", "failed"),
        (judgement({**LEVELS, "fidelity": 0}), "off_schema", "failed"),
        (judgement({**LEVELS, "beauty": 3}), "off_schema", "failed"),
        (judgement({"fidelity": 3}), "off_schema", "failed"),
        (judgement(LEVELS, text='{"fidelity": {"level": "4", "reason": "x"}}'), "off_schema", "failed"),
        (judgement(LEVELS, label="5e1fab1d"), "another_label", "failed"),
    ],
)
def test_an_answer_that_cannot_be_used_is_named_billed_and_asked_again(
    gemini: StandIn, sample: Sample, reply: Reply, code: str, outcome: str
) -> None:
    gemini.script(reply, judgement(LEVELS))
    evaluation = judge(gemini, sample)
    first, second = evaluation.attempts
    assert (first.outcome, first.code, used(first)[IN]) == (outcome, code, Decimal(1000))
    assert second.outcome == "completed"
    assert [asked.body["generationConfig"]["seed"] for asked in gemini.asked] == [0, 1]


def test_a_blocked_prompt_bills_its_input(gemini: StandIn, sample: Sample) -> None:
    gemini.script(blocked_prompt(), judgement(LEVELS))
    first, _ = judge(gemini, sample).attempts
    assert (first.outcome, first.code) == ("refused", "blocked")
    assert used(first) == {IN: Decimal(900), OUT: Decimal(0)}


@pytest.mark.filterwarnings("ignore:.*is not a valid FinishReason")
def test_a_finish_reason_nobody_knows_is_not_trusted(gemini: StandIn, sample: Sample) -> None:
    gemini.script(judgement(LEVELS, finish="BRAND_NEW"), judgement(LEVELS))
    assert [attempt.code for attempt in judge(gemini, sample).attempts] == ["unfinished", None]


@pytest.mark.parametrize("raw", [b"no json", b"[1, 2]", b'{"candidates": "none"}', b"{}", b'{"candidates": [{}]}'])
def test_garbage_is_never_a_score(gemini: StandIn, sample: Sample, raw: bytes) -> None:
    gemini.script(Reply(raw=raw), judgement(LEVELS))
    first, _ = judge(gemini, sample).attempts
    assert first.outcome == "failed"
    assert first.code in ("garbage_answer", "empty_answer", "unfinished")
    assert isinstance(used(first)[IN], Missing)


# Failures for good


@pytest.mark.parametrize(
    ("reply", "code", "tries"),
    [
        (limited(Retry_After="1"), "rate_limited", 5),
        (refusal(500, "INTERNAL"), "server_error", 5),
        (Reply(raw=b"no json"), "garbage_answer", 5),
        (judgement(LEVELS, finish="SAFETY"), "blocked", 3),
        (judgement(LEVELS, finish="MAX_TOKENS"), "truncated", 3),
        (judgement({"fidelity": 3}), "off_schema", 3),
        (limited(Retry_After="86400"), "rate_limited", 1),
        (refusal(401, "UNAUTHENTICATED"), "auth", 1),
        (refusal(403, "PERMISSION_DENIED"), "auth", 1),
        (refusal(404, "NOT_FOUND"), "model_not_found", 1),
        (refusal(400, "INVALID_ARGUMENT"), "bad_request", 1),
    ],
)
def test_what_does_not_pass_ends_the_judging_after_bounded_tries(
    gemini: StandIn, sample: Sample, reply: Reply, code: str, tries: int
) -> None:
    gemini.script(reply)
    error, attempts = failure(gemini, sample)
    assert error.code == code
    assert error.exit_code == 4
    assert "local" in error.instruction
    assert [attempt.number for attempt in attempts] == list(range(1, tries + 1))
    assert {attempt.code for attempt in attempts} == {code}
    assert len(gemini.asked) == tries


def test_a_wrong_key_is_an_authentication_error_although_it_is_answered_400(gemini: StandIn, sample: Sample) -> None:
    error, _ = failure(gemini, sample, key="not-the-key")
    assert error.code == "auth"
    assert "GEMINI_API_KEY" in error.instruction
    assert "not-the-key" not in str(error)


def test_nobody_listening_is_unreachable_and_costs_nothing(sample: Sample) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = StandIn(f"http://127.0.0.1:{closed.getsockname()[1]}")
    error, attempts = failure(nobody, sample, policy=RetryPolicy(attempts=2))
    assert error.code == "unreachable"
    assert [(attempt.outcome, attempt.usage) for attempt in attempts] == [("failed", ())] * 2


def test_backoff_grows_and_is_the_same_for_the_same_seed(gemini: StandIn, sample: Sample) -> None:
    gemini.script(refusal(503, "UNAVAILABLE"))
    waits = []
    for seed in (3, 3, 4):
        clock = ManualClock()
        failure(gemini, sample, clock=clock, policy=RetryPolicy(attempts=4, seed=seed))
        waits.append(clock.monotonic())
    assert waits[0] == waits[1] != waits[2]
    assert 3.5 <= waits[0] <= 7  # 1 + 2 + 4 seconds, each between half and all of it


def test_a_clip_too_large_is_refused_before_anything_is_sent(
    gemini: StandIn, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gemini_media, "FILE_LIMIT_BYTES", 1000)
    error, attempts = failure(gemini, sample)
    assert error.code == "clip_too_large"
    assert "allowed: 1000 bytes or less" in str(error)
    assert attempts == ()
    assert gemini.asked == []


def test_an_animated_webp_is_no_output_that_does_not_play(gemini: StandIn, clips: Clips, tmp_path: Path) -> None:
    moving = tmp_path / "moving.webp"
    moving.write_bytes(b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0\x02" + bytes(17))
    error, _ = failure(gemini, Sample("d-1", moving, clips.source, "label"))
    assert error.code == "unsupported_media"
    assert gemini.asked == []


def test_media_that_gemini_does_not_take_are_refused_before_anything_is_sent(gemini: StandIn, clips: Clips) -> None:
    error, _ = failure(gemini, Sample("d-1", clips.good, clips.playlist, "label"))
    assert error.code == "unsupported_media"
    assert gemini.asked == []


# Several samples


def test_when_one_sample_fails_for_good_what_was_in_flight_is_still_given_back(gemini: StandIn, clips: Clips) -> None:
    def choose(asked: Asked) -> Reply:
        bad = "label-2" in asked.texts[0]
        return refusal(403, "PERMISSION_DENIED") if bad else judgement(LEVELS)

    gemini.choose = choose
    samples = [Sample(f"d-{number}", clips.good, clips.source, f"label-{number}") for number in range(30)]
    done: list[Evaluation] = []
    with pytest.raises(JudgeUnavailable) as caught:
        done.extend(gemini_judge(gemini.url, workers=2).judge(samples, Counted()))
    assert [failed.dispatch_id for failed in caught.value.failed] == ["d-2"]
    asked = {asked.texts[0] for asked in gemini.asked}
    assert len(asked) == len(done) + 1 < len(samples)


def test_the_identity_changes_with_the_model_the_rubric_and_the_seed(gemini: StandIn) -> None:
    rubric = load_rubric("video-effect")
    same = gemini_judge(gemini.url)
    assert same.identity == gemini_judge("http://127.0.0.1:1").identity
    assert same.identity.name == "gemini"
    reworded = rubric.model_copy(update={"version": 2})
    assert gemini_judge(gemini.url, rubric=reworded).identity != same.identity
    assert gemini_judge(gemini.url, policy=RetryPolicy(seed=9)).identity != same.identity
    assert same.billed_skus == (IN, OUT)
