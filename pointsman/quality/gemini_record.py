"""All that was asked and answered about one output or pair, and what the answers say together."""

from __future__ import annotations

import statistics
from decimal import Decimal

from pointsman.model import Json
from pointsman.quality.gemini_answers import Heard
from pointsman.quality.gemini_calls import Asked, Question
from pointsman.quality.protocol import FailedJudgement, JudgeAttempt


class Record:
    """All that was asked and answered about one subject."""

    def __init__(self, question: Question) -> None:
        self.form = question.form
        self._subject = question.subject
        self.attempts: tuple[JudgeAttempt, ...] = ()
        self.heard: list[Heard] = []
        self._questions: list[Json] = []
        self._fixed: dict[str, Json] = {
            "instructions": question.form.system,
            "media_sha256": [medium.sha256 for medium in question.media],
        }

    def add(self, question: Question, asked: Asked) -> None:
        self.attempts += asked.attempts
        if asked.heard is not None:
            self.heard.append(asked.heard)
        answers: list[Json] = [
            {"number": one.attempt.number, "text": one.text} for one in asked.tries if one.attempt is not None
        ]
        order: list[Json] = [medium.sha256 for medium in question.media]
        self._questions.append({"prompt": question.words, "media_sha256": order, "answers": answers})

    @property
    def transcript(self) -> dict[str, Json]:
        return {**self._fixed, "questions": self._questions}

    def failed(self) -> FailedJudgement:
        return FailedJudgement(self._subject, self.attempts, self.transcript)


def levels_of(heard: Heard) -> dict[str, int]:
    return {name: int(level) for name, (level, _) in heard.answers.items()}


def scores_of(heard: list[Heard], qualities: list[Decimal]) -> dict[str, Json]:
    """Per criterion the mean level and the reasons; what the repeats said; words that address the judge."""
    criteria: dict[str, Json] = {}
    for name in heard[0].answers:
        levels = [levels_of(one)[name] for one in heard]
        reasons = [one.answers[name][1] for one in heard]
        mean: Json = levels[0] if len(set(levels)) == 1 else statistics.fmean(levels)
        criteria[name] = {"level": mean, "reason": reasons[0] if len(reasons) == 1 else " / ".join(reasons)}
    scores: dict[str, Json] = {"criteria": criteria}
    if len(heard) > 1:
        scores["repeats"] = [float(quality) for quality in qualities]
    words = words_of(heard)
    return {**scores, "words_for_the_judge": words} if words else scores


def words_of(heard: list[Heard]) -> str:
    return next((one.words_for_the_judge for one in heard if one.words_for_the_judge), "")
