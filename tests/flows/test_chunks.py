"""Where a matrix and its judging are done: within the flow run, or by runs of small flows on a work pool."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.states import Cancelled

import tasks.benchmark
from flows import benchmark_matrix, evaluate_quality, judge_chunk, run_matrix_chunk
from flows.choose_route import choose_route
from flows.propose_routing import propose_routing
from flows.watch_routing import watch_routing
from pointsman.benchmark import Turn
from pointsman.errors import GuardRefused, InputRefused
from pointsman.ids import benchmark_id
from pointsman.model import VariantLimits
from pointsman.safety import Consent
from tasks import cancelling, chunks
from tasks.chunks import chunk_runs, runs_elsewhere

Called = list[tuple[str, tuple[Any, ...]]]


def watch(monkeypatch: pytest.MonkeyPatch, module: Any, answers: dict[str, Any]) -> Called:
    """Put something in the place of each step that a flow names, which notes the call and gives the answer."""
    called: Called = []

    def step(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **_: Any) -> Any:
            called.append((name, arguments))
            return answers[name]

        return call

    for name in answers:
        monkeypatch.setattr(module, name, step(name))
    return called


@pytest.mark.parametrize(
    ("elsewhere", "left", "steps"),
    [
        (False, [0, 1], [("run_round", ("bm", 0)), ("run_round", ("bm", 1))]),
        (True, [], [("run_chunks", ("bm", "default", 5.0))]),
    ],
)
def test_a_matrix_is_run_by_rounds_here_or_by_chunks_elsewhere(
    monkeypatch: pytest.MonkeyPatch, elsewhere: bool, left: list[int], steps: Called
) -> None:
    names = ("check_month", "plan_matrix", "run_chunks", "run_round", "check_budget", "check_run_items")
    others = ("collect_matrix", "record_spending", "report_matrix", "once_agreed")
    answers = {**dict.fromkeys((*names, *others)), "runs_elsewhere": elsewhere, "unfinished_rounds": left}
    called = watch(monkeypatch, benchmark_matrix, {**answers, "benchmark_id": "bm"})
    request = benchmark_matrix.BenchmarkMatrixRequest(variants=("v",), input_set="some", run_id="run1", budget_usd=5)
    assert benchmark_matrix.benchmark_matrix.fn(request) == "bm"
    assert [one for one in called if one[0] in ("run_chunks", "run_round")] == steps


def test_a_matrix_that_is_stopped_counts_for_its_month_too(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("check_month", "plan_matrix", "run_round", "check_budget", "record_spending", "once_agreed")
    answers = {**dict.fromkeys(names), "runs_elsewhere": False, "unfinished_rounds": [0, 1], "benchmark_id": "bm"}
    called = watch(monkeypatch, benchmark_matrix, answers)

    def stopped(*_: Any) -> None:
        raise GuardRefused("Spent 6 USD of a budget of 5 USD.", code="budget_exceeded")

    monkeypatch.setattr(benchmark_matrix, "check_budget", stopped)
    request = benchmark_matrix.BenchmarkMatrixRequest(variants=("v",), input_set="some", run_id="run1", budget_usd=5)
    with pytest.raises(GuardRefused, match="Spent 6 USD"):
        benchmark_matrix.benchmark_matrix.fn(request)
    assert called[-1] == ("record_spending", ("bm", "default"))


def test_a_limit_that_is_set_while_a_matrix_runs_is_held_from_its_next_round_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("check_month", "check_budget", "check_run_items", "collect_matrix", "record_spending", "report_matrix")
    answers = {**dict.fromkeys((*names, "once_agreed")), "plan_matrix": False, "runs_elsewhere": False}
    called = watch(monkeypatch, benchmark_matrix, {**answers, "unfinished_rounds": [0, 1, 2], "benchmark_id": "bm"})
    limit: dict[str, VariantLimits] = {}

    def run_round(ws: Any, bm_id: str, number: int, **_: Any) -> None:
        called.append(("round", (number,)))
        limit["usd"] = VariantLimits(usd=Decimal(1) if number else None)

    monkeypatch.setattr(tasks.benchmark, "open_workspace", lambda: None)
    monkeypatch.setattr(tasks.benchmark, "executor_secret", lambda: None)
    monkeypatch.setattr(tasks.benchmark.benchmark, "run_round", run_round)
    monkeypatch.setattr(
        tasks.benchmark.benchmark,
        "matrix_run",
        lambda *_: SimpleNamespace(variants=[SimpleNamespace(limits=limit["usd"])]),
    )
    monkeypatch.setattr(benchmark_matrix, "run_round", tasks.benchmark.run_round.fn)
    request = benchmark_matrix.BenchmarkMatrixRequest(variants=("v",), input_set="some", run_id="run1")
    assert benchmark_matrix.benchmark_matrix.fn(request) == "bm"
    steps = [name for name, _ in called if name in ("round", "check_budget")]
    assert steps == ["round", "round", "check_budget", "round", "check_budget"]


@pytest.mark.parametrize(
    ("elsewhere", "batches", "left", "steps"),
    [
        (False, False, [["a", "b"], ["c"]], ["judge_chunk", "judge_chunk"]),
        (True, False, [], ["judge_elsewhere"]),
        # No machine is paid to wait, and everything goes together.
        (True, True, [["a", "b", "c"]], ["judge_chunk"]),
    ],
)
def test_outputs_are_judged_here_or_elsewhere(
    monkeypatch: pytest.MonkeyPatch, elsewhere: bool, batches: bool, left: list[list[str]], steps: list[str]
) -> None:
    answers = {
        "runs_elsewhere": elsewhere,
        "sends_batches": batches,
        "judge_elsewhere": None,
        "judge_chunk": None,
        "pending_chunks": left,
    }
    called = watch(monkeypatch, evaluate_quality, answers)
    request = evaluate_quality.EvaluateQualityRequest(benchmark_id="bm_1", judge="local", chunk_size=2)
    evaluate_quality.judge_all("set", "local", request)
    assert [name for name, _ in called if name.startswith("judge")] == steps
    assert ("judge_elsewhere", ("set", "local", "default", 2)) in called or not elsewhere or batches
    assert ("pending_chunks", ("set", None if batches else 2)) in called


def test_a_chunk_of_a_matrix_works_as_its_turn_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Turn] = []

    def as_turn(turn: Turn) -> AbstractContextManager[None]:
        taken.append(turn)
        return nullcontext()

    called = watch(monkeypatch, run_matrix_chunk, {"run_round_of_chunk": None})
    monkeypatch.setattr(run_matrix_chunk, "as_turn", as_turn)
    request = run_matrix_chunk.RunMatrixChunkRequest(
        benchmark_id="bm_1", first_round=2, last_round=3, turn=2, at_once=4
    )
    run_matrix_chunk.run_matrix_chunk.fn(request)
    assert taken == [Turn("bm_1-rounds-2-3", 2)]
    assert [arguments for _, arguments in called] == [("bm_1", number, taken[0], 4) for number in (2, 3)]


def test_a_chunk_looks_at_what_was_spent_before_each_round_where_that_is_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called = watch(monkeypatch, run_matrix_chunk, {"run_round_of_chunk": None, "check_budget": None})
    monkeypatch.setattr(run_matrix_chunk, "as_turn", lambda turn: nullcontext())
    asked: dict[str, Any] = {}

    def ask(*_: Any, spending: dict[str, Any] | None, **__: Any) -> None:
        asked.update(spending or {})

    monkeypatch.setattr(tasks.benchmark, "open_workspace", lambda: None)
    monkeypatch.setattr(tasks.benchmark, "chunk_runs", lambda bm_id: None)
    monkeypatch.setattr(tasks.benchmark.benchmark, "in_place_instead", lambda *_, **__: nullcontext())
    monkeypatch.setattr(tasks.benchmark.benchmark, "run_matrix_elsewhere", ask)
    for limited, budget, looks in ((False, None, 0), (True, None, 2), (False, 5.0, 2)):
        asked.clear()
        called.clear()
        tasks.benchmark.run_chunks.fn("bm_1", "mine", budget, limited=limited, look_with=None, fall_back_inline=False)
        request = run_matrix_chunk.RunMatrixChunkRequest(benchmark_id="bm_1", first_round=0, last_round=1, **asked)
        run_matrix_chunk.run_matrix_chunk.fn(request)
        assert [one for one in called if one[0] == "check_budget"] == [
            ("check_budget", ("bm_1", "mine", budget))
        ] * looks
        assert called[0][0] == ("check_budget" if looks else "run_round_of_chunk")


def test_a_chunk_of_judgements_works_as_its_turn_on_what_is_pending_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Turn] = []

    def as_turn(turn: Turn) -> AbstractContextManager[None]:
        taken.append(turn)
        return nullcontext()

    called = watch(monkeypatch, judge_chunk.quality, {"judge_chunk": None, "outputs_of_chunk": ["a", "b"]})
    monkeypatch.setattr(judge_chunk, "as_turn", as_turn)
    request = judge_chunk.JudgeChunkRequest(evaluation_set_id="set", chunk=1, chunk_size=2, judge="local", turn=3)
    judge_chunk.judge_chunk.fn(request)
    assert taken == [Turn("set-2-1", 3)]
    assert called == [("outputs_of_chunk", ("set", 2, 1)), ("judge_chunk", ("set", "local", "default", ["a", "b"]))]


def test_no_set_is_closed_before_its_judge_was_held_against_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ("open_evaluation_set", "judge_all", "look_again")
    last = ("assess_trust", "close_evaluation_set", "check_evaluations", "mark_benchmark_ready", "report_trust")
    called = watch(monkeypatch, evaluate_quality, dict.fromkeys((*first, *last)))
    evaluate_quality.evaluate_quality.fn(evaluate_quality.EvaluateQualityRequest(benchmark_id="bm_1"))
    assert [name for name, _ in called] == [*first, *last]


def test_nothing_is_started_elsewhere_while_state_lies_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    assert not runs_elsewhere()
    monkeypatch.setenv("STUDIO_LOAD_TEST_RUNNER_MODE", "ecs")
    assert runs_elsewhere()
    with pytest.raises(InputRefused) as refused:
        chunk_runs("bm_1")
    assert refused.value.code == "not_shared"
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("POINTSMAN_RESULTS_URI", "s3://results")
    consent = Consent("ap_0123456789ab", "prod", 2, Decimal(10), ("effects-5xx",))
    matrices = {"bm_1": SimpleNamespace(consent=None), "bm_2": SimpleNamespace(consent=consent)}
    monkeypatch.setattr(chunks, "open_workspace", lambda: None)
    monkeypatch.setattr(chunks.benchmark, "matrix_run", lambda _, bm_id: matrices[bm_id])
    assert vars(chunk_runs("bm_1"))["_labels"] == {}
    assert vars(chunk_runs("bm_2"))["_labels"] == {"Approval": "ap_0123456789ab"}, "AWS starts none without it"


@pytest.mark.parametrize(
    ("request_", "benchmark"),
    [
        ({"benchmark_id": "bm_1"}, "bm_1"),
        ({"of_run": "matrix-1", "run_id": None}, benchmark_id("matrix-1")),
        ({"run_id": "run-1"}, benchmark_id("run-1")),
        ({"run_id": None}, benchmark_id("flow-run-1")),
    ],
)
def test_cancelling_whoever_waits_for_a_batch_ends_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request_: dict[str, Any], benchmark: str
) -> None:
    ended: list[str] = []
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    monkeypatch.setattr(cancelling, "cancel_batches", lambda ws, bm_id, settings: ended.append(bm_id))
    run = SimpleNamespace(id="flow-run-1", parameters={"request": request_})
    judging = (evaluate_quality.evaluate_quality, choose_route, propose_routing, watch_routing)
    assert all(cancelling.cancel_judging in (flow.on_cancellation_hooks or []) for flow in judging)
    cancelling.cancel_judging(judging[0], run, Cancelled())  # type: ignore[arg-type]
    assert ended == [benchmark]
