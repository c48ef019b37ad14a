"""`pointsman evaluate label` and `trust`: people are asked, their answers read back, and the judge's worth is shown."""

import json
import re
from decimal import Decimal

import pytest

from pointsman.quality import (
    TrustPolicy,
    assess_trust,
    complete,
    evaluation_set,
    judge_chunk,
    open_evaluation_set,
)
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from tests.quality.test_data_classes import classify
from tests.quality.worlds import LEVELS, Matrix, ScriptedJudge, make_clips


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def judged(home, clips):
    """A benchmark of 24 outputs whose judge is trusted, and that judge's evaluation set."""
    ws = Workspace.open(load_settings(home=home), actor="a test")
    matrix = Matrix(ws, clips, inputs=12)
    good = clips.good.read_bytes()
    judge = ScriptedJudge(answer=lambda sample: Decimal(90 if sample.output.read_bytes() == good else 20))
    set_id = open_evaluation_set(ws, matrix.id, judge.identity)
    judge_chunk(ws, set_id, judge, matrix.cells)
    complete(ws, set_id)
    assess_trust(ws, set_id, TrustPolicy())
    return matrix, set_id


def test_people_rate_and_the_judge_is_held_against_them(pointsman, judged, tmp_path):
    matrix, set_id = judged
    page = tmp_path / "label.html"
    written = pointsman("evaluate", "label", matrix.id, "--pairs", 8, "--out", page, "--json").document
    assert written["pairs"] == 8
    key = matrix.ws.results.read(f"{matrix.path}/labels/{written['sheet']}.json")
    assert matrix.cells[0].encode() in key or matrix.cells[1].encode() in key
    tokens = sorted(set(re.findall(r'data-item="([0-9a-f]{8})"', page.read_text())))
    assert len(tokens) == 8
    best, worst = dict.fromkeys(LEVELS, 5), dict.fromkeys(LEVELS, 1)
    fast = set(matrix.cells[:12])
    sides = {item["token"]: item for item in json.loads(key)["items"]}
    right = {
        token: {side: best if sides[token][side] in fast else worst for side in ("left", "right")} for token in tokens
    }
    wrong = {
        token: {side: worst if sides[token][side] in fast else best for side in ("left", "right")} for token in tokens
    }
    for answers, trusted in ((right, True), (wrong, False)):
        file = tmp_path / "answers.json"
        file.write_text(json.dumps({"sheet": written["sheet"], "labeller": "maria", "answers": answers}))
        told = pointsman("evaluate", "label", matrix.id, "--answers", file, "--json").document
        assert told["labelled"] == 16
        (judge,) = told["judges"]
        assert judge["trusted"] is trusted
        assert "16 labels of 16 outputs" in judge["answers"]["agreement with people"]
    by_people = {row["variant"]: row for row in judge["quality_by_people"]}
    assert by_people["fast-lane@acme-cloud"]["quality"] == pytest.approx(0, abs=1e-6)
    assert by_people["fast-lane@acme-cloud"]["bias"] == pytest.approx(90)
    shown = pointsman("evaluate", "trust", matrix.id)
    assert shown.code == 0
    assert "NOT TRUSTED" in shown.out
    assert "weighted kappa" in shown.out
    assert pointsman("evaluate", "trust", matrix.id, "--json").document[0]["evaluation_set_id"] == set_id
    assert evaluation_set(matrix.ws, set_id).status == "complete"


def test_a_page_of_faces_is_written_for_those_who_may_see_them(pointsman, judged, tmp_path):
    matrix, _ = judged
    classify(matrix.ws, "input-3", "faces")
    ask = ("evaluate", "label", matrix.id, "--out", tmp_path / "label.html")
    refused = pointsman(*ask)
    assert refused.code == 3
    assert f"pointsman evaluate label {matrix.id} --data-class faces" in refused.err
    assert not (tmp_path / "label.html").exists()
    assert pointsman(*ask, "--data-class", "No Word").code == 2
    assert pointsman(*ask, "--data-class", "faces").code == 0


def test_what_was_written_says_how_to_go_on(pointsman, judged, tmp_path):
    matrix, _ = judged
    answer = pointsman("evaluate", "label", matrix.id, "--out", tmp_path / "label.html")
    assert answer.code == 0
    assert f"pointsman evaluate label {matrix.id} --answers FILE" in answer.out


def test_what_cannot_be_read_or_is_not_judged_is_refused(pointsman, judged, tmp_path):
    matrix, _ = judged
    absent = pointsman("evaluate", "label", matrix.id, "--answers", tmp_path / "none.json")
    assert (absent.code, "a file that can be read" in absent.err) == (2, True)
    unknown = pointsman("evaluate", "trust", "bm_none")
    assert (unknown.code, "pointsman evaluate bm_none" in unknown.err) == (2, True)
    assert pointsman("evaluate", "label", "bm_none").code == 2


def test_without_a_name_it_judges(pointsman, home):
    answer = pointsman("evaluate", "bm_none")
    assert answer.code == 2
    assert "bm_none" in answer.err
    assert "--judge" in pointsman("evaluate", "judge", "--help").out
