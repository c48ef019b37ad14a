"""A judge that compares: every output against the incumbent's, in both orders; a flip is a tie."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from pointsman.errors import Conflict
from pointsman.quality import (
    JudgeSpec,
    complete,
    evaluation_set,
    judge_chunk,
    labels,
    look_again,
    open_evaluation_set,
    trust_figures,
)
from pointsman.settings import load_settings
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.quality.gemini_stand_in import Asked, Reply, StandIn, judgement
from tests.quality.worlds import LEVELS, VARIANT, Clips, Matrix, gemini_judge

SLOW = VARIANT.format("slow-lane")


def seeing(clips: Clips, *, always: str | None = None) -> Callable[[Asked], Reply]:
    """Answers that find the good clip better wherever it stands, or always the one in this place."""
    good = clips.good.read_bytes()

    def choose(asked: Asked) -> Reply:
        assert "You compare" in asked.words
        seen = "first" if asked.media[1][1] == good else "second"
        return judgement(dict.fromkeys(LEVELS, always or seen))

    return choose


def test_outputs_are_held_against_the_incumbents_of_the_same_input(
    ws: Workspace, matrix: Matrix, gemini: StandIn, clips: Clips
) -> None:
    gemini.choose = seeing(clips)
    judge = gemini_judge(gemini.url, pairwise=True)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity, reference=SLOW)
    assert judge_chunk(ws, set_id, judge, matrix.cells) == 4
    complete(ws, set_id)
    rows = {row.dispatch_id: row for row in matrix.rows(tables.quality_evaluations)}
    assert [rows[cell].quality for cell in matrix.cells] == [100, 100, 50, 50]
    assert len(gemini.asked) == 4, "two challengers, each in both orders; the incumbent is not asked about"
    challenger = rows[matrix.cells[0]].scores
    assert challenger["criteria"]["fidelity"] == {"better": "first", "flipped": False}
    assert challenger["flipped"] is False
    assert "compared with" in rows[matrix.cells[2]].scores["compared"]
    transcript = ws.results.read(challenger["transcript"]["path"])
    assert transcript.count(b'"prompt"') == 2


def test_an_answer_that_follows_the_order_is_a_tie(
    ws: Workspace, matrix: Matrix, gemini: StandIn, clips: Clips
) -> None:
    gemini.choose = seeing(clips, always="first")
    judge = gemini_judge(gemini.url, pairwise=True)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity, reference=SLOW)
    judge_chunk(ws, set_id, judge, matrix.cells)
    rows = {row.dispatch_id: row for row in matrix.rows(tables.quality_evaluations)}
    assert {row.quality for row in rows.values()} == {Decimal(50)}
    assert rows[matrix.cells[0]].scores["flipped"] is True


def test_where_the_incumbent_made_nothing_whatever_plays_is_better_and_what_does_not_play_is_worst(
    ws: Workspace, matrix: Matrix, gemini: StandIn, clips: Clips
) -> None:
    gemini.choose = seeing(clips)
    alone = matrix.add_cell("fast-lane", "another-input", clips.good)
    broken = matrix.add_cell("third-lane", "input-0", clips.garbage)
    judge = gemini_judge(gemini.url, pairwise=True)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity, reference=SLOW)
    judge_chunk(ws, set_id, judge, [alone, broken])
    rows = {row.dispatch_id: row.quality for row in matrix.rows(tables.quality_evaluations)}
    assert rows == {alone: Decimal(100), broken: Decimal(0)}
    assert gemini.asked == []


def test_what_the_incumbent_made_and_does_not_play_is_not_shown_to_the_judge(
    ws: Workspace, matrix: Matrix, gemini: StandIn, clips: Clips
) -> None:
    gemini.choose = seeing(clips)
    matrix.add_cell("slow-lane", "input-9", clips.cut)
    matrix.add_cell("slow-lane", "input-8", clips.garbage)
    against = [matrix.add_cell("fast-lane", f"input-{number}", clips.good) for number in (9, 8)]
    judge = gemini_judge(gemini.url, pairwise=True)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity, reference=SLOW)
    judge_chunk(ws, set_id, judge, matrix.cells)
    rows = {row.dispatch_id: row for row in matrix.rows(tables.quality_evaluations)}
    assert [rows[cell].quality for cell in matrix.cells] == [100, 100, 50, 50, 0, 0, 100, 100]
    assert all("does not play" in rows[cell].scores["compared"] for cell in against)
    assert len(gemini.asked) == 4


def test_an_output_of_the_incumbent_that_got_lost_here_is_nobodys_merit(
    ws: Workspace, matrix: Matrix, gemini: StandIn, clips: Clips
) -> None:
    gemini.choose = seeing(clips)
    matrix.output(matrix.cells[2]).write_bytes(b"another file")
    judge = gemini_judge(gemini.url, pairwise=True)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity, reference=SLOW)
    judge_chunk(ws, set_id, judge, matrix.cells)
    rows = {row.dispatch_id: row for row in matrix.rows(tables.quality_evaluations)}
    assert [rows[cell].quality for cell in matrix.cells] == [None, 100, None, 50]
    assert "the incumbent's stored output of the same input is gone" in rows[matrix.cells[0]].missing_reason


def test_a_set_keeps_the_variant_that_it_compares_with(ws: Workspace, matrix: Matrix, gemini: StandIn) -> None:
    judge = gemini_judge(gemini.url, pairwise=True)
    assert judge.identity != gemini_judge(gemini.url).identity
    set_id = open_evaluation_set(ws, matrix.id, judge.identity, reference=SLOW)
    assert open_evaluation_set(ws, matrix.id, judge.identity, reference=SLOW) == set_id
    assert evaluation_set(ws, set_id).reference == SLOW
    with pytest.raises(Conflict) as caught:
        open_evaluation_set(ws, matrix.id, judge.identity, reference=VARIANT.format("fast-lane"))
    assert caught.value.code == "reference_changed"


def test_second_looks_compare_again(ws: Workspace, matrix: Matrix, gemini: StandIn, clips: Clips) -> None:
    gemini.choose = seeing(clips)
    judge = gemini_judge(gemini.url, pairwise=True)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity, reference=SLOW)
    judge_chunk(ws, set_id, judge, matrix.cells)
    assert look_again(ws, set_id, judge, 5) is None
    again = trust_figures.again(ws, set_id)
    assert isinstance(again, trust_figures.Again)
    assert (again.outputs, again.spread) == (2, 0.0)


def test_agreement_with_people_is_about_which_is_better(
    ws: Workspace, gemini: StandIn, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = Matrix(ws, clips, inputs=10)
    gemini.choose = seeing(clips)
    judge = gemini_judge(gemini.url, pairwise=True)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity, reference=SLOW)
    judge_chunk(ws, set_id, judge, matrix.cells)
    found = evaluation_set(ws, set_id)
    said = {cell: 80.0 if number < 9 else 40.0 for number, cell in enumerate(matrix.cells)}
    said[matrix.cells[9]] = 20.0
    labelled = [labels.Label(cell, "maria", {}, Decimal(80)) for cell in said]
    monkeypatch.setattr(trust_figures, "labels_of", lambda *_: labelled)
    monkeypatch.setattr(trust_figures, "quality_by_people", lambda *_: said)
    people = trust_figures.people(ws, found)
    assert isinstance(people, trust_figures.People)
    assert people.outputs == 10
    del said[matrix.cells[0]]
    assert "9 outputs are labelled together" in str(trust_figures.people(ws, found))


def test_a_pairwise_judge_is_chosen_by_its_mode(tmp_path: Path) -> None:
    settings = load_settings({"POINTSMAN_HOME": str(tmp_path), "GEMINI_API_KEY": "k-1"})
    chosen = JudgeSpec(kind="gemini", mode="pairwise").build(settings)
    assert chosen.compares
    assert chosen.judge.identity != JudgeSpec(kind="gemini").build(settings).judge.identity
    assert not JudgeSpec(kind="local", mode="pairwise").build(settings).compares
    with pytest.raises(ValidationError, match="both orders"):
        JudgeSpec(mode="pairwise", repeats=2)
