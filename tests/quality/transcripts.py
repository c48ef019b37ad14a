"""Reading what a judge wrote down, as it is stored: JSON, held to its shape."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from pointsman.quality import Evaluation


class Answer(BaseModel):
    """One raw answer, by the number of its attempt."""

    model_config = ConfigDict(extra="forbid")

    number: int
    text: str


class Question(BaseModel):
    """What was asked once, and every answer to it."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    media_sha256: list[str]
    answers: list[Answer]


def questions_of(evaluation: Evaluation) -> list[Question]:
    assert evaluation.transcript is not None
    return [Question.model_validate(one) for one in _stored(evaluation.transcript)["questions"]]


def scored(evaluation: Evaluation, name: str) -> Any:
    """What the scores say of one criterion."""
    return _stored(evaluation.scores)["criteria"][name]


def _stored(document: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(document))
