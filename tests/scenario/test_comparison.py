"""Two runs side by side: what is called a regression, what is refused, and what is said to differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.io.plugins import register_io_source

from pointsman.errors import InputRefused, NotFound
from pointsman.ids import VariantId
from pointsman.model import Missing, Variant
from pointsman.reporting import to_html, to_markdown
from pointsman.scenario import (
    Comparison,
    Scenario,
    Stage,
    cancel_run,
    compare_runs,
    comparison_document,
    comparison_report,
)
from pointsman.scenario.comparison import compare_ledgers, describe
from pointsman.workspace import Workspace
from tests.scenario.drawn import drawn_ledger
from tests.scenario.fake_engine import plan
from tests.scenario.ledgers import ended_run

SCENARIO = Scenario(name="steady", stages=(Stage(name="steady", rate=50, duration_s=60),))
N = 3_000
OTHER = Variant(VariantId.parse("er:e1:wf:slow:env:lab:stage:demo:provider:cpu:exp:base"), "lab")


def took(seed: int, times: float = 1.0) -> Any:
    return times * np.random.default_rng(seed).lognormal(6, 0.5, N)


def run(ws: Workspace, run_id: str, seed: int, *, times: float = 1.0, **more: Any) -> None:
    usual = {"took_ms": took(seed, times), "state": np.full(N, "completed")}
    ended_run(ws, more.pop("scenario", SCENARIO), run_id=run_id, **{**usual, **more})


def calls(found: Comparison) -> dict[str, str]:
    return {figure.name: figure.call for figure in found.figures}


def test_a_slower_run_is_a_regression_of_each_percentile_and_the_other_way_round_an_improvement(ws: Workspace) -> None:
    run(ws, "before", 1)
    run(ws, "after", 2, times=2)
    found = compare_runs(ws, "before", "after")
    assert calls(found) == {
        **dict.fromkeys(("p50", "p95", "p99"), "regression"),
        **dict.fromkeys(("failure rate", "sent of planned"), "same"),
    }
    p50 = found.figures[0]
    assert not isinstance(p50.change, Missing)
    assert p50.change.low > 0.8
    assert p50.change.value == pytest.approx(1, abs=0.1)
    back = compare_runs(ws, "after", "before")
    assert back.regressed == []
    assert calls(back)["p95"] == "improvement"
    assert found.differs == []


def test_runs_that_are_alike_have_no_regression(ws: Workspace) -> None:
    run(ws, "before", 1)
    run(ws, "after", 2)
    found = compare_runs(ws, "before", "after")
    assert found.regressed == []
    assert set(calls(found).values()) <= {"same", "not shown"}
    assert comparison_document(found)["verdict"].startswith("No regression is shown.")


def test_failures_and_dropped_dispatches_are_regressions_too(ws: Workspace) -> None:
    rng = np.random.default_rng(5)
    run(ws, "before", 1)
    run(ws, "failing", 2, state=np.where(rng.random(N) < 0.05, "failed", "completed"))
    run(ws, "dropping", 3, state=np.where(rng.random(N) < 0.05, "dropped", "completed"))
    assert compare_runs(ws, "before", "failing").regressed == ["failure rate"]
    assert compare_runs(ws, "before", "dropping").regressed == ["sent of planned"]


def test_one_bad_minute_is_not_taken_for_a_slower_run() -> None:
    rng = np.random.default_rng(9)
    one, other = (drawn_ledger(rng, N, memory=5) for _ in range(2))
    bad = other["seq"].is_between(1_000, 1_200)
    other = other.with_columns(total_ms=other["total_ms"] * np.where(bad, 4.0, 1.0))
    found = compare_ledgers(describe(one.lazy()), describe(other.lazy()))
    assert {figure.call for figure in found} <= {"same", "not shown"}


def test_a_ledger_is_read_once_in_any_order_and_only_its_columns_that_count() -> None:
    rows = drawn_ledger(np.random.default_rng(4), 3_000, memory=2).with_columns(dispatch_id=pl.lit("unread"))
    read: list[list[str]] = []

    def source(columns: list[str] | None, *_: Any) -> Iterator[pl.DataFrame]:
        read.append(sorted(columns or rows.columns))
        yield rows.reverse().select(columns or rows.columns)

    shuffled = register_io_source(source, schema=rows.schema)
    found, expected = describe(shuffled), describe(rows.lazy())
    assert read == [["seq", "state", "total_ms"]]
    assert (found.completed, found.whole) == (expected.completed, expected.whole)
    assert {name: list(part) for name, part in found.batches.items()} == {
        name: list(part) for name, part in expected.batches.items()
    }


def test_too_few_dispatches_leave_a_percentile_out_and_say_how_many_it_takes() -> None:
    rng = np.random.default_rng(4)
    few, none = (describe(drawn_ledger(rng, n, memory=2).lazy()) for n in (600, 8))
    found = {figure.name: figure for figure in compare_ledgers(few, few)}
    assert found["p95"].call == "same"
    assert "needs 2400 completed dispatches" in str(found["p99"].change)
    assert isinstance(found["p99"].first, float)
    assert {figure.call for figure in compare_ledgers(few, none)} == {"not shown"}


def test_warm_up_stages_do_not_count(ws: Workspace) -> None:
    stages = (Stage(name="warm", rate=50, duration_s=20, warm_up=True), Stage(name="steady", rate=50, duration_s=40))
    warmed = Scenario(name="warmed", stages=stages)
    slow_start = np.where(np.arange(N) < 1_000, 3.0, 1.0)
    run(ws, "before", 1, scenario=warmed)
    run(ws, "after", 2, scenario=warmed, took_ms=took(2) * slow_start)
    assert compare_runs(ws, "before", "after").regressed == []


def test_what_else_differs_is_said(ws: Workspace) -> None:
    tolerant = Scenario(**{**SCENARIO.model_dump(), "name": "tolerant", "drain_limit_s": 5})
    run(ws, "before", 1)
    gap = {"after_s": 1.0, "resumed_s": 2.0, "first_seq": 3, "unsettled": 0}
    run(ws, "after", 2, scenario=tolerant, variant=OTHER, metrics={"interruptions": [gap]})
    said = "\n".join(compare_runs(ws, "before", "after").differs)
    assert f"variant: er:e1:wf:fast:env:lab:stage:demo:provider:cpu:exp:base and {OTHER.id}" in said
    assert "scenario, drain_limit_s: 60.0 and 5.0" in said
    assert "run after was interrupted 1 times" in said


def test_comparisons_that_mean_nothing_are_refused(ws: Workspace) -> None:
    run(ws, "before", 1)
    with pytest.raises(InputRefused, match="another run"):
        compare_runs(ws, "before", "before")
    with pytest.raises(NotFound):
        compare_runs(ws, "before", "absent")
    plan(ws, "cancelled", scenario=SCENARIO)
    cancel_run(ws, "cancelled", reason="enough")
    with pytest.raises(InputRefused, match="a completed run"):
        compare_runs(ws, "before", "cancelled")
    faster = Scenario(name="faster", stages=(Stage(name="steady", rate=60, duration_s=50),))
    run(ws, "other", 2, scenario=faster)
    with pytest.raises(InputRefused, match=r"stages\.0\.rate.*50.*60"):
        compare_runs(ws, "before", "other")
    longer = Scenario(name="longer", stages=(*SCENARIO.stages, Stage(name="more", kind="hold", duration_s=1)))
    run(ws, "long", 2, scenario=longer, took_ms=took(2)[0], state="completed")
    with pytest.raises(InputRefused, match="number of stages"):
        compare_runs(ws, "before", "long")


def test_a_comparison_is_shown_to_people_and_programs_with_its_method(ws: Workspace) -> None:
    run(ws, "before", 1)
    run(ws, "after", 2, times=1.5, state=np.full(N, "failed"))
    found = compare_runs(ws, "before", "after")
    document = comparison_document(found)
    assert document["regressed"] == ["failure rate"]
    p50 = next(figure for figure in document["figures"] if figure["name"] == "p50")
    assert p50["second"] is None
    assert p50["missing"]["second"] == "no dispatch completed"
    text = to_markdown(comparison_report(found))
    assert "Regression of failure rate." in text
    assert "Nothing but the time of the run." in text
    assert "Schmeiser 1982" in text
    assert "not measured (no dispatch completed)" in to_html([comparison_report(found)], "Two runs compared")
