"""Second looks: the same outputs judged again and pairs in both orders, none of which changes a score."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest

from pointsman.quality import SpendCap, judge_chunk, look_again, open_evaluation_set, trust_figures
from pointsman.quality.pairs import preferred
from pointsman.quality.rubric import load_rubric
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.quality.gemini_stand_in import Asked, Reply, StandIn, answering, judgement, refusal
from tests.quality.worlds import LEVELS, Clips, Matrix, ScriptedJudge, gemini_judge

FIRST = dict.fromkeys(LEVELS, "first")


def test_outputs_are_judged_again_under_another_label_and_scores_stay(
    ws: Workspace, matrix: Matrix, gemini: StandIn
) -> None:
    gemini.choose = answering(LEVELS)
    judge = gemini_judge(gemini.url)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells)
    labels = {asked.label for asked in gemini.asked}
    gemini.choose = answering({**LEVELS, "fidelity": 5})
    assert look_again(ws, set_id, judge, 3) is None
    again = trust_figures.again(ws, set_id)
    assert isinstance(again, trust_figures.Again)
    assert (again.outputs, again.largest) == (3, 12.5)
    assert again.spread == pytest.approx(12.5 / 2**0.5)
    assert {row.quality for row in matrix.rows(tables.quality_evaluations)} == {Decimal("77.5")}
    assert labels.isdisjoint(asked.label for asked in gemini.asked[4:])
    attempts = matrix.rows(tables.attempts)
    assert len(attempts) == len(gemini.asked) == 4 + 3 + 2 * 2
    assert all(row.detail["transcript"]["sha256"] for row in attempts)


def test_each_pair_is_shown_in_both_orders_and_an_answer_that_follows_the_order_is_a_flip(
    ws: Workspace, matrix: Matrix, gemini: StandIn, clips: Clips
) -> None:
    gemini.choose = answering(LEVELS, FIRST)
    judge = gemini_judge(gemini.url)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells)
    before = len(gemini.asked)
    look_again(ws, set_id, judge, 10)
    order = trust_figures.order(ws, set_id)
    assert isinstance(order, trust_figures.Order)
    assert (order.pairs, order.flips, order.rate) == (2, 2, 1.0)
    compared = [asked for asked in gemini.asked[before:] if "You compare" in asked.words]
    good, poor = clips.good.read_bytes(), clips.poor.read_bytes()
    assert {one.media[0][1] for one in compared} == {source.read_bytes() for source in matrix.sources}
    for one in compared:
        assert one.texts[1:] == ["The source:", "The first output:", "The second output:"]
    shown = Counter(tuple(content for _, content in one.media[1:]) for one in compared)
    assert shown == {(good, poor): 2, (poor, good): 2}, "the calls of a pair go out side by side"
    assert len({one.label for one in compared}) == len(compared)


def test_a_judge_that_sees_which_is_better_in_either_order_flips_nothing(
    ws: Workspace, matrix: Matrix, gemini: StandIn, clips: Clips
) -> None:
    good = clips.good.read_bytes()

    def choose(asked: Asked) -> Reply:
        if "You compare" not in asked.words:
            return judgement(LEVELS)
        better = "first" if asked.media[1][1] == good else "second"
        return judgement(dict.fromkeys(LEVELS, better))

    gemini.choose = choose
    judge = gemini_judge(gemini.url)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells)
    look_again(ws, set_id, judge, 10)
    order = trust_figures.order(ws, set_id)
    assert isinstance(order, trust_figures.Order)
    assert (order.pairs, order.flips) == (2, 0)
    points = {row.result["points"] for row in matrix.rows(tables.second_looks) if row.kind == "order"}
    assert points <= {"1.0000", "0.0000"}


def test_the_same_call_continues_and_asks_nothing_twice(ws: Workspace, matrix: Matrix, gemini: StandIn) -> None:
    gemini.choose = answering(LEVELS)
    judge = gemini_judge(gemini.url)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells)
    seen = len(gemini.asked)

    def choose(asked: Asked) -> Reply:
        return refusal(403, "PERMISSION_DENIED") if len(gemini.asked) > seen + 2 else judgement(LEVELS)

    gemini.choose = choose
    why = look_again(ws, set_id, judge, 4)
    assert why is not None
    assert why.startswith("auth: ")
    gemini.choose = answering(LEVELS)
    assert look_again(ws, set_id, judge, 4) is None
    assert len(matrix.rows(tables.second_looks)) == 4 + 2
    assert len(gemini.asked) == seen + 2 + 1 + 2 + 4
    assert look_again(ws, set_id, judge, 4) is None
    assert len(gemini.asked) == seen + 9
    assert len(matrix.rows(tables.attempts)) == len(gemini.asked)


def test_second_looks_are_held_to_the_cap_too(ws: Workspace, matrix: Matrix, gemini: StandIn) -> None:
    gemini.choose = answering(LEVELS)
    judge = gemini_judge(gemini.url)
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    cap = SpendCap(Decimal("5.0"), lambda sku: Decimal("0.001"))
    judge_chunk(ws, set_id, judge, matrix.cells, cap=cap)
    why = look_again(ws, set_id, judge, 4, cap=cap)
    assert why is not None
    assert why.startswith("spend_cap")
    assert len(gemini.asked) == 5


def test_what_is_computed_is_not_asked_twice(ws: Workspace, matrix: Matrix) -> None:
    judge = ScriptedJudge()
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells)
    assert look_again(ws, set_id, judge, 4) is None
    assert len(judge.seen) == 4


def test_answers_of_both_orders_are_put_together_per_criterion() -> None:
    criteria = load_rubric("video-effect").criteria
    straight = {"fidelity": "first", "artefacts": "first", "temporal_consistency": "same"}
    swapped = {"fidelity": "second", "artefacts": "first", "temporal_consistency": "same"}
    found = preferred(criteria, straight, swapped)
    assert found.points == Decimal("0.75")  # fidelity (5) won, artefacts (3) flipped, consistency (2) the same
    assert not found.flipped
    assert found.criteria["artefacts"] == {"better": "same", "flipped": True}
    assert preferred(criteria, straight, dict.fromkeys(LEVELS, "same")).flipped
    assert preferred(criteria, dict.fromkeys(LEVELS, "same"), dict.fromkeys(LEVELS, "same")).points == Decimal("0.5")
    assert preferred(criteria, FIRST, FIRST) == preferred(criteria, FIRST, FIRST)
    assert preferred(criteria, FIRST, FIRST).points == Decimal("0.5")
    assert preferred(criteria, FIRST, FIRST).flipped
