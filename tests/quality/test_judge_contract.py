"""What every judge must do, asked of each: the local evaluator, Gemini (against the stand-in), and the tests' own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from pointsman.clock import ManualClock
from pointsman.quality import Judge, LocalJudge, Sample
from tests.quality.gemini_stand_in import StandIn, judgement
from tests.quality.worlds import LEVELS, Clips, Counted, ScriptedJudge, gemini_judge


@pytest.fixture(params=["local", "gemini", "scripted"])
def judge(request: pytest.FixtureRequest, gemini: StandIn) -> Judge:
    gemini.script(judgement(LEVELS))
    makers: dict[str, Callable[[], Judge]] = {
        "local": lambda: LocalJudge(clock=ManualClock()),
        "gemini": lambda: gemini_judge(gemini.url, workers=2),
        "scripted": lambda: ScriptedJudge(billed=True),
    }
    return makers[str(request.param)]()


def samples(clips: Clips, count: int) -> list[Sample]:
    return [Sample(f"d-{number}", clips.good, clips.source, f"label-{number}") for number in range(count)]


def test_every_sample_gets_exactly_one_evaluation_from_0_to_100(judge: Judge, clips: Clips) -> None:
    evaluations = list(judge.judge(samples(clips, 5), Counted()))
    assert sorted(evaluation.dispatch_id for evaluation in evaluations) == [f"d-{number}" for number in range(5)]
    for evaluation in evaluations:
        assert isinstance(evaluation.quality, Decimal)
        assert 0 <= evaluation.quality <= 100


def test_attempts_are_numbered_from_one_and_use_only_the_skus_it_declares(judge: Judge, clips: Clips) -> None:
    for evaluation in judge.judge(samples(clips, 2), Counted()):
        assert [attempt.number for attempt in evaluation.attempts] == [1]
        assert {usage.sku for attempt in evaluation.attempts for usage in attempt.usage} == set(judge.billed_skus)


def test_samples_are_pulled_only_when_there_is_room(judge: Judge, clips: Clips) -> None:
    pulled: list[str] = []

    def feed() -> Iterator[Sample]:
        for sample in samples(clips, 20):
            pulled.append(sample.dispatch_id)
            yield sample

    evaluations = judge.judge(feed(), Counted())
    next(evaluations)
    assert len(pulled) <= 6
    evaluations.close()
    assert len(pulled) <= 6


def test_an_empty_comparison_is_no_error(judge: Judge) -> None:
    assert list(judge.judge([], Counted())) == []


def test_the_identity_stays_the_same_between_two_makings_of_one_judge(judge: Judge) -> None:
    assert judge.identity == judge.identity
    assert len(judge.identity.rubric_sha256) == 64
    assert judge.identity.name
    assert judge.identity.model
