"""Judging what a matrix produced: judges, rubrics, evaluation sets, fallback, and the trust card.

`pointsman.quality.gemini.GeminiJudge` is built by `JudgeSpec` and not re-exported: its client takes seconds to import.
"""

from pointsman.quality.calls import SpendCap
from pointsman.quality.correction import Corrected, corrected_qualities
from pointsman.quality.elsewhere import judge_elsewhere, judgement_turn
from pointsman.quality.ending import cancel_batches
from pointsman.quality.evaluation import (
    EvaluationSet,
    abandon,
    complete,
    evaluation_set,
    evaluation_sets_of,
    judge_chunk,
    open_evaluation_set,
    pending,
    pending_chunks,
    reopen,
)
from pointsman.quality.fallback import fall_back
from pointsman.quality.label_page import labelling_page
from pointsman.quality.label_sheets import draw_up_sheet, read_answers
from pointsman.quality.labels import quality_by_people
from pointsman.quality.local import LocalJudge
from pointsman.quality.protocol import (
    NO_REFERENCE,
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
from pointsman.quality.samples import require_may_see
from pointsman.quality.second_looks import look_again
from pointsman.quality.spec import ChosenJudge, JudgeSpec
from pointsman.quality.trust import Trust, assess_trust, ensure_trusted, reassess_trust, trust_of
from pointsman.quality.trust_card import trust_card
from pointsman.quality.trust_policy import TrustPolicy

__all__ = [
    "NO_REFERENCE",
    "ChosenJudge",
    "Corrected",
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
    "Trust",
    "TrustPolicy",
    "abandon",
    "assess_trust",
    "cancel_batches",
    "complete",
    "corrected_qualities",
    "draw_up_sheet",
    "ensure_trusted",
    "evaluation_set",
    "evaluation_sets_of",
    "fall_back",
    "judge_chunk",
    "judge_elsewhere",
    "judgement_turn",
    "labelling_page",
    "load_rubric",
    "look_again",
    "open_evaluation_set",
    "pending",
    "pending_chunks",
    "quality_by_people",
    "read_answers",
    "reassess_trust",
    "reopen",
    "require_may_see",
    "trust_card",
    "trust_of",
]
