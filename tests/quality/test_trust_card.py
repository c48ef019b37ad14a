"""The trust card: who judged, what worked, how scores spread, and what is not measured."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pointsman.model import Missing
from pointsman.quality import (
    JudgeUnavailable,
    LocalJudge,
    Sample,
    complete,
    fall_back,
    judge_chunk,
    open_evaluation_set,
    trust_card,
)
from pointsman.reporting import Figures, Report, Table, to_html, to_markdown
from pointsman.workspace import Workspace
from tests.quality.gemini_stand_in import StandIn, judgement, refusal
from tests.quality.worlds import LEVELS, Clips, Matrix, ScriptedJudge, gemini_judge


def figures(report: Report) -> dict[str, object]:
    return {name: cell for section in report.sections if isinstance(section, Figures) for name, cell in section.pairs}


def tables_of(report: Report) -> list[Table]:
    return [section for section in report.sections if isinstance(section, Table) and section.title != "Trust"]


def answers(report: Report) -> dict[str, object]:
    """What the card says of the judge's worth, by question."""
    (table,) = (one for one in report.sections if isinstance(one, Table) and one.title == "Trust")
    return {str(question): answer for question, answer, _ in table.rows}


def test_it_names_the_judge_the_counts_and_the_spread_per_variant(ws: Workspace, matrix: Matrix) -> None:
    scores = iter([90, 80, 50, 0])
    judge = ScriptedJudge(answer=lambda sample: Decimal(next(scores)))
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells)
    complete(ws, set_id)
    report = trust_card(ws, set_id)
    shown = figures(report)
    assert (shown["judge"], shown["model"], shown["rubric"]) == ("scripted", "model-1", "a" * 12)
    assert (shown["outputs judged"], shown["quality missing"], shown["not judged yet"]) == (4, 0, 0)
    assert (shown["attempts"], shown["attempts that failed"]) == (4, "0 of 4 (0.0 %)")
    (spread,) = tables_of(report)
    fast, slow = spread.rows
    assert fast == ("fast-lane@acme-cloud", 2, 85.0, pytest.approx(7.0711, abs=1e-3), 80.0, 90.0, 0, 0)
    assert slow[:3] == ("slow-lane@acme-cloud", 2, 25.0)
    assert slow[6] == 1
    assert "judged 4 of 4 outputs; the set is complete" in report.summary


def test_what_was_not_measured_says_so(ws: Workspace, matrix: Matrix) -> None:
    set_id = open_evaluation_set(ws, matrix.id, ScriptedJudge().identity)
    report = trust_card(ws, set_id)
    shown = figures(report)
    assert isinstance(answers(report)["agreement of the judge with itself (A/A)"], Missing)
    assert isinstance(shown["attempts that failed"], Missing)
    assert shown["not judged yet"] == 4
    assert "not measured (no output was judged twice)" in to_markdown(report)


def test_retries_failures_and_model_versions_are_shown(ws: Workspace, matrix: Matrix, gemini: StandIn) -> None:
    gemini.script(refusal(503, "UNAVAILABLE"), judgement(LEVELS))
    judge = gemini_judge(gemini.url)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells[:2])
    report = trust_card(ws, set_id)
    shown = figures(report)
    assert shown["attempts that failed"] == "1 of 3 (33.3 %)"
    assert shown["questions that failed at least once"] == "1 of 2 (50.0 %)"
    assert shown["model versions that answered"] == "stand-in-001"
    assert tables_of(report)[1].rows == [("attempt: server_error", 1)]


def test_missing_scores_and_broken_outputs_are_counted_with_their_reasons(ws: Workspace, clips: Clips) -> None:
    from pointsman.quality import LocalJudge

    matrix = Matrix(ws, clips, inputs=1)
    matrix.add_cell("broken", "input-0", clips.garbage)
    matrix.add_cell("unsourced", "no-such-input", clips.good)
    judge = LocalJudge(clock=ws.clock)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells)
    spread, problems = tables_of(trust_card(ws, set_id))
    broken, unsourced = spread.rows[0], spread.rows[-1]
    assert broken[:3] == ("broken@acme-cloud", 1, 0.0)
    assert broken[6] == 1
    assert (unsourced[1], unsourced[2], unsourced[7]) == (0, Missing("no score"), 1)
    named = {str(row[0]) for row in problems.rows}
    assert "scored 0: undecodable: ffmpeg cannot open it" in named
    assert any(one.startswith("quality missing: the output has no source to compare it with") for one in named)


def test_a_fallback_is_shown_with_its_reason_and_escaped(ws: Workspace, matrix: Matrix) -> None:
    def fail(sample: Sample) -> Decimal:
        raise JudgeUnavailable("quota *used up* <script>", code="rate_limited")

    judge = ScriptedJudge(answer=fail)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    with pytest.raises(JudgeUnavailable) as caught:
        judge_chunk(ws, set_id, judge, matrix.cells)
    fall_back(ws, set_id, caught.value.message)
    report = trust_card(ws, set_id)
    assert answers(report)["fallback"] == "0 % (quota *used up* <script>)"
    assert "the set is abandoned" in report.summary
    page = to_html([report], "quality")
    assert "quota *used up*" in page
    assert "<script>" not in page


def test_what_the_local_evaluator_saw_and_could_not_measure_is_counted_by_variant(
    ws: Workspace, matrix: Matrix, clips: Clips
) -> None:
    judge = LocalJudge()
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells)
    shown = to_markdown(trust_card(ws, set_id))
    assert "seen: softer (slow-lane@acme-cloud)" in shown
    assert "no banding: a picture of 192x108 is too small; it takes 216 pixels one way" in shown
    assert "softer (fast-lane" not in shown
