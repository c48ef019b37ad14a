"""A judge that fails in the middle: everything goes to the local judge, or nothing can be concluded; logged once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pointsman.actions import ActionLog
from pointsman.errors import Conflict
from pointsman.quality import (
    JudgeUnavailable,
    LocalJudge,
    complete,
    evaluation_set,
    fall_back,
    judge_chunk,
    open_evaluation_set,
    pending,
)
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.quality.gemini_stand_in import StandIn, judgement, refusal
from tests.quality.worlds import LEVELS, Matrix, ScriptedJudge, gemini_judge


def test_when_gemini_dies_in_the_middle_the_whole_comparison_is_judged_locally(
    ws: Workspace, matrix: Matrix, gemini: StandIn
) -> None:
    gemini.script(judgement(LEVELS), judgement(LEVELS), refusal(401, "UNAUTHENTICATED"))
    judge = gemini_judge(gemini.url)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    with pytest.raises(JudgeUnavailable) as caught:
        judge_chunk(ws, set_id, judge, matrix.cells)
    assert fall_back(ws, set_id, str(caught.value)) == "local"

    local = LocalJudge(clock=ws.clock)
    again = open_evaluation_set(ws, matrix.id, local.identity)
    assert pending(ws, again) == matrix.cells
    judge_chunk(ws, again, local, matrix.cells)
    complete(ws, again)
    by_set: dict[str, int] = {}
    for row in matrix.rows(tables.quality_evaluations):
        by_set[row.evaluation_set_id] = by_set.get(row.evaluation_set_id, 0) + 1
    assert by_set == {set_id: 2, again: 4}
    assert evaluation_set(ws, set_id).status == "abandoned"


def test_the_fallback_is_logged_once_with_its_reason(ws: Workspace, matrix: Matrix) -> None:
    set_id = open_evaluation_set(ws, matrix.id, ScriptedJudge().identity)
    assert fall_back(ws, set_id, "quota used up") == "local"
    assert fall_back(ws, set_id, "asked again after a crash") == "local"
    (entry,) = ActionLog(ws).read()
    assert (entry.event, entry.severity, entry.run_id, entry.context) == (
        "quality_evaluation_fallback",
        "warn",
        "run-1",
        matrix.id,
    )
    assert entry.data["reason"] == "quota used up"
    assert entry.data["continues"] == "local"
    assert matrix.id in entry.instruction


def test_a_run_that_was_interrupted_while_falling_back_falls_back_again(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge(answer=lambda sample: Decimal(5))
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    fall_back(ws, set_id, "quota used up")
    with pytest.raises(JudgeUnavailable, match="quota used up"):
        judge_chunk(ws, open_evaluation_set(ws, matrix.id, judge.identity), judge, matrix.cells)
    assert judge.seen == []
    assert fall_back(ws, set_id, "again") == "local"


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_an_output_without_its_source_makes_the_fallback_insufficient(ws: Workspace, matrix: Matrix, harm: str) -> None:
    if harm == "gone":
        matrix.sources[1].unlink()
    else:
        matrix.sources[1].write_bytes(b"another clip")
    set_id = open_evaluation_set(ws, matrix.id, ScriptedJudge().identity)
    assert fall_back(ws, set_id, "quota used up") == "insufficient"
    (entry,) = ActionLog(ws).read()
    assert entry.data["continues"] == "insufficient"


def test_an_input_that_is_no_file_here_makes_the_fallback_insufficient(ws: Workspace, matrix: Matrix) -> None:
    matrix.add_cell("fast-lane", "a-prompt-without-a-clip", matrix.clips.good)
    set_id = open_evaluation_set(ws, matrix.id, ScriptedJudge().identity)
    assert fall_back(ws, set_id, "quota used up") == "insufficient"


def test_there_is_nothing_to_fall_back_from_once_complete_or_when_local_itself_failed(
    ws: Workspace, matrix: Matrix
) -> None:
    judge = ScriptedJudge(answer=lambda sample: Decimal(5))
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells)
    complete(ws, set_id)
    local = open_evaluation_set(ws, matrix.id, LocalJudge().identity)
    for finished in (set_id, local):
        with pytest.raises(Conflict) as caught:
            fall_back(ws, finished, "why not")
        assert caught.value.code == "no_fallback"
    assert ActionLog(ws).read() == []
