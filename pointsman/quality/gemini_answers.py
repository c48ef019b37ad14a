"""What an answer of the Gemini API means: a judgement, or a problem with a name. Nothing that looks odd is trusted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import httpx2
from google.genai import errors, types
from pydantic import ValidationError

from pointsman.quality.asking import Form
from pointsman.quality.protocol import JudgeOutcome

ProblemCode = Literal[
    "rate_limited",
    "server_error",
    "timeout",
    "unreachable",
    "connection_lost",
    "garbage_answer",
    "auth",
    "bad_request",
    "model_not_found",
    "unexpected_status",
    "blocked",
    "truncated",
    "unfinished",
    "empty_answer",
    "fenced",
    "off_schema",
    "another_label",
    "upload_failed",
    "frames_failed",
    "not_sent",
    "not_needed",
    "batch_refused",
    "batch_failed",
    "batch_cancelled",
    "batch_expired",
    "batch_incomplete",
]

ASKING_FAILED = (httpx.HTTPError, httpx2.HTTPError, errors.APIError, ValueError)
"""What `generate_content` raises. ValueError: a body that is no JSON, or that does not have the API's shape."""

_WORD = re.compile(r"[A-Z_]{1,40}")
_FINISHED = {types.FinishReason.STOP}
_TRUNCATED = {types.FinishReason.MAX_TOKENS}
_BLOCKED = {
    types.FinishReason.SAFETY,
    types.FinishReason.RECITATION,
    types.FinishReason.BLOCKLIST,
    types.FinishReason.PROHIBITED_CONTENT,
    types.FinishReason.SPII,
    types.FinishReason.IMAGE_SAFETY,
    types.FinishReason.IMAGE_PROHIBITED_CONTENT,
    types.FinishReason.MODEL_ARMOR,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no judgement. `tokens` says what is known about what was billed."""

    code: ProblemCode
    outcome: JudgeOutcome
    retry: Literal["never", "later", "answer"]
    """`answer`: the model was heard but what it said is of no use, which is tried again fewer times."""
    tokens: Literal["none", "perhaps", "reported"]
    what: str

    @property
    def crowded(self) -> bool:
        """Whether the service had no room for the call."""
        return self.code in ("rate_limited", "server_error")


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer that holds to its form: criterion to (level or the better output, reason).

    `words_for_the_judge` are words in the media that tell whoever judges what to do; empty when there were none.
    """

    answers: dict[str, tuple[int | str, str]]
    words_for_the_judge: str = ""


def problem_of(error: Exception) -> Problem:
    """Name what `generate_content` raised."""
    if isinstance(error, errors.APIError):
        return _status_problem(error)
    what = type(error).__name__
    if isinstance(error, (httpx.ConnectError, httpx2.ConnectError, httpx.ConnectTimeout, httpx2.ConnectTimeout)):
        return Problem("unreachable", "failed", "later", "none", what)
    if isinstance(error, (httpx.TimeoutException, httpx2.TimeoutException)):
        return Problem("timeout", "unknown", "later", "perhaps", what)
    if isinstance(error, (httpx.HTTPError, httpx2.HTTPError)):
        return Problem("connection_lost", "unknown", "later", "perhaps", what)
    return Problem("garbage_answer", "failed", "later", "perhaps", what)


def _status_problem(error: errors.APIError) -> Problem:
    code = error.code
    # The API's own words are capitals; another text goes nowhere where people or a terminal read it.
    word = error.status if _WORD.fullmatch(str(error.status)) else ""
    what = f"HTTP {code} {word}".strip()
    if code == 429:
        return Problem("rate_limited", "refused", "later", "none", what)
    if code >= 500:
        return Problem("server_error", "failed", "later", "none", what)
    # A wrong key is answered with 400 INVALID_ARGUMENT; only its ErrorInfo tells it from a request that is wrong.
    if code in (401, 403) or (code == 400 and "API_KEY_INVALID" in str(error.details)):
        return Problem("auth", "refused", "never", "none", what)
    if code == 404:
        return Problem("model_not_found", "refused", "never", "none", what)
    if 400 <= code < 500:
        return Problem("bad_request", "refused", "never", "none", what)
    return Problem("unexpected_status", "failed", "never", "perhaps", what)


def read_answer(response: types.GenerateContentResponse, form: Form, label: str) -> Heard | Problem:
    """The answer to the question `label` in `response`, or why it holds none."""
    feedback = response.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        return _unusable("blocked", f"prompt blocked: {feedback.block_reason.value}", "refused")
    if not response.candidates:
        return _unusable("empty_answer", "no candidate")
    reason = response.candidates[0].finish_reason
    name = "none" if reason is None else str(reason.value)
    if reason in _BLOCKED:
        return _unusable("blocked", f"finish reason {name}", "refused")
    if reason in _TRUNCATED:
        return _unusable("truncated", f"finish reason {name}")
    if reason not in _FINISHED:
        return _unusable("unfinished", f"finish reason {name}")
    text = answer_text(response)
    if not text.strip():
        return _unusable("empty_answer", "no text")
    if text.lstrip().startswith("```"):
        return _unusable("fenced", "text in a code fence instead of JSON")
    try:
        judged: Any = form.strict.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        # The name of a field too many is a text of the model's own.
        known = first["loc"][:-1] if first["type"] == "extra_forbidden" else first["loc"]
        place = ".".join(str(part) for part in known) or "answer"
        return _unusable("off_schema", f"{place}: {first['type']}")
    if judged.label != label:
        return _unusable("another_label", "the answer does not repeat the label of the question")
    given = judged.criteria.model_dump(by_alias=True)
    value = "level" if form.kind == "levels" else "better"
    answers = {name: (answer[value], answer["reason"]) for name, answer in given.items()}
    return Heard(answers, judged.words_for_the_judge.strip())


def _unusable(code: ProblemCode, what: str, outcome: JudgeOutcome = "failed") -> Problem:
    return Problem(code, outcome, "answer", "reported", what)


def answer_text(response: types.GenerateContentResponse) -> str:
    """The text of the first candidate without the model's thoughts."""
    content = response.candidates[0].content if response.candidates else None
    parts = (content.parts if content else None) or []
    return "".join(part.text for part in parts if part.text and not part.thought)
