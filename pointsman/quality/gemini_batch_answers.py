"""What came back of a batch: a file with a line for each call, which is an answer, an error, or is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from google.genai import types

from pointsman.model import Json
from pointsman.quality.gemini_answers import Problem
from pointsman.quality.gemini_calls import Question, Try, answered_try, failed_try
from pointsman.quality.protocol import Batch, BatchCall

Place = tuple[str, str]
Answer = Mapping[str, Json] | None
Ended = Literal["succeeded", "failed", "cancelled", "expired", "late", "lost", "not_sent"]
"""How a batch ended. `late`: it took longer than it might and was given up; `lost`: the API knows of it no more."""

_RESOURCE_EXHAUSTED = 8
_TOKENS = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
_WHY: dict[str, Problem] = {
    "succeeded": Problem("batch_incomplete", "unknown", "later", "perhaps", "the batch's answers leave it out"),
    "failed": Problem("batch_failed", "failed", "later", "perhaps", "the batch failed as a whole"),
    "cancelled": Problem("batch_cancelled", "unknown", "later", "perhaps", "the batch was cancelled"),
    "expired": Problem("batch_expired", "unknown", "later", "perhaps", "the batch was not begun in time"),
    "late": Problem("batch_expired", "unknown", "later", "perhaps", "the batch took longer than it may"),
    "lost": Problem("batch_incomplete", "unknown", "later", "perhaps", "the batch or its answers are gone"),
    "not_sent": Problem("not_sent", "failed", "later", "none", "the batch did not arrive"),
}
_NOT_NEEDED = Problem("not_needed", "completed", "never", "reported", "nobody waited for the answer any more")
_GARBAGE = Problem("garbage_answer", "failed", "later", "perhaps", "an answer that is none")


def answers_in(content: bytes, calls: int) -> list[Answer]:
    """The answers by the number of their call. A line that is none of them is as good as not there."""
    found: list[Answer] = [None] * calls
    for line in content.splitlines():
        try:
            document = json.loads(line)
            number = int(document["key"])
        except (ValueError, KeyError, TypeError):
            continue
        if 0 <= number < calls and ("response" in document or "error" in document):
            found[number] = {name: document[name] for name in ("response", "error") if name in document}
    return found


def read_call(
    batch: Batch, call: BatchCall, answer: Answer, question: Question | None, skus: tuple[str, ...], ended: datetime
) -> Try:
    """What one call of a batch came to. `question` is None when its answer is not wanted any more."""
    told: dict[str, Json] = {"batch": batch.id}

    def failed(problem: Problem, reported: types.GenerateContentResponseUsageMetadata | None = None) -> Try:
        return failed_try(problem, call.number, skus, batch.sent, ended, reported=reported, detail=told)

    if answer is None:
        return failed(_WHY[batch.state or "lost"])
    if "response" not in answer:
        return failed(_error(answer["error"]))
    try:
        response = types.GenerateContentResponse.model_validate(_known(answer["response"]))
    except (ValueError, TypeError, AttributeError):
        return failed(_GARBAGE)
    if question is None:
        return failed(_NOT_NEEDED, response.usage_metadata)
    return answered_try(question, response, call.number, skus, batch.sent, ended, detail=told)


def _error(error: Any) -> Problem:
    """A line's `google.rpc.Status`."""
    status: Mapping[str, Any] = error if isinstance(error, dict) else {}
    what = f"code {status.get('code')}: {str(status.get('message', ''))[:200]}"
    if status.get("code") == _RESOURCE_EXHAUSTED:
        return Problem("rate_limited", "refused", "later", "none", what)
    return Problem("batch_failed", "failed", "later", "none", what)


def _known(response: Any) -> dict[str, Any]:
    """What is read of an answer: the client library refuses a document with fields that are newer than itself."""
    candidates = [
        {
            "finishReason": one.get("finishReason"),
            "content": {
                "parts": [
                    {name: part[name] for name in ("text", "thought") if name in part}
                    for part in (one.get("content") or {}).get("parts") or []
                ]
            },
        }
        for one in response.get("candidates") or []
    ]
    blocked = (response.get("promptFeedback") or {}).get("blockReason")
    tokens = response.get("usageMetadata") or {}
    return {
        "candidates": candidates,
        "promptFeedback": {"blockReason": blocked} if blocked else None,
        "usageMetadata": {name: tokens[name] for name in _TOKENS if name in tokens},
        "modelVersion": response.get("modelVersion"),
    }
