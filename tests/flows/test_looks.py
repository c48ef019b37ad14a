"""Looks of a sequential comparison: after each round, until it is decided; what is left is skipped, with the reason."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

import flows.benchmark_matrix
import tasks.benchmark
import tasks.looks
from flows.benchmark_matrix import BenchmarkMatrixRequest, benchmark_matrix
from flows.money_hud import ComparisonRules
from pointsman.benchmark import cell_counts, finish_matrix
from pointsman.decision import VerdictPlan, audit, verdicts_of
from pointsman.errors import InputRefused
from pointsman.quality import ChosenJudge, JudgeUnavailable, TrustPolicy, evaluation_set
from pointsman.storage import tables
from tests.decision.comparisons import Cell, plan
from tests.decision.judged import BENCHMARK, JUDGE, SET_ID, Judged
from tests.few_inputs import variant


class Heard:
    """A judge that has judged everything before, or is away."""

    identity = JUDGE
    billed_skus = ()


def open_by_tasks(made: Judged, monkeypatch: pytest.MonkeyPatch, **judge: Any) -> None:
    """Let the tasks open this state and a judge that has judged all of it."""
    for name in ("tasks.looks", "tasks.benchmark"):
        monkeypatch.setattr(f"{name}.open_workspace", lambda: made.ws)
    monkeypatch.setattr("tasks.looks.open_price_book", lambda name: made.book)
    chosen = ChosenJudge(Heard(), "of this test", None, TrustPolicy(), **judge)  # type: ignore[arg-type]
    monkeypatch.setattr(
        "tasks.looks.open_judge",
        lambda name: SimpleNamespace(at_once=lambda: SimpleNamespace(build=lambda settings, price: chosen)),
    )
    monkeypatch.setattr("tasks.looks.get_run_logger", lambda: logging.getLogger("looks"))


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judged:
    done = 0

    def status(cell: Cell) -> tuple[str, str | None]:
        return ("completed", None) if places.get(cell[1], 0) < done else ("pending", None)

    places: dict[int, int] = {}
    made = Judged(tmp_path, inputs=12, rules={"sequential": True}, status=status)
    places.update({int(planned.input_id[-3:]): at for at, planned in enumerate(made.plan.inputs)})
    open_by_tasks(made, monkeypatch)

    def go_on(number: int) -> None:
        nonlocal done
        done = number
        made.go_on()

    made.until = go_on  # type: ignore[attr-defined]
    return made


def test_every_rule_of_a_request_is_declared_in_the_plan_and_means_the_same_when_nothing_is_said() -> None:
    rules = ComparisonRules().model_dump()
    assert plan(**rules) == plan()
    given = ComparisonRules(
        scores={"ssim": 0.01}, refusal_margin=0.1, p95_limit_ms=5000, peak_per_s=2, alpha_per_year=0.2, sequential=True
    )
    declared = plan(**given.model_dump())
    assert declared.order == ("success", "refusals", "quality", "ssim", "latency", "capacity", "cost")
    assert VerdictPlan.from_document(json.loads(declared.canonical())) == declared


def states(judged: Judged) -> dict[str, int]:
    items = tables.benchmark_matrix_run_items
    with judged.ws.database.connect() as connection:
        counted = sa.select(items.c.status, sa.func.count()).group_by(items.c.status)
        return {row.status: int(row[1]) for row in connection.execute(counted)}


def look() -> bool:
    return tasks.looks.look.fn(BENCHMARK, "auto", "default")


def test_a_look_that_decides_skips_what_was_not_begun_and_says_why(judged: Any) -> None:
    judged.until(6)
    assert look() is False
    assert states(judged) == {"completed": 18, "pending": 18}
    judged.ws.clock.sleep(60)
    judged.until(9)
    assert look() is True
    assert states(judged) == {"completed": 27, "skipped": 9}
    (newest, *_) = verdicts_of(judged.ws, BENCHMARK)
    items = tables.benchmark_matrix_run_items
    with judged.ws.database.connect() as connection:
        reasons = set(connection.execute(sa.select(items.c.reason).where(items.c.status == "skipped")).scalars())
    assert reasons == {f"skipped: decided at a look, WINNER by {newest.id}"}
    assert judged.conclude() == newest, "the last verdict is the one of the look that decided"
    audit(judged.ws, newest.id).raise_unless_agreed()


def test_a_judge_that_is_away_decides_nothing(judged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise JudgeUnavailable("It does not answer.")

    judged.until(9)
    monkeypatch.setattr("pointsman.quality.judge_chunk", away)
    assert look() is False
    assert states(judged) == {"completed": 27, "pending": 9}


@pytest.mark.parametrize(("look_with", "rounds"), [("auto", [0, 1]), (None, [0, 1, 2])])
def test_a_matrix_looks_after_each_round_and_ends_where_it_is_decided(
    monkeypatch: pytest.MonkeyPatch, look_with: str | None, rounds: list[int]
) -> None:
    run: list[int] = []
    calls: dict[str, Any] = dict.fromkeys(
        (
            "check_month",
            "plan_matrix",
            "check_run_items",
            "collect_matrix",
            "record_spending",
            "report_matrix",
            "once_agreed",
            "require_looks",
        ),
        lambda *_, **__: None,
    )
    calls |= {"runs_elsewhere": lambda: False, "unfinished_rounds": lambda bm_id: [0, 1, 2]}
    calls |= {"run_round": lambda bm_id, number: run.append(number), "look": lambda *_: len(run) == 2}
    for name, call in calls.items():
        monkeypatch.setattr(flows.benchmark_matrix, name, call)
    benchmark_matrix.fn(
        BenchmarkMatrixRequest(variants=(variant("x"),), input_set="clips", run_id="r", look_with=look_with)
    )
    assert run == rounds


def test_looks_that_could_decide_nothing_are_refused_before_anything_is_sent(
    judged: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.looks.require_looks.fn(BENCHMARK, "auto", "default")
    with pytest.raises(InputRefused, match="look_with: 'gemini'") as refused:
        tasks.looks.require_looks.fn("bm_other", "auto", "default")
    assert "choose-route" in refused.value.instruction
    (tmp_path / "fixed").mkdir()
    open_by_tasks(Judged(tmp_path / "fixed"), monkeypatch)
    with pytest.raises(InputRefused, match="a sequential plan was declared"):
        tasks.looks.require_looks.fn(BENCHMARK, "auto", "default")
    called: list[str] = []
    monkeypatch.setattr(flows.benchmark_matrix, "require_looks", tasks.looks.require_looks.fn)
    monkeypatch.setattr(flows.benchmark_matrix, "once_agreed", lambda *_: called.append("sent"))
    with pytest.raises(InputRefused):
        benchmark_matrix.fn(
            BenchmarkMatrixRequest(variants=(variant("x"),), input_set="clips", run_id="r", look_with="auto")
        )
    assert called == []


def test_a_judge_that_compares_is_shown_the_incumbents_outputs_at_a_look_too(
    judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with judged.ws.database.begin() as connection:
        connection.execute(sa.delete(tables.quality_evaluations))
        connection.execute(sa.delete(tables.evaluation_sets))
    open_by_tasks(judged, monkeypatch, compares=True)
    assert look() is False
    assert evaluation_set(judged.ws, SET_ID).reference == str(judged.ways[0])


class Elsewhere:
    """Tasks elsewhere that do their rounds at once, but for the first, which is done when `late` others were begun."""

    def __init__(self, made: Judged, done: set[int], late: int) -> None:
        self.made, self.done, self.late = made, done, late
        self.began: list[int] = []

    def launch(self, flow: str, request: Any, *, key: str) -> str:
        self.began.append(request["first_round"])
        if request["first_round"] > 0:
            self._do(request["first_round"])
        return str(request["first_round"])

    def ended(self, run: str) -> str | None:
        if run == "0":
            if len(self.began) <= self.late:
                return None
            self._do(0)
        return "Completed"

    def task(self, run: str) -> str | None:
        return None

    def _do(self, number: int) -> None:
        self.done.add(number)
        self.made.go_on()


@pytest.mark.parametrize("looks", [True, False])
def test_where_tasks_elsewhere_run_it_looks_see_what_is_complete_from_the_start_on_and_start_no_more_once_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: bool
) -> None:
    done: set[int] = set()
    rounds: dict[int, int] = {}

    def status(cell: Cell) -> tuple[str, str | None]:
        return ("completed", None) if rounds.get(cell[1]) in done else ("pending", None)

    made = Judged(tmp_path, inputs=14, rules={"sequential": True}, status=status, round_cells=3)
    rounds.update({int(planned.input_id[-3:]): at for at, planned in enumerate(made.plan.inputs)})
    open_by_tasks(made, monkeypatch)
    elsewhere = Elsewhere(made, done, late=7)
    monkeypatch.setattr("tasks.benchmark.chunk_runs", lambda bm_id: elsewhere)
    seen: list[tuple[int, bool]] = []

    def noted(*asked: str) -> bool:
        before = len(done)
        seen.append((before if 0 in done else 0, tasks.looks.look.fn(*asked)))
        return seen[-1][1]

    monkeypatch.setattr("tasks.benchmark.look", noted)
    tasks.benchmark.run_chunks.fn(
        BENCHMARK,
        "default",
        None,
        limited=False,
        look_with="auto" if looks else None,
        fall_back_inline=False,
    )
    finish_matrix(made.ws, BENCHMARK)
    if not looks:
        assert (len(elsewhere.began), seen) == (14, [])
        return
    assert [complete for complete, decided in seen if not decided][:6] == [0] * 6, "the first round was not over"
    assert seen[-1][1]
    begun = len(elsewhere.began)
    assert begun < 14
    assert cell_counts(made.ws, BENCHMARK) == {"completed": 3 * begun, "skipped": 3 * (14 - begun)}
    assert made.conclude().outcome == "WINNER"
    with made.ws.database.connect() as connection:
        chunks = connection.execute(sa.select(sa.func.count()).select_from(tables.benchmark_chunks)).scalar()
    assert chunks == begun, "what was left without work was not even begun"
