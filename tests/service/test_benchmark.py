"""`pointsman benchmark`: planning without running, filters, rules, and cancelling."""

import pytest

from pointsman.benchmark import create_matrix, end_early, input_set, list_variants, matrix_run
from pointsman.dispatch import TargetSpec
from service.cli import benchmark
from tests.service.worlds import INCUMBENT, OTHER, ROUTE, registered


@pytest.fixture
def ws(home):
    return registered(home)


def matrix(ws):
    return create_matrix(
        ws,
        benchmark_id="bm_1",
        parent_run_id=None,
        variants=[one.id for one in list_variants(ws)],
        inputs=input_set(ws, "some-clips"),
        repeats=1,
        seed=1,
        round_cells=2,
        environment_id="lab",
        targets=[TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:9")],
        in_flight_per_provider=1,
    )


def test_a_plan_says_what_would_be_run_and_writes_nothing(ws, pointsman):
    asked = ("benchmark", "plan", "--route", ROUTE, "--input-set", "some-clips", "--repeats", "3")
    document = pointsman(*asked, "--json").document
    assert (document["cells"], document["skipped"], document["confidence"]) == (6, 0, 0.9)
    assert {one["variant"] for one in document["variants"]} == {INCUMBENT, OTHER}
    assert "no dispatch of the variant was priced before" in document["cost_usd"]["usd"]["missing"]
    assert document["needed"]["inputs"] > 1
    shown = pointsman(*asked, "--workflow", "x265-fast-crf28")
    assert shown.code == 0
    assert "3 in 1 round;" in shown.out
    assert "a comparison needs two variants" in shown.out
    assert pointsman("benchmark", "show", "--json").document == []


def test_a_plan_uses_what_the_flow_uses():
    from flows.benchmark_matrix import BenchmarkMatrixRequest
    from service.cli.benchmark import _request_defaults

    usual = BenchmarkMatrixRequest(variants=("v",), input_set="i")
    assert _request_defaults() == {name: getattr(usual, name) for name in _request_defaults()}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--route", ROUTE, "--input-set", "some-clips", "--tag", "nobody"], "--route"),
        (["--benchmark-id", "bm_1", "--tag", "x"], "none of them without --route"),
        (["--benchmark-id", "bm_1", "--stop-after", "1/2"], "--stop-after"),
        (["--benchmark-id", "bm_1", "--in-flight", "9"], "it keeps its own"),
        (["--route", ROUTE, "--input-set", "some-clips", "--budget", "much"], "--budget"),
        (["--route", ROUTE, "--input-set", "some-clips", "--stop-after", "often"], "3/5"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(ws, pointsman, words, named):
    answer = pointsman("benchmark", "run", *words)
    assert answer.code == 2
    assert named in answer.err


def test_a_matrix_is_cancelled_once_and_for_all_who_ask(ws, pointsman):
    matrix(ws)
    first = pointsman("benchmark", "cancel", "bm_1", "--reason", "too dear")
    assert (first.code, matrix_run(ws, "bm_1").status) == (0, "cancelled")
    assert pointsman("benchmark", "cancel", "bm_1", "--json").document["status"] == "cancelled"
    assert pointsman("benchmark", "cancel", "bm_none").code == 2
    assert "benchmark run --benchmark-id bm_1" in pointsman("benchmark", "show", "bm_1").out


def test_what_was_planned_and_not_sent_is_shown_with_the_reason(ws, pointsman):
    matrix(ws)
    end_early(ws, "bm_1", why="decided at a look, WINNER by vd_1")
    shown = pointsman("benchmark", "show", "bm_1")
    assert "Not sent   1 of x264-medium-crf26@lab-cpu: skipped: decided at a look, WINNER by vd_1" in shown.out
    told = pointsman("benchmark", "show", "bm_1", "--json").document["skipped"]
    assert {one["variant"]: one["cells"] for one in told} == {INCUMBENT: 1, OTHER: 1}


def test_what_is_asked_of_a_new_matrix_is_kept_by_one_that_is_measured_again(ws, pointsman, monkeypatch):
    asked = []

    def run(load, request):
        asked.append(request)
        return "bm_1"

    matrix(ws)
    monkeypatch.setattr(benchmark, "connect", lambda: None)
    monkeypatch.setattr(benchmark, "run_flow", run)
    new = ("benchmark", "run", "--route", ROUTE, "--input-set", "some-clips")
    assert pointsman(*new, "--in-flight", "7", "--drain-limit-s", "900", "--stop-after", "1/3").code == 0
    assert pointsman(*new, "--budget", "3USD", "--workflow", "x265-fast-crf28").code == 0
    assert pointsman("benchmark", "run", "--again", "bm_1", "--repeats", "4").code == 0
    first, second, third = asked
    assert (first.in_flight_per_provider, first.drain_limit_s, first.round_cells) == (7, 900, 6)
    assert first.early_stop.model_dump() == {"failures": 1, "of_first": 3}
    assert (second.budget_usd, second.round_cells, second.variants) == (3, 1, (OTHER,))
    kept = (third.in_flight_per_provider, third.round_cells, third.drain_limit_s, third.repeats)
    assert kept == (1, 2, 300, 4), "as bm_1 was, but for what is said"
