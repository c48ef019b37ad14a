"""What a person and the HUD see of a run: live, after its end, and of several runs together."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from pointsman.errors import DependencyDown, NotFound
from pointsman.ids import VariantId
from pointsman.model import Missing, Variant
from pointsman.reporting import Chart, Table, to_html, to_markdown
from pointsman.scenario import (
    LoadFigures,
    Scenario,
    Stage,
    cancel_run,
    execute_run,
    give_up_run,
    load_figures,
    p95_under_load,
    run_status,
    scenario_report,
)
from pointsman.scenario.record import advance
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import PLANNED, VARIANT, FakeEngine, plan
from tests.scenario.ledgers import ended_run

CONTRACT_KEYS = {"status", "counts", "p95", "lateness", "stages", "fault_events", "runner", "cost"}
TERMS = {
    *("planned", "still_planned", "dropped", "cancelled_unsent", "sent"),
    *("awaiting_ack", "submitted", "queued", "leased", "completed", "failed", "cancelled_sent", "unknown"),
}
OTHER = Variant(VariantId.parse("er:e1:wf:slow:env:lab:stage:demo:provider:cpu:exp:base"), "lab")


def execute(ws: Workspace, run_id: str = "run1") -> None:
    execute_run(ws, run_id, secret=None, cancelled=lambda: False)


def test_the_status_has_the_form_of_contracts_before_while_and_after_a_run(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    found: list[dict[str, Any]] = [run_status(ws, "run1")]
    engine.at_second = lambda second: found.append(run_status(ws, "run1"))
    execute(ws)
    found.append(run_status(ws, "run1"))
    for status in found:
        assert set(status) >= CONTRACT_KEYS
        counts = status["counts"]
        assert set(counts) == TERMS
        assert counts["planned"] == PLANNED
        assert counts["planned"] == sum(
            counts[term] for term in ("still_planned", "dropped", "cancelled_unsent", "sent")
        )
        assert status["fault_events"] == []
        assert status["runner"]["mode"] == "inline"
        assert [(stage["name"], stage["planned"]) for stage in status["stages"]] == [("up", 4), ("hold", 12)]
    assert [status["status"] for status in found] == ["created", "starting", *["running"] * 4, "completed"]
    assert [status["counts"]["sent"] for status in found] == [0, 0, 1, 4, 8, 12, 16]


def test_what_is_not_known_yet_is_null_with_a_reason(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    status = run_status(ws, "run1")
    assert status["p95"]["total_ms"] is None
    assert status["p95"]["missing"]["total_ms"] == "no dispatch has completed with a known time yet"
    assert status["stages"][0]["sent"] == 0
    assert status["stages"][0]["achieved_rate"] is None
    assert status["stages"][0]["missing"]["achieved_rate"] == "the stage has not begun"
    assert status["stages"][0]["missing"]["p95_ms"]
    assert status["cost"]["usd"] is None
    assert status["cost"]["missing"]["usd"]


def test_live_percentiles_come_from_the_drive(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    engine.lose_target_in = {3}
    with pytest.raises(DependencyDown):
        execute(ws)
    assert run_status(ws, "run1")["p95"]["total_ms"] == pytest.approx(90, rel=0.01)


def test_the_report_shows_stages_counts_and_latency_over_time(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    execute(ws)
    report = scenario_report(ws, "run1")
    assert report.title == "Load: fast@cpu"
    assert "16 of 16 dispatches completed, p95 95 ms" in report.summary
    stages = next(section for section in report.sections if isinstance(section, Table) and section.title == "Stages")
    assert stages.columns[0] == "stage"
    assert [row[:4] for row in stages.rows] == [["up", 4, 4, 4], ["hold", 12, 12, 12]]
    assert any(isinstance(section, Chart) and "<svg" in section.svg for section in report.sections)
    assert len(to_markdown(report)) < 200_000
    assert "Latency over time" in to_html([report], title="Runs")


def test_the_report_of_an_interrupted_run_itemises_the_gap(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    engine.lose_target_in = {2}
    with pytest.raises(DependencyDown):
        execute(ws)
    execute(ws)
    tables = [section for section in scenario_report(ws, "run1").sections if isinstance(section, Table)]
    gaps = next(table for table in tables if table.title == "Interruptions")
    assert gaps.rows == [[0, 2.0, 9.0, 0, 0]]


def test_the_report_of_a_run_that_did_nothing_says_not_measured_and_why(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    before = scenario_report(ws, "run1")
    cancel_run(ws, "run1", reason="wrong *seed*")
    report = scenario_report(ws, "run1")
    assert "Run created: 0 of 16" in before.summary
    assert r"Stopped by tester" in report.summary
    assert r"wrong \*seed\*" in report.summary
    text = to_markdown(report)
    assert "| from the planned time (corrected) | 0 | not measured (nothing of the kind happened)" in text
    assert "| dispatches left on time | – not measured |" in text
    assert "its ledger is closed when it ends" in to_markdown(before)
    assert "Nothing was sent" in text
    assert "Nothing completed" in text


def test_a_run_that_was_refused_before_it_began_is_called_so_and_has_no_figures(ws: Workspace) -> None:
    plan(ws)
    assert not run_status(ws, "run1")["refused"]
    failure = {"code": "production_refused", "message": "It breaks a rule.", "instruction": "Look."}
    advance(ws, "run1", "failed", reason="a test", metrics={"failure": failure})
    assert run_status(ws, "run1")["refused"]
    report = scenario_report(ws, "run1")
    assert report.summary == "Refused; nothing was sent. It breaks a rule. Look."
    assert len(report.sections) == 1
    assert "dispatches completed" not in to_markdown(report)


def test_the_report_of_a_failed_run_says_why_and_what_to_do(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    engine.drop_row = 2
    execute(ws)
    summary = scenario_report(ws, "run1").summary
    assert "Run failed" in summary
    assert "do not add up" in summary
    assert "under a new run id" in summary


def test_load_figures_are_by_variant_over_all_its_runs(ws: Workspace, engine: FakeEngine) -> None:
    for run_id, variant in (("a", VARIANT), ("b", VARIANT), ("c", OTHER)):
        plan(ws, run_id=run_id, variant=variant)
        execute(ws, run_id)
    assert p95_under_load(ws, ["a", "b", "c"]) == {VARIANT.id: Decimal("95.0"), OTHER.id: Decimal("95.0")}
    assert load_figures(ws, ["a"])[VARIANT.id] == LoadFigures(Decimal("95.0"), Decimal(1), Decimal("95.0"))


def test_warm_up_counts_neither_for_the_hud_nor_in_the_times_of_the_report(ws: Workspace) -> None:
    stages = (Stage(name="cold", rate=10, duration_s=10, warm_up=True), Stage(name="warm", rate=10, duration_s=10))
    took_ms = np.repeat([9_000.0, 50.0], 100)
    state = np.repeat(["failed", "completed"], [50, 150])
    ended_run(
        ws, Scenario(name="s", stages=stages), took_ms=took_ms, state=state, lateness_ns=np.zeros(200, dtype=np.int64)
    )
    assert load_figures(ws, ["run1"])[VARIANT.id] == LoadFigures(Decimal("50.0"), Decimal(1), Decimal("50.0"))
    assert run_status(ws, "run1")["p95"]["total_ms"] == 50.0
    times = next(
        one for one in scenario_report(ws, "run1").sections if isinstance(one, Table) and "warm-up" in one.title
    )
    assert times.rows[0][1] == 100


def test_a_variant_whose_run_did_not_complete_has_no_figures_and_says_why(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws, run_id="a")
    execute(ws, "a")
    plan(ws, run_id="b")
    give_up_run(ws, "b")
    assert p95_under_load(ws, ["a", "b"]) == {VARIANT.id: Missing("load-test run b is failed")}
    with pytest.raises(NotFound):
        p95_under_load(ws, ["absent"])


def test_dispatches_that_failed_lower_the_share_and_leave_the_p95_unknown_when_none_completed(
    ws: Workspace, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(ws)
    execute(ws)
    real = engine.scan_dispatches

    def all_failed(folder: Any) -> Any:
        return real(folder).with_columns(state=pl.col("state").str.replace("completed", "failed"))

    monkeypatch.setattr("pointsman.scenario.ledger.scan_dispatches", all_failed)
    found = load_figures(ws, ["run1"])[VARIANT.id]
    unknown = Missing("only 0 of 16 dispatches completed under load")
    assert found == LoadFigures(Missing("no dispatch completed under load"), Decimal(0), unknown)
