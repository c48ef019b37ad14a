"""The stand-in against Google's published description: what it takes and what it answers are messages of that API."""

from __future__ import annotations

from typing import Any

import pytest

from pointsman.quality import Sample
from pointsman.quality.pairs import Pair
from tests.quality.gemini_description import fault_of
from tests.quality.gemini_stand_in import Reply, StandIn, answering, blocked_prompt, judgement
from tests.quality.worlds import LEVELS, Clips, Counted, gemini_judge


@pytest.mark.parametrize(
    "reply",
    [
        judgement(LEVELS),
        judgement(dict.fromkeys(LEVELS, "first")),
        judgement(LEVELS, finish="SAFETY"),
        judgement(LEVELS, finish="MAX_TOKENS", text=""),
        blocked_prompt(),
    ],
)
def test_what_it_answers_is_what_the_api_answers(reply: Reply) -> None:
    # The description names the tokens' parts and leaves out reasons that only newer answers give.
    assert fault_of("GenerateContentResponse", reply.document) is None


@pytest.mark.parametrize("video", ["inline", "frames"])
@pytest.mark.parametrize("large", [False, True])
def test_what_the_judge_asks_is_what_the_api_takes(
    gemini: StandIn, clips: Clips, video: Any, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("pointsman.quality.gemini_media.INLINE_LIMIT_BYTES", 1000)
    gemini.choose = answering(LEVELS)
    judge = gemini_judge(gemini.url, video=video)
    list(judge.judge([Sample("d", clips.good, clips.source, "label")], Counted()))
    list(judge.judge([Sample("d", clips.picture_again, clips.picture, "label")], Counted()))
    list(judge.compare([Pair("d~e", clips.good, clips.poor, clips.source, "label")], Counted()))
    assert len(gemini.asked) == 4
    assert gemini.refused == []


def test_a_request_with_a_field_that_the_api_does_not_have_is_refused() -> None:
    asked = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    assert fault_of("GenerateContentRequest", asked) is None
    assert "beauty" in str(fault_of("GenerateContentRequest", {**asked, "beauty": 1}))
    assert "fps2" in str(
        fault_of("GenerateContentRequest", {"contents": [{"parts": [{"videoMetadata": {"fps2": 1}}]}]})
    )
