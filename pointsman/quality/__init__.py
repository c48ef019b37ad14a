"""Judging what a matrix produced: judges, rubrics, evaluation sets, fallback, and the trust card.

`pointsman.quality.gemini.GeminiJudge` is built by `JudgeSpec` and not re-exported: its client takes seconds to import.
"""

from pointsman.quality.calls import SpendCap
from pointsman.quality.elsewhere import judge_elsewhere, judgement_turn
from pointsman.quality.evaluation import (
    EvaluationSet,
    abandon,
    complete,
    evaluation_set,
    judge_chunk,
    open_evaluation_set,
    pending,
    pending_chunks,
    reopen,
)
from pointsman.quality.fallback import fall_back
from pointsman.quality.local import LocalJudge
from pointsman.quality.protocol import (
    Evaluation,
    FailedJudgement,
    Judge,
    JudgeAttempt,
    JudgeIdentity,
    JudgeUnavailable,
    JudgeUsage,
    Sample,
)
from pointsman.quality.rubric import Criterion, Rubric, load_rubric
from pointsman.quality.spec import ChosenJudge, JudgeSpec
from pointsman.quality.trust_card import trust_card

__all__ = [
    "ChosenJudge",
    "Criterion",
    "Evaluation",
    "EvaluationSet",
    "FailedJudgement",
    "Judge",
    "JudgeAttempt",
    "JudgeIdentity",
    "JudgeSpec",
    "JudgeUnavailable",
    "JudgeUsage",
    "LocalJudge",
    "Rubric",
    "Sample",
    "SpendCap",
    "abandon",
    "complete",
    "evaluation_set",
    "fall_back",
    "judge_chunk",
    "judge_elsewhere",
    "judgement_turn",
    "load_rubric",
    "open_evaluation_set",
    "pending",
    "pending_chunks",
    "reopen",
    "trust_card",
]
