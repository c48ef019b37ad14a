"""Runs from start to end: states, interruption, cancelling, giving up, and books that do not add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import Conflict, DataCheckFailed, DependencyDown, InputRefused, NotFound, RunFailed
from pointsman.scenario import (
    RunOutcome,
    cancel_run,
    execute_run,
    give_up_run,
    read_run,
    run_folder,
    run_status,
)
from pointsman.scenario.cancelling import request_stop
from pointsman.scenario.provenance import provenance
from pointsman.storage import tables
from pointsman.version import git_commit
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import PLANNED, SCENARIO, FakeEngine, plan


def execute(ws: Workspace, run_id: str = "run1", cancelled: Any = lambda: False) -> RunOutcome:
    return execute_run(ws, run_id, secret=None, cancelled=cancelled)


def states(ws: Workspace, run_id: str = "run1") -> list[str]:
    wanted = sa.select(tables.state_transitions).where(tables.state_transitions.c.entity_id == run_id)
    with ws.database.connect() as connection:
        return [row["to_state"] for row in connection.execute(wanted.order_by("id")).mappings()]


def test_a_run_goes_through_every_state_and_ends_with_its_figures(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    ended = execute(ws)
    assert ended == RunOutcome("run1", "completed", "lab/smoke/20260101T000000/run1", None)
    assert states(ws) == ["created", "starting", "running", "draining", "completed"]
    record = read_run(ws, "run1")
    assert record.submitted_count == PLANNED
    assert record.started_at is not None
    assert record.ended_at is not None
    assert (record.ended_at - record.started_at).total_seconds() == pytest.approx(4, abs=0.2)
    metrics = record.metrics_json
    assert metrics["runner"]["mode"] == "inline"
    assert [stage["completed"] for stage in metrics["stages"]] == [4, 12]
    assert metrics["lateness_ms"] == {"p50": 2.0, "p99": 2.0, "max": 2.0}
    assert metrics["p95"] == {"queue_ms": 20.0, "run_ms": 60.0, "total_ms": 95.0}
    assert metrics["interruptions"] == []
    assert metrics["failure"] is None


def test_a_run_that_offered_another_load_than_planned_says_so(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    assert execute(ws).status == "completed"
    assert ActionLog(ws).read(run_id="run1") == []
    engine.late_ns = 80_000_000
    plan(ws, "run2")
    assert execute_run(ws, "run2", secret=None).status == "completed"
    execute_run(ws, "run2", secret=None)
    (told,) = ActionLog(ws).read(run_id="run2")
    assert (told.event, told.severity) == ("load_test_rate_missed", "warn")
    assert told.data["why"] == "p99 of lateness is at most 50 ms, but p99 is 80 ms"


def test_results_json_says_where_the_results_come_from(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    execute(ws)
    results = json.loads((run_folder(ws, read_run(ws, "run1")) / "results.json").read_text())
    assert results["runner_type"] == "inline"
    assert results["scenario_sha256"] == SCENARIO.sha256
    assert results["seed"] == 1
    assert results["totals"]["completed"] == PLANNED
    assert results["tool_version"]
    assert results["host"]
    assert results["process_id"] > 0
    assert len(results["git_sha"]) == 40 if results["git_sha"] else results["missing"]["git_sha"]


def test_a_run_that_has_ended_answers_again_as_it_did_without_dispatching(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    first = execute(ws)
    assert execute(ws) == first
    assert give_up_run(ws, "run1") == first
    assert cancel_run(ws, "run1", reason="too late") == first
    assert engine.drives == 1
    assert "stop" not in read_run(ws, "run1").metrics_json["runner"]


def test_the_row_follows_the_drive_while_it_runs(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    followed: list[tuple[str, int]] = []

    def look(second: int) -> None:
        record = read_run(ws, "run1")
        followed.append((record.status, record.submitted_count))

    engine.at_second = look
    execute(ws)
    assert followed == [("starting", 0), ("running", 1), ("running", 4), ("running", 8), ("running", 12)]


def test_a_lost_target_leaves_the_run_running_and_the_same_call_continues(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    engine.lose_target_in = {3}
    with pytest.raises(DependencyDown) as lost:
        execute(ws)
    assert lost.value.code == "target_lost"
    record = read_run(ws, "run1")
    assert record.status == "running"
    assert record.metrics_json["interrupted"]["code"] == "target_lost"
    assert execute(ws).status == "completed"
    metrics = read_run(ws, "run1").metrics_json
    assert metrics["interrupted"] is None
    assert metrics["counts"]["completed"] == PLANNED
    assert [gap["after_s"] for gap in metrics["interruptions"]] == [3.0]
    assert states(ws) == ["created", "starting", "running", "draining", "completed"]


def test_giving_up_a_lost_target_fails_the_run_with_what_interrupted_it(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    engine.lose_target_in = {3}
    with pytest.raises(DependencyDown):
        execute(ws)
    ended = give_up_run(ws, "run1")
    assert ended.status == "failed"
    assert ended.failure == {
        "code": "target_lost",
        "message": "The target is gone.",
        "instruction": "pointsman doctor",
    }
    counts = read_run(ws, "run1").metrics_json["counts"]
    assert (counts["completed"], counts["cancelled_unsent"], counts["still_planned"]) == (8, 8, 0)
    assert execute(ws) == ended


def test_giving_up_a_run_that_nobody_started_says_so(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    ended = give_up_run(ws, "run1")
    assert ended.failure is not None
    assert ended.failure["code"] == "given_up"
    assert ended.failure["instruction"].endswith("pointsman scenario status run1")


def test_an_engine_that_does_not_start_leaves_the_run_to_be_continued(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    engine.stillborn = True
    with pytest.raises(RunFailed, match="died"):
        execute(ws)
    assert engine.drives == 3
    assert read_run(ws, "run1").status == "starting"
    engine.stillborn = False
    assert execute(ws).status == "completed"


def test_a_process_that_dies_is_replaced_and_the_operator_is_told(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    engine.die_in = [2, 3]
    assert execute(ws).status == "completed"
    assert engine.drives == 3
    events = ActionLog(ws).read(run_id="run1")
    assert [(event.event, event.severity) for event in events] == [("load_test_shard_lost", "critical")] * 2
    assert events[0].data["shard"] == 0
    assert "died" in events[0].data["why"]
    gaps = read_run(ws, "run1").metrics_json["interruptions"]
    assert [(gap["shard"], gap["after_s"]) for gap in gaps] == [(0, 2.0), (0, 3.0)]
    (shard,) = run_status(ws, "run1")["runner"]["shards"]
    assert (shard["state"], shard["processes"], shard["planned"]) == ("ended", 3, PLANNED)


def test_another_process_that_dispatches_the_run_is_left_alone(
    ws: Workspace, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(ws)

    def locked(*_: object, **__: object) -> None:
        raise Conflict("Another process is dispatching.", code="drive_locked")

    monkeypatch.setattr("pointsman.scenario.launching.DriveProcess", locked)
    with pytest.raises(Conflict):
        execute(ws)
    assert "interrupted" not in read_run(ws, "run1").metrics_json


def test_a_cancel_from_elsewhere_reaches_the_executor_through_the_row(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    answers: list[RunOutcome] = []

    def cancel_in_second_two(second: int) -> None:
        if second == 2:
            answers.append(cancel_run(ws, "run1", reason="enough seen"))

    engine.at_second = cancel_in_second_two
    ended = execute(ws)
    assert answers[0].status == "cancelling"
    assert ended.status == "cancelled"
    assert ended.failure is None
    assert states(ws) == ["created", "starting", "running", "cancelling", "cancelled"]
    metrics = read_run(ws, "run1").metrics_json
    assert metrics["runner"]["stop"] == {
        "who": "tester",
        "when": "2026-01-01T00:00:02+00:00",
        "reason": "enough seen",
    }
    assert (metrics["counts"]["completed"], metrics["counts"]["cancelled_unsent"]) == (8, 8)


def test_the_first_stop_is_kept_through_repeated_cancels_and_told_once(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)

    def cancel_often(second: int) -> None:
        if second >= 1:
            cancel_run(ws, "run1", reason=f"request {second}")
            cancel_run(ws, "run1", reason="again")

    engine.at_second = cancel_often
    execute(ws)
    cancel_run(ws, "run1", reason="after the end")
    assert read_run(ws, "run1").metrics_json["runner"]["stop"]["reason"] == "request 1"
    events = ActionLog(ws).read(run_id="run1")
    assert [event.event for event in events] == ["load_test_run_cancelled"]
    assert events[0].instruction == "pointsman scenario status run1"


def test_the_executor_may_be_told_to_stop_by_its_own_process(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    ended = execute(ws, cancelled=lambda: read_run(ws, "run1").submitted_count >= 4)
    assert ended.status == "cancelled"
    stop = read_run(ws, "run1").metrics_json["runner"]["stop"]
    assert stop["who"] == "tester"
    assert "executes" in stop["reason"]


def test_cancelling_a_run_that_nobody_started_ends_it_at_once(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    ended = cancel_run(ws, "run1", reason="wrong seed")
    assert ended.status == "cancelled"
    assert read_run(ws, "run1").metrics_json["counts"]["cancelled_unsent"] == PLANNED
    assert execute(ws) == ended
    assert engine.drives == 0


def test_a_cancelled_run_whose_target_is_lost_still_ends_cancelled(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    engine.lose_target_in = {2}
    with pytest.raises(DependencyDown):
        execute(ws)
    engine.deaf = True
    assert cancel_run(ws, "run1", reason="never mind").status == "cancelled"
    assert read_run(ws, "run1").metrics_json["counts"]["cancelled_unsent"] == 12
    assert engine.drives == 2


def test_giving_up_a_run_that_is_being_cancelled_ends_it_cancelled(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    engine.lose_target_in = {2}
    with pytest.raises(DependencyDown):
        execute(ws)
    request_stop(ws, "run1", reason="never mind")
    assert give_up_run(ws, "run1").status == "cancelled"


def test_a_cancel_that_comes_while_figures_are_written_wins(
    ws: Workspace, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(ws)
    real = engine.scan_dispatches

    def cancelled_meanwhile(folder: Any) -> Any:
        cancel_run(ws, "run1", reason="just now")
        return real(folder)

    monkeypatch.setattr("pointsman.scenario.ledger.scan_dispatches", cancelled_meanwhile)
    assert execute(ws).status == "cancelled"
    metrics = read_run(ws, "run1").metrics_json
    assert metrics["runner"]["stop"]["reason"] == "just now"
    assert metrics["counts"]["completed"] == PLANNED


@pytest.mark.parametrize("cancel", [False, True], ids=["completed", "cancelled"])
def test_a_lost_row_fails_the_run_as_conservation_broken(ws: Workspace, engine: FakeEngine, cancel: bool) -> None:
    plan(ws)
    engine.drop_row = 5
    ended = execute(ws, cancelled=lambda: cancel)
    assert ended.status == "failed"
    assert ended.failure is not None
    assert ended.failure["code"] == "conservation_broken"
    assert "15 is not 16" in ended.failure["message"] or "16 is not 15" in ended.failure["message"]
    assert ended.failure["instruction"]
    assert run_status(ws, "run1")["failure"] == ended.failure


def test_books_that_the_drive_itself_cannot_close_fail_the_run_the_same_way(
    ws: Workspace, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise DataCheckFailed("The dispatches do not add up.", code="conservation_broken")

    plan(ws, "run1")
    plan(ws, "run2")
    engine.breaks = True
    failures = [execute(ws, "run1").failure]
    with monkeypatch.context() as patch:
        patch.setattr("pointsman.scenario.execution.settle", refuses)
        failures.append(give_up_run(ws, "run2").failure)
    assert [failure["code"] for failure in failures if failure] == ["conservation_broken"] * 2
    assert run_status(ws, "run1")["counts"]["planned"] == PLANNED


def test_results_of_code_outside_a_checkout_say_that_the_commit_is_not_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pointsman.version.__file__", str(tmp_path / "pointsman" / "version.py"))
    git_commit.cache_clear()
    try:
        found = provenance()
    finally:
        git_commit.cache_clear()
    assert found["git_sha"] is None
    assert "not run from a git checkout" in found["missing"]["git_sha"]


def test_a_plan_that_lost_a_row_is_noticed_against_the_schedule(ws: Workspace, engine: FakeEngine) -> None:
    plan(ws)
    folder = run_folder(ws, read_run(ws, "run1"))
    journal = engine._journal(folder)
    journal.rows = journal.rows.filter(journal.rows["seq"] != 3)
    ended = execute(ws)
    assert ended.failure is not None
    assert ended.failure["code"] == "conservation_broken"


def test_unknown_runs_and_empty_reasons_are_refused(ws: Workspace, engine: FakeEngine) -> None:
    for call in (execute, give_up_run, run_status):
        with pytest.raises(NotFound, match="no-such-run"):
            call(ws, "no-such-run")
    plan(ws)
    with pytest.raises(NotFound, match="no-such-run"):
        cancel_run(ws, "no-such-run", reason="why not")
    with pytest.raises(InputRefused, match="reason"):
        cancel_run(ws, "run1", reason="  ")
