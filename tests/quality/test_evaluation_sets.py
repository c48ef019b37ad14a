"""Evaluation sets: one identity each, every sample stored once whatever is interrupted, every attempt on record."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.errors import Conflict, NotFound, RunFailed
from pointsman.model import Missing
from pointsman.quality import (
    JudgeIdentity,
    JudgeUnavailable,
    LocalJudge,
    Sample,
    SpendCap,
    abandon,
    complete,
    evaluation_set,
    judge_chunk,
    open_evaluation_set,
    pending,
    reopen,
)
from pointsman.quality.samples import blind_label
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.quality.gemini_stand_in import StandIn, judgement, refusal
from tests.quality.worlds import LEVELS, Clips, Matrix, ScriptedJudge, gemini_judge
from tests.workspaces import workspace_in

OTHER = JudgeIdentity("scripted", "model-2", "a" * 64)


def opened(ws: Workspace, matrix: Matrix, judge: ScriptedJudge) -> str:
    return open_evaluation_set(ws, matrix.id, judge.identity)


class Killed(BaseException):
    """Stands for a process that ends here."""


# Opening


def test_the_same_benchmark_and_identity_is_the_same_set(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge()
    first = opened(ws, matrix, judge)
    assert opened(ws, matrix, judge) == first
    assert open_evaluation_set(ws, matrix.id, OTHER) != first
    assert evaluation_set(ws, first).identity == judge.identity
    assert len(matrix.rows(tables.evaluation_sets)) == 2


def test_unknown_benchmarks_and_sets_are_refused(ws: Workspace, matrix: Matrix) -> None:
    with pytest.raises(NotFound, match="bm_none"):
        open_evaluation_set(ws, "bm_none", OTHER)
    with pytest.raises(NotFound, match="evaluation set"):
        pending(ws, "none")


def test_only_completed_cells_are_pending_in_the_order_of_the_plan(ws: Workspace, matrix: Matrix) -> None:
    matrix.add_cell("third", "input-0", None, status="failed")
    assert pending(ws, opened(ws, matrix, ScriptedJudge())) == matrix.cells[:4]


# Judging


def test_judging_in_chunks_stores_every_output_once(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge()
    set_id = opened(ws, matrix, judge)
    assert judge_chunk(ws, set_id, judge, matrix.cells[:3]) == 3
    assert pending(ws, set_id) == matrix.cells[3:]
    assert judge_chunk(ws, set_id, judge, matrix.cells) == 1
    assert judge_chunk(ws, set_id, judge, matrix.cells) == 0
    assert judge.seen == matrix.cells
    stored = matrix.rows(tables.quality_evaluations)
    assert sorted(row.dispatch_id for row in stored) == sorted(matrix.cells)
    assert {row.quality for row in stored} == {Decimal(80)}
    complete(ws, set_id)
    complete(ws, set_id)
    assert evaluation_set(ws, set_id).status == "complete"


def test_another_identity_cannot_write_into_a_set(ws: Workspace, matrix: Matrix) -> None:
    set_id = opened(ws, matrix, ScriptedJudge())
    for identity in (OTHER, JudgeIdentity("scripted", "model-1", "b" * 64)):
        stranger = ScriptedJudge(identity=identity)
        with pytest.raises(Conflict) as caught:
            judge_chunk(ws, set_id, stranger, matrix.cells)
        assert caught.value.code == "judge_mixed"
        assert stranger.seen == []
    assert matrix.rows(tables.quality_evaluations) == []


def test_an_id_of_no_completed_cell_is_refused_before_judging(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge()
    failed = matrix.add_cell("third", "input-0", None, status="failed")
    with pytest.raises(NotFound, match="dispatch id"):
        judge_chunk(ws, opened(ws, matrix, judge), judge, [matrix.cells[0], failed])
    assert judge.seen == []


def test_the_local_judge_judges_the_outputs_against_the_inputs(ws: Workspace, clips: Clips) -> None:
    matrix = Matrix(ws, clips, inputs=1)
    broken = matrix.add_cell("broken", "input-0", clips.garbage)
    judge = LocalJudge(clock=ws.clock)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    assert judge_chunk(ws, set_id, judge, matrix.cells) == 3
    quality = {row.dispatch_id: row.quality for row in matrix.rows(tables.quality_evaluations)}
    assert quality[matrix.cells[0]] > quality[matrix.cells[1]] > quality[broken] == 0
    assert matrix.rows(tables.usage) == []


def test_samples_carry_a_label_that_tells_nothing_and_stays_the_same(ws: Workspace, matrix: Matrix) -> None:
    labels: list[str] = []

    def note(sample: Sample) -> Decimal:
        labels.append(sample.blind_label)
        assert sample.source is not None
        return Decimal(1)

    judge = ScriptedJudge(answer=note)
    set_id = opened(ws, matrix, judge)
    judge_chunk(ws, set_id, judge, matrix.cells)
    assert labels == [blind_label(set_id, cell) for cell in matrix.cells]
    assert len(set(labels)) == len(labels)
    assert all(len(label) == 8 and label not in cell for label in labels for cell in matrix.cells)


def test_an_output_that_is_gone_or_changed_is_missing_and_not_judged(ws: Workspace, matrix: Matrix) -> None:
    gone, changed, unstored, fine = matrix.cells
    matrix.output(gone).unlink()
    matrix.output(changed).write_bytes(b"something else")
    with ws.database.begin() as connection:
        connection.execute(sa.delete(tables.run_artifacts).where(tables.run_artifacts.c.subject_id == unstored))
    judge = ScriptedJudge()
    assert judge_chunk(ws, opened(ws, matrix, judge), judge, matrix.cells) == 4
    assert judge.seen == [fine]
    rows = {row.dispatch_id: row for row in matrix.rows(tables.quality_evaluations)}
    assert rows[gone].quality is rows[changed].quality is rows[unstored].quality is None
    assert "gone or is not the one" in rows[gone].missing_reason
    assert "stored no output" in rows[unstored].missing_reason


def test_a_source_that_was_changed_is_not_compared_with(ws: Workspace, matrix: Matrix) -> None:
    matrix.sources[0].write_bytes(b"another clip")
    found: dict[str, bool] = {}

    def note(sample: Sample) -> Decimal:
        found[sample.dispatch_id] = sample.source is not None
        return Decimal(1)

    judge = ScriptedJudge(answer=note)
    judge_chunk(ws, opened(ws, matrix, judge), judge, matrix.cells)
    assert list(found.values()) == [False, True, False, True]


def test_a_missing_quality_is_stored_with_its_reason(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge(answer=lambda sample: Missing("too dark to see"))
    judge_chunk(ws, opened(ws, matrix, judge), judge, matrix.cells[:1])
    (row,) = matrix.rows(tables.quality_evaluations)
    assert (row.quality, row.missing_reason) == (None, "too dark to see")


# Interruptions


def kill_before(judge: ScriptedJudge, at: int) -> ScriptedJudge:
    """The same judge in a process that ends while it judges its sample number `at`."""

    def answer(sample: Sample) -> Decimal:
        if len(killed.seen) == at:
            raise Killed
        return Decimal(80)

    killed = ScriptedJudge(answer=answer, billed=judge.billed)
    return killed


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.integers(1, 3), max_size=4), chunk=st.integers(1, 4))
def test_whatever_is_killed_the_same_call_continues_and_nothing_is_duplicated(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, clips: Clips, kills: list[int], chunk: int
) -> None:
    ws = workspace_in(tmp_path_factory.mktemp("killed"), migrated)
    matrix = Matrix(ws, clips)
    judge = ScriptedJudge(billed=True)
    set_id = opened(ws, matrix, judge)
    interrupted = 0
    for at in kills:
        try:
            judge_chunk(ws, set_id, kill_before(judge, at), pending(ws, set_id)[:chunk])
        except Killed:
            interrupted += 1
    while left := pending(ws, set_id):
        judge_chunk(ws, set_id, judge, left[:chunk])
    complete(ws, set_id)
    assert len(matrix.rows(tables.quality_evaluations)) == 4
    outcomes = [row.outcome for row in matrix.rows(tables.attempts)]
    assert (outcomes.count("completed"), outcomes.count("unknown")) == (4, interrupted)
    usage = matrix.rows(tables.usage)
    assert sum(row.quantity is None for row in usage) == interrupted
    assert sum(row.quantity or 0 for row in usage) == 400


def test_what_was_judged_before_a_failure_is_kept_and_so_are_the_failed_attempts(ws: Workspace, matrix: Matrix) -> None:
    def answer(sample: Sample) -> Decimal:
        if sample.dispatch_id == matrix.cells[2]:
            raise JudgeUnavailable("no more", code="server_error")
        return Decimal(70)

    judge = ScriptedJudge(answer=answer, billed=True)
    set_id = opened(ws, matrix, judge)
    with pytest.raises(JudgeUnavailable, match="no more"):
        judge_chunk(ws, set_id, judge, matrix.cells)
    assert pending(ws, set_id) == matrix.cells[2:]
    assert [row.outcome for row in matrix.rows(tables.attempts)] == ["completed", "completed", "failed"]
    assert judge_chunk(ws, set_id, ScriptedJudge(billed=True), matrix.cells) == 2
    third = [row for row in matrix.rows(tables.attempts) if row.subject_id == f"{set_id}:{matrix.cells[2]}"]
    assert [(row.number, row.outcome) for row in third] == [(1, "failed"), (2, "completed")]


# Closing


def test_a_set_with_pending_outputs_is_not_complete(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge()
    set_id = opened(ws, matrix, judge)
    judge_chunk(ws, set_id, judge, matrix.cells[1:])
    with pytest.raises(RunFailed, match="not judged yet") as caught:
        complete(ws, set_id)
    assert caught.value.code == "evaluation_incomplete"


def test_an_abandoned_set_stays_abandoned_until_it_is_reopened(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge()
    set_id = opened(ws, matrix, judge)
    judge_chunk(ws, set_id, judge, matrix.cells[:1])
    assert abandon(ws, set_id, "the judge is gone")
    assert not abandon(ws, set_id, "again")
    assert opened(ws, matrix, judge) == set_id
    found = evaluation_set(ws, set_id)
    assert (found.status, found.reason) == ("abandoned", "the judge is gone")
    with pytest.raises(JudgeUnavailable, match="the judge is gone") as again:
        judge_chunk(ws, set_id, judge, matrix.cells)
    assert again.value.code == "evaluation_set_abandoned"
    assert judge.seen == matrix.cells[:1]
    with pytest.raises(Conflict, match="the judge is gone"):
        complete(ws, set_id)
    assert reopen(ws, set_id)
    assert not reopen(ws, set_id)
    assert judge_chunk(ws, set_id, judge, matrix.cells) == 3


def test_a_complete_set_cannot_be_abandoned_or_added_to(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge()
    set_id = opened(ws, matrix, judge)
    judge_chunk(ws, set_id, judge, matrix.cells)
    complete(ws, set_id)
    late = matrix.add_cell("late", "input-0", matrix.clips.good)
    with pytest.raises(Conflict, match="the matrix grew"):
        judge_chunk(ws, set_id, judge, [late])
    with pytest.raises(Conflict, match="complete"):
        abandon(ws, set_id, "too late")


# What Gemini leaves on record


def test_gemini_attempts_tokens_and_transcripts_are_on_record(ws: Workspace, matrix: Matrix, gemini: StandIn) -> None:
    gemini.script(refusal(503, "UNAVAILABLE"), judgement(LEVELS, tokens=(1200, 80, 20)))
    judge = gemini_judge(gemini.url)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    cell = matrix.cells[0]
    assert judge_chunk(ws, set_id, judge, [cell]) == 1
    subject = f"{set_id}:{cell}"
    attempts = matrix.rows(tables.attempts)
    assert [(row.id, row.subject_kind, row.number, row.provider, row.outcome) for row in attempts] == [
        (f"{subject}#1", "judgement", 1, "gemini", "failed"),
        (f"{subject}#2", "judgement", 2, "gemini", "completed"),
    ]
    assert [row.detail["code"] for row in attempts] == ["server_error", None]
    usage = {row.sku: (row.subject_id, row.quantity, row.basis) for row in matrix.rows(tables.usage)}
    assert usage == {
        "gemini:gemini-2.5-flash:input-token": (f"{subject}#2", Decimal(1200), "measured"),
        "gemini:gemini-2.5-flash:output-token": (f"{subject}#2", Decimal(100), "measured"),
    }
    (row,) = matrix.rows(tables.quality_evaluations)
    kept = ws.results.read(row.scores["transcript"]["path"])
    assert hashlib.sha256(kept).hexdigest() == row.scores["transcript"]["sha256"]
    assert row.scores["transcript"]["path"].startswith(f"{matrix.path}/judgements/{set_id}/")
    transcript = json.loads(kept)
    (question,) = transcript["questions"]
    assert blind_label(set_id, cell) in question["prompt"]
    assert json.loads(question["answers"][1]["text"])["criteria"]["artefacts"]["level"] == 5
    assert [asked.media[1][1] for asked in gemini.asked] == [matrix.output(cell).read_bytes()] * 2
    assert cell not in gemini.asked[0].words


# The spending cap


def test_judging_stops_at_its_cap_and_what_was_spent_before_counts(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge(billed=True)
    set_id = opened(ws, matrix, judge)
    cap = SpendCap(Decimal("0.25"), lambda sku: Decimal("0.001"))  # 0.10 USD a sample
    assert judge_chunk(ws, set_id, judge, matrix.cells[:1], cap=cap) == 1
    with pytest.raises(JudgeUnavailable) as caught:
        judge_chunk(ws, set_id, judge, matrix.cells, cap=cap)
    assert caught.value.code == "spend_cap"
    assert "0.300 USD" in str(caught.value)
    assert judge.seen == matrix.cells[:3]
    assert pending(ws, set_id) == matrix.cells[3:]


def test_a_cap_that_is_reached_by_the_last_sample_stops_nothing(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge(billed=True)
    cap = SpendCap(Decimal("0.4"), lambda sku: Decimal("0.001"))
    assert judge_chunk(ws, opened(ws, matrix, judge), judge, matrix.cells, cap=cap) == 4


def test_what_has_no_price_is_not_counted_as_free_money_spent(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge(billed=True)
    cap = SpendCap(Decimal("0.01"), lambda sku: Missing("no price"))
    assert judge_chunk(ws, opened(ws, matrix, judge), judge, matrix.cells, cap=cap) == 4


def test_two_processes_on_one_set_store_each_sample_once(ws: Workspace, matrix: Matrix) -> None:
    """The second starts in the middle of the first, as a flow that was started twice would."""
    inner = ScriptedJudge(billed=True)

    def answer(sample: Sample) -> Decimal:
        if not inner.seen:
            judge_chunk(ws, set_id, inner, matrix.cells)
        return Decimal(10)

    outer = ScriptedJudge(answer=answer, billed=True)
    set_id = opened(ws, matrix, outer)
    judge_chunk(ws, set_id, outer, matrix.cells)
    stored = {row.dispatch_id: row.quality for row in matrix.rows(tables.quality_evaluations)}
    assert stored == dict.fromkeys(matrix.cells, Decimal(80))
    assert len(matrix.rows(tables.attempts)) == 8
    assert sum(row.quantity for row in matrix.rows(tables.usage)) == 800
