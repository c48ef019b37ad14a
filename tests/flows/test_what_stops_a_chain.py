"""What stops a chain, and what does not: a false hand-over, a used-up budget, a judge that fails in the middle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flows.benchmark_matrix import BenchmarkMatrixRequest, benchmark_matrix
from flows.evaluate_quality import EvaluateQualityRequest, evaluate_quality
from flows.money_hud import MoneyHudRequest, money_hud
from pointsman.actions import ActionLog
from pointsman.benchmark import InputFile, cell_counts, input_set, register_input_set
from pointsman.errors import DataCheckFailed, GuardRefused, InputRefused
from pointsman.ids import benchmark_id
from pointsman.quality import evaluation_set
from pointsman.storage import local_path, tables
from tests.few_inputs import variant
from tests.flows.golden import Golden, artifacts
from tests.quality.gemini_stand_in import API_KEY, StandIn, gemini_stand_in, judgement, refusal
from tests.world import FEW_INPUTS, LabWorld

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]

BEYOND_REACH = """
[[rules]]
means = "every output is better than perfect"
expectation = "ExpectColumnValuesToBeBetween"
arguments = { column = "vmaf", min_value = 100.5 }
"""
IN_NO_TIME = """
[[rules]]
means = "every job is done in no time"
expectation = "ExpectColumnValuesToBeBetween"
arguments = { column = "total_ms", max_value = 0.001 }
"""
LEVELS = {"fidelity": 4, "artefacts": 5, "temporal_consistency": 3}
CANDIDATES = (variant("x264-medium-crf26"), variant("x264-veryfast-crf23"))


def small_matrix(world: LabWorld, name: str, **changes: Any) -> BenchmarkMatrixRequest:
    """Two clips, which the test may spoil, by two variants."""
    ws = world.workspace()
    folder = world.home / "inputs" / name
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for member in input_set(ws, FEW_INPUTS).members[:2]:
        copied = Path(shutil.copy(local_path(member.uri), folder))
        files.append(InputFile(copied, member.cluster, member.input_id))
    register_input_set(ws, name, files)
    return BenchmarkMatrixRequest(variants=CANDIDATES, input_set=name, run_id=name, **changes)


@pytest.fixture
def gemini(monkeypatch: pytest.MonkeyPatch) -> Any:
    with gemini_stand_in() as stand_in:
        monkeypatch.setenv("GEMINI_API_KEY", API_KEY)
        monkeypatch.setenv("POINTSMAN_GEMINI_BASE_URL", stand_in.url)
        yield stand_in


def test_a_used_up_budget_stops_a_matrix_which_a_larger_one_lets_continue(lab_world: LabWorld) -> None:
    request = small_matrix(lab_world, "budgeted", round_cells=2, budget_usd=1e-9)
    with pytest.raises(GuardRefused, match="of a budget of") as caught:
        benchmark_matrix(request)
    assert caught.value.code == "budget_exceeded"
    ws = lab_world.workspace()
    bm_id = benchmark_id("budgeted")
    assert cell_counts(ws, bm_id) == {"completed": 2, "pending": 2}
    (entry,) = [one for one in ActionLog(ws).read() if one.event == "budget_exceeded"]
    assert entry.context == bm_id
    before = lab_world.accepted()
    assert benchmark_matrix(request.model_copy(update={"budget_usd": 1.0})) == bm_id
    assert cell_counts(ws, bm_id) == {"completed": 4}
    assert lab_world.accepted() == before + 2


@pytest.mark.parametrize(("sources", "outcome"), [("kept", "local"), ("gone", "INSUFFICIENT_DATA")])
def test_when_gemini_fails_in_the_middle_one_judge_sees_everything_or_nothing_is_concluded(
    sources: str, outcome: str, lab_world: LabWorld, gemini: StandIn
) -> None:
    ws = lab_world.workspace()
    request = small_matrix(lab_world, f"sources-{sources}")
    bm_id = benchmark_matrix(request)
    if sources == "gone":
        shutil.rmtree(lab_world.home / "inputs" / request.input_set)
    gemini.script(judgement(LEVELS), judgement(LEVELS), refusal(500, "INTERNAL"), refusal(401, "UNAUTHENTICATED"))
    set_id = evaluate_quality(EvaluateQualityRequest(benchmark_id=bm_id, judge="gemini"))
    asked = len(gemini.asked)
    (entry,) = [
        one for one in ActionLog(ws).read() if one.event == "quality_evaluation_fallback" and one.context == bm_id
    ]
    assert entry.severity == "warn"
    found = evaluation_set(ws, set_id)
    decided = money_hud(
        MoneyHudRequest(benchmark_id=bm_id, evaluation_set_id=set_id, incumbent=CANDIDATES[0], judge="gemini")
    )
    if outcome == "local":
        assert (found.identity.name, found.status) == ("local", "complete")
        with ws.database.begin() as connection:
            judged = sa.select(sa.func.count()).where(tables.quality_evaluations.c.evaluation_set_id == set_id)
            assert connection.execute(judged).scalar() == 4
    else:
        assert (found.identity.name, found.status) == ("gemini", "abandoned")
        assert decided.outcome == "INSUFFICIENT_DATA"
    # The same again stays with the judge that saw everything, and asks the other one nothing.
    assert evaluate_quality(EvaluateQualityRequest(benchmark_id=bm_id, judge="gemini")) == set_id
    assert len(gemini.asked) == asked


def test_a_false_hand_over_stops_the_chain_and_an_artifact_says_which_rows(golden: Golden) -> None:
    (evaluation,) = golden.rows(tables.evaluation_sets, benchmark_id=golden.benchmark_id)
    book = tables.price_book
    with golden.ws.database.begin() as connection:
        entry = connection.execute(sa.select(book).where(book.c.sku == "lab-cpu:vcpu-second")).mappings().first()
        assert entry is not None
        connection.execute(sa.insert(book).values({**entry, "id": "again", "source": "somebody's own hand"}))
    request = MoneyHudRequest(
        benchmark_id=golden.benchmark_id, evaluation_set_id=evaluation.id, incumbent=golden.request.variants[0]
    )
    try:
        state = money_hud(request, return_state=True)
    finally:
        with golden.ws.database.begin() as connection:
            connection.execute(sa.delete(book).where(book.c.id == "again"))
    assert state.is_failed()
    with pytest.raises(DataCheckFailed) as caught:
        state.result()
    assert caught.value.code == "data_check_failed"
    (shown,) = artifacts(state.state_details.flow_run_id, "data-check")
    assert "lab-cpu:vcpu-second" in shown
    assert artifacts(state.state_details.flow_run_id, "money-hud") == []
    (logged,) = [one for one in ActionLog(golden.ws).read() if one.event == "data_check_failed"]
    assert logged.severity == "critical"
    assert logged.instruction


@pytest.mark.parametrize(
    ("suite", "rule"),
    [("ledger", IN_NO_TIME), ("run_items", IN_NO_TIME), ("evaluations", BEYOND_REACH)],
    ids=["ledger", "run_items", "evaluations"],
)
def test_a_hud_that_is_asked_for_directly_checks_all_that_it_reads(golden: Golden, suite: str, rule: str) -> None:
    (evaluation,) = golden.rows(tables.evaluation_sets, benchmark_id=golden.benchmark_id)
    request = MoneyHudRequest(
        benchmark_id=golden.benchmark_id, evaluation_set_id=evaluation.id, incumbent=golden.request.variants[0]
    )
    own = golden.world.home / "checks"
    own.mkdir()
    try:
        (own / f"{suite}.toml").write_text(rule)
        state = money_hud(request, return_state=True)
    finally:
        shutil.rmtree(own)
    with pytest.raises(DataCheckFailed, match=f"of the data check '{suite}' do not hold"):
        state.result()
    (shown,) = artifacts(state.state_details.flow_run_id, "data-check")
    assert "| yours |" in shown
    assert artifacts(state.state_details.flow_run_id, "money-hud") == []


def test_a_rule_of_ones_own_on_a_score_of_the_judge_stops_the_chain(golden: Golden) -> None:
    own = golden.world.home / "checks"
    own.mkdir()
    try:
        (own / "evaluations.toml").write_text(BEYOND_REACH)
        request = EvaluateQualityRequest(benchmark_id=golden.benchmark_id, judge=golden.request.judge)
        state = evaluate_quality(request, return_state=True)
        with pytest.raises(DataCheckFailed, match="every output is better than perfect"):
            state.result()
        (shown,) = artifacts(state.state_details.flow_run_id, "data-check")
        assert golden.rows(tables.quality_evaluations, benchmark_id=golden.benchmark_id)[0].dispatch_id in shown
        assert "| yours |" in shown
        (own / "evaluations.toml").rename(own / "evaluation.toml")
        before = golden.world.accepted()
        with pytest.raises(InputRefused, match=r"evaluations\.toml"):
            benchmark_matrix(small_matrix(golden.world, "misspelt"))
        assert golden.world.accepted() == before, "it was refused before anything was sent"
    finally:
        shutil.rmtree(own)
