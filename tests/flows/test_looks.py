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
import tasks.looks
from flows.benchmark_matrix import BenchmarkMatrixRequest, benchmark_matrix
from flows.money_hud import ComparisonRules
from pointsman.decision import VerdictPlan, audit, verdicts_of
from pointsman.quality import ChosenJudge, JudgeUnavailable, TrustPolicy
from pointsman.storage import tables
from tests.decision.comparisons import Cell, plan
from tests.decision.judged import BENCHMARK, JUDGE, Judged
from tests.few_inputs import variant


class Heard:
    """A judge that has judged everything before, or is away."""

    identity = JUDGE
    billed_skus = ()


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judged:
    done = 0

    def status(cell: Cell) -> tuple[str, str | None]:
        return ("completed", None) if places.get(cell[1], 0) < done else ("pending", None)

    places: dict[int, int] = {}
    made = Judged(tmp_path, inputs=12, rules={"sequential": True}, status=status)
    places.update({int(planned.input_id[-3:]): at for at, planned in enumerate(made.plan.inputs)})
    monkeypatch.setattr("tasks.looks.open_workspace", lambda: made.ws)
    monkeypatch.setattr("tasks.looks.open_price_book", lambda name: made.book)
    spec = SimpleNamespace(build=lambda settings, price: ChosenJudge(Heard(), "of this test", None, TrustPolicy()))
    monkeypatch.setattr("tasks.looks.open_judge", lambda name: spec)
    monkeypatch.setattr("tasks.looks.get_run_logger", lambda: logging.getLogger("looks"))

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
