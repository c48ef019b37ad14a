"""Planning, running, interrupting and resuming a matrix, above a stand-in for the driver."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.benchmark import (
    ARTIFACT_TYPE,
    MatrixRun,
    RoundOutcome,
    cancel_matrix,
    cell_counts,
    create_matrix,
    fail_matrix,
    finish_matrix,
    mark_ready,
    matrix_report,
    matrix_run,
    register_variants,
    rounds,
    run_round,
    set_enabled,
    trace,
)
from pointsman.clock import ManualClock
from pointsman.dispatch import DriveInput, DrivePlan, DriveStatus, TargetSpec, planned_dispatches, write_drive
from pointsman.errors import Cancelled, Conflict, DependencyDown, IllegalMove, InputRefused, NotFound, RunFailed
from pointsman.ids import VariantId, dispatch_id
from pointsman.model import InputSet
from pointsman.reporting import to_markdown
from pointsman.settings import Secret
from pointsman.storage import local_path, tables
from pointsman.workspace import Workspace
from tests.benchmark.fake_drive import EPOCH, SKU, FakeDrive, Fate, Killed
from tests.benchmark.samples import VARIANTS

BM = "bm_test"
TARGET = TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:9")
ITEMS = tables.benchmark_matrix_run_items


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDrive:
    fake = FakeDrive()
    monkeypatch.setattr("pointsman.benchmark.execution.drive", fake)
    return fake


@pytest.fixture
def plan(ws: Workspace, registered: list[VariantId], inputs: InputSet) -> Callable[..., MatrixRun]:
    """Creates the matrix: 3 variants x 4 inputs x 2 repeats in rounds of at most 6 cells, so 4 rounds."""

    def create(**changes: Any) -> MatrixRun:
        request: dict[str, Any] = {
            "benchmark_id": BM,
            "parent_run_id": "run-1",
            "variants": registered,
            "inputs": inputs,
            "repeats": 2,
            "seed": 5,
            "round_cells": 6,
            "environment_id": "lab",
            "targets": [TARGET],
            "in_flight_per_provider": 2,
        }
        return create_matrix(ws, **{**request, **changes})

    return create


def run(ws: Workspace, number: int, *, cancelled: Callable[[], bool] = lambda: False) -> RoundOutcome:
    return run_round(ws, BM, number, secret=Secret("word"), cancelled=cancelled, on_status=lambda status: None)


def select(ws: Workspace, table: sa.Table, *conditions: Any) -> list[sa.Row[Any]]:
    with ws.database.begin() as connection:
        return list(connection.execute(sa.select(table).where(*conditions).order_by(*table.primary_key)))


def everything(ws: Workspace) -> dict[str, list[Any]]:
    """The rows that running a matrix writes, without the record of when what was moved."""
    written = (tables.benchmark_matrix_runs, ITEMS, tables.attempts, tables.usage, tables.run_artifacts)
    return {table.name: select(ws, table) for table in written}


def history(ws: Workspace, entity_id: str) -> list[str]:
    log = tables.state_transitions
    return [row.to_state for row in select(ws, log, log.c.entity_id == entity_id)]


# -- planning ---------------------------------------------------------------------------------------------------------


def test_a_planned_matrix_has_a_row_a_pending_item_per_cell_and_a_plan_file(
    ws: Workspace, plan: Callable[..., MatrixRun]
) -> None:
    created = plan()
    assert (created.status, created.planned, cell_counts(ws, BM)) == ("created", 24, {"pending": 24})
    assert created.results_path == "lab/benchmarks/bm_test"
    assert rounds(ws, BM) == [0, 1, 2, 3]
    assert json.loads(ws.results.read("lab/benchmarks/bm_test/plan.json"))["seed"] == 5
    items = select(ws, ITEMS)
    assert len({item.dispatch_id for item in items}) == 24
    assert all(item.dispatch_id.startswith(f"studio_load_test_bm_test_{item.seq}_") for item in items)
    assert history(ws, BM) == ["created"]
    assert history(ws, items[0].dispatch_id) == ["pending"]
    assert matrix_run(ws, BM) == created


def test_creating_it_again_is_answered_with_the_same_matrix(ws: Workspace, plan: Callable[..., MatrixRun]) -> None:
    first = plan()
    before = everything(ws)
    assert plan() == first
    assert everything(ws) == before


def test_a_disabled_variant_does_not_stop_a_matrix_that_was_planned_with_it(
    ws: Workspace, plan: Callable[..., MatrixRun], registered: list[VariantId]
) -> None:
    plan()
    set_enabled(ws, registered[0], False)
    assert plan().planned == 24


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 6}, "seed"),
        ({"repeats": 1}, "repeats"),
        ({"in_flight_per_provider": 3}, "in_flight_per_provider"),
        ({"targets": [TARGET.model_copy(update={"preset": "fixed"})]}, "targets"),
    ],
)
def test_another_plan_under_the_same_id_is_a_conflict(
    ws: Workspace, plan: Callable[..., MatrixRun], changes: dict[str, Any], named: str
) -> None:
    plan()
    before = everything(ws)
    with pytest.raises(Conflict) as conflict:
        plan(**changes)
    assert named in conflict.value.data["differs"]  # type: ignore[operator]
    assert everything(ws) == before


def test_a_target_that_listens_elsewhere_now_is_the_same_target(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    plan()
    plan(targets=[TARGET.model_copy(update={"base_url": "http://127.0.0.1:10"})])
    run(ws, 0)
    assert driver.headers[0].target.base_url == "http://127.0.0.1:10"


@pytest.mark.parametrize(
    ("changes", "error", "named"),
    [
        ({"benchmark_id": "bm test"}, InputRefused, "benchmark id"),
        ({"repeats": 0}, InputRefused, "repeats"),
        ({"round_cells": 0}, InputRefused, "round_cells"),
        ({"in_flight_per_provider": 0}, InputRefused, "in_flight_per_provider"),
        ({"seed": -1}, InputRefused, "seed"),
        ({"seed": 2**63}, InputRefused, "seed"),
        ({"drain_limit_s": 0}, InputRefused, "drain_limit_s"),
        ({"variants": []}, InputRefused, "variants"),
        ({"variants": [replace(VARIANTS[0].id, workflow="av9")]}, NotFound, "av9"),
        ({"inputs": InputSet("silver-v1", (), "0")}, InputRefused, "inputs"),
        ({"environment_id": "moon"}, NotFound, "environment"),
        ({"targets": [TARGET.model_copy(update={"name": "fal"})]}, InputRefused, "target of"),
    ],
)
def test_a_bad_request_is_refused_before_anything_is_written(
    ws: Workspace, plan: Callable[..., MatrixRun], changes: dict[str, Any], error: type[InputRefused], named: str
) -> None:
    with pytest.raises(error, match=named):
        plan(**changes)
    assert select(ws, tables.benchmark_matrix_runs) == []
    assert select(ws, ITEMS) == []
    assert not ws.results.root.exists()


def test_input_sets_that_are_not_the_registered_ones_are_refused(
    ws: Workspace, plan: Callable[..., MatrixRun], inputs: InputSet
) -> None:
    with pytest.raises(NotFound, match="silver-v1"):
        plan(inputs=replace(inputs, id="silver-v1"))
    with pytest.raises(InputRefused, match="input set sha256"):
        plan(inputs=replace(inputs, sha256="0" * 64))
    assert select(ws, tables.benchmark_matrix_runs) == []


def test_a_disabled_variant_and_one_of_another_route_are_refused(
    ws: Workspace, plan: Callable[..., MatrixRun], registered: list[VariantId]
) -> None:
    other = replace(VARIANTS[0], id=replace(VARIANTS[0].id, stage="live"))
    register_variants(ws, [other])
    with pytest.raises(InputRefused, match="one route key"):
        plan(variants=[*registered, other.id])
    set_enabled(ws, registered[1], False)
    with pytest.raises(InputRefused, match="an enabled one"):
        plan()
    assert select(ws, tables.benchmark_matrix_runs) == []


def test_a_matrix_that_was_never_created_is_not_found(ws: Workspace) -> None:
    for operation in (matrix_run, rounds, finish_matrix, mark_ready, matrix_report):
        with pytest.raises(NotFound, match="bm_none"):
            operation(ws, "bm_none")
    with pytest.raises(NotFound, match="bm_none"):
        run_round(ws, "bm_none", 0, secret=None, cancelled=lambda: False, on_status=lambda status: None)


# -- running ----------------------------------------------------------------------------------------------------------


def test_a_round_is_a_bounded_closed_loop_drive_of_its_cells(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive, inputs: InputSet
) -> None:
    plan()
    statuses: list[DriveStatus] = []
    outcome = run_round(ws, BM, 1, secret=Secret("word"), cancelled=lambda: False, on_status=statuses.append)
    assert (outcome.round, outcome.counts) == (1, {"completed": 6})
    assert [status.phase for status in statuses] == ["closed"]
    (header,) = driver.headers
    assert (header.run_id, header.target) == (BM, TARGET)
    limits = header.limits
    assert (limits.max_in_flight, limits.max_in_flight_per_provider, limits.fetch_outputs) == (4, 2, True)
    assert header.variants == {str(one.id): dict(one.params) for one in VARIANTS}
    used = {item.input_id for item in select(ws, ITEMS, ITEMS.c.round == 1)}
    assert {name: given.sha256 for name, given in header.inputs.items()} == {
        member.input_id: member.sha256 for member in inputs.members if member.input_id in used
    }
    assert driver.orders == [[6, 7, 8, 9, 10, 11]]
    assert driver.secrets == [Secret("word")]
    assert (ws.results.root / "lab/benchmarks/bm_test/rounds/1/lab/plan-00000.arrow").is_file()
    assert rounds(ws, BM) == [0, 2, 3]


def test_a_matrix_runs_from_created_to_ready(ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive) -> None:
    plan()
    for number in rounds(ws, BM):
        run(ws, number)
    assert finish_matrix(ws, BM).status == "collected"
    ready = mark_ready(ws, BM)
    assert (ready.status, cell_counts(ws, BM)) == ("ready", {"completed": 24})
    assert history(ws, BM) == ["created", "running", "collected", "ready"]
    assert rounds(ws, BM) == []
    assert len(driver.sends) == 24
    assert mark_ready(ws, BM) == ready
    with pytest.raises(IllegalMove):
        cancel_matrix(ws, BM, reason="too late")


def test_a_completed_cell_has_its_times_its_tries_its_usage_and_its_output(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    driver.fate = lambda route, input_id, seq: Fate(
        outcomes=("lost", "completed"),
        usage=((SKU, "0.1", None), ("lab-cpu:gb-second", None, "the worker died")),
        output=f"output of {seq}".encode(),
    )
    plan()
    run(ws, 0)
    item = select(ws, ITEMS, ITEMS.c.seq == 3)[0]
    assert (item.status, item.reason, item.job_id) == ("completed", None, "job-3")
    assert (item.queue_ms, item.run_ms, item.total_ms) == (50.0, 200.0, 250.0)
    assert (item.started_at, item.ended_at) == (EPOCH + timedelta(seconds=3), EPOCH + timedelta(seconds=3.25))
    assert history(ws, item.dispatch_id) == ["pending", "running", "completed"]
    tries = select(ws, tables.attempts, tables.attempts.c.subject_id == item.dispatch_id)
    assert [(row.id, row.number, row.outcome) for row in tries] == [
        (f"{item.dispatch_id}#1", 1, "lost"),
        (f"{item.dispatch_id}#2", 2, "completed"),
    ]
    assert {(row.run_id, row.subject_kind) for row in tries} == {(BM, "cell")}
    usage = select(ws, tables.usage, tables.usage.c.subject_id == tries[0].id)
    assert {(row.sku, row.quantity, row.missing_reason, row.basis) for row in usage} == {
        (SKU, Decimal("0.1"), None, "measured"),
        ("lab-cpu:gb-second", None, "the worker died", "measured"),
    }
    (artifact,) = select(ws, tables.run_artifacts, tables.run_artifacts.c.subject_id == item.dispatch_id)
    assert (artifact.artifact_type, artifact.run_id) == (ARTIFACT_TYPE, BM)
    assert local_path(artifact.uri).read_bytes() == b"output of 3"
    assert (artifact.sha256, artifact.bytes) == (hashlib.sha256(b"output of 3").hexdigest(), 11)


def test_an_attempt_without_any_usage_says_why(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    driver.fate = lambda route, input_id, seq: Fate(usage=())
    plan()
    run(ws, 0)
    assert select(ws, tables.usage) == []
    assert {row.detail["no_usage"] for row in select(ws, tables.attempts)} == {"the target reports no usage"}


def test_an_attempt_that_the_target_did_not_take_lacks_no_usage(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    driver.fate = lambda route, input_id, seq: Fate("failed", "http_422", ("refused",), usage=((None, None, None),))
    plan()
    run(ws, 0)
    assert [row.detail for row in select(ws, tables.attempts)] == [{}] * 6


def test_an_attempt_says_which_version_did_it_where_the_target_tells(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    driver.fate = lambda route, input_id, seq: Fate(version="upscale@3" if seq else None)
    plan()
    run(ws, 0)
    versions = [row.detail.get("version") for row in select(ws, tables.attempts)]
    assert sorted(versions, key=str) == [None, *["upscale@3"] * 5]


@pytest.mark.parametrize(
    ("fate", "status", "reason"),
    [
        (Fate("failed", "encoder crashed", ("failed",)), "failed", "failed: encoder crashed"),
        (Fate("failed", "422 unknown workflow", ("refused",)), "failed", "refused: 422 unknown workflow"),
        (Fate("failed", "moderation: nudity", ("refused",)), "failed", "refused: moderation: nudity"),
        (Fate("failed", "http_401: bad key", ("refused",)), "failed", "unauthorised: http_401: bad key"),
        (
            Fate("failed", "output_not_allowed: it lies at x"),
            "failed",
            "output_fetch: output_not_allowed: it lies at x",
        ),
        (Fate("unknown", "no answer within 300 s", ("unknown",)), "failed", "unknown: no answer within 300 s"),
        (Fate("failed", None, ("failed",)), "failed", "failed: the target gave no reason"),
        (Fate(output=None), "invalid", "output_missing: completed without an output"),
        (Fate(output=None, reason="404"), "invalid", "output_missing: 404"),
        (Fate(lose_output=True), "invalid", "output_missing: studio_load_test_bm_test_0_"),
        (Fate(told_sha256="f" * 64), "invalid", "output_differs: sha256 is "),
    ],
    ids=lambda value: value.state if isinstance(value, Fate) else "",
)
def test_a_cell_without_a_good_output_says_why_and_is_logged(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive, fate: Fate, status: str, reason: str
) -> None:
    driver.fate = lambda route, input_id, seq: fate if seq == 0 else Fate()
    plan()
    assert run(ws, 0).counts == {status: 1, "completed": 5}
    item = select(ws, ITEMS, ITEMS.c.seq == 0)[0]
    assert item.status == status
    assert item.reason.startswith(reason)
    (logged,) = ActionLog(ws).read()
    assert (logged.event, logged.run_id, logged.data["reason"]) == ("benchmark_item_failed", BM, item.reason)
    assert logged.instruction == f"pointsman trace {item.dispatch_id}"
    artifacts = tables.run_artifacts
    assert select(ws, artifacts, artifacts.c.subject_id == item.dispatch_id) == []
    assert len(select(ws, tables.attempts, tables.attempts.c.subject_id == item.dispatch_id)) == 1


def test_a_ledger_that_lacks_a_cell_fails_the_round_and_stores_nothing(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    import polars as pl

    def lose_a_row(folder: Path) -> None:
        path = folder / "dispatches-00000.parquet"
        pl.read_parquet(path).head(5).write_parquet(path)

    driver.after = lose_a_row
    plan()
    with pytest.raises(RunFailed, match="lacks 1 of its cells") as failed:
        run(ws, 0)
    assert failed.value.code == "ledger_incomplete"
    assert cell_counts(ws, BM) == {"running": 6, "pending": 18}
    assert select(ws, tables.attempts) == []


def test_a_matrix_with_unfinished_cells_is_not_collected(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    plan()
    run(ws, 0)
    with pytest.raises(RunFailed, match="rounds 1, 2, 3") as failed:
        finish_matrix(ws, BM)
    assert failed.value.code == "matrix_unfinished"
    assert matrix_run(ws, BM).status == "running"


# -- interrupting and resuming ----------------------------------------------------------------------------------------


def test_a_round_that_is_done_is_answered_without_driving(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    plan()
    run(ws, 0)
    before = everything(ws)
    assert run(ws, 0).counts == {}
    assert everything(ws) == before
    assert len(driver.headers) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_point_is_continued_by_the_same_call_without_dispatching_twice(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive, moment: str
) -> None:
    plan()

    def die(folder: Path) -> None:
        setattr(driver, moment, lambda folder: None)
        raise Killed

    setattr(driver, moment, die)
    with pytest.raises(Killed):
        run(ws, 0)
    assert cell_counts(ws, BM) == {"running": 6, "pending": 18}
    assert select(ws, tables.attempts) == []
    assert rounds(ws, BM) == [0, 1, 2, 3]
    assert run(ws, 0).counts == {"completed": 6}
    assert set(driver.sends.values()) == {1}
    assert len(select(ws, tables.attempts)) == len(select(ws, tables.run_artifacts)) == 6


def test_a_crash_while_storing_stores_nothing_and_the_next_call_stores_all(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan()
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise Killed

        patch.setattr("pointsman.benchmark.outcomes._artifact", die)
        with pytest.raises(Killed):
            run(ws, 0)
    assert cell_counts(ws, BM) == {"running": 6, "pending": 18}
    assert select(ws, tables.attempts) == select(ws, tables.usage) == []
    assert run(ws, 0).counts == {"completed": 6}
    assert len(select(ws, tables.usage)) == 6


def test_a_lost_target_leaves_the_round_to_be_continued_after_failing(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    plan()

    def lose(folder: Path) -> None:
        raise DependencyDown("The target is gone.", code="target_lost")

    driver.before = lose
    with pytest.raises(DependencyDown) as lost:
        run(ws, 0)
    failed = fail_matrix(ws, BM, **lost.value.as_failure())
    assert failed.status == "failed"
    (row,) = select(ws, tables.benchmark_matrix_runs)
    assert row.failure["code"] == "target_lost"
    assert row.ended_at is not None
    driver.before = lambda folder: None
    for number in rounds(ws, BM):
        run(ws, number)
    finish_matrix(ws, BM)
    assert cell_counts(ws, BM) == {"completed": 24}
    assert history(ws, BM) == ["created", "running", "failed", "running", "collected"]
    (row,) = select(ws, tables.benchmark_matrix_runs)
    assert row.failure is None
    assert [folder.name for folder in sorted(ws.results.path("lab/benchmarks/bm_test/rounds").iterdir())] == list(
        "0123"
    )


def _cancel_after(count: int) -> Callable[[], bool]:
    asked = iter(range(10**6))
    return lambda: next(asked) >= count


def test_a_cancelled_round_keeps_what_was_learnt_and_moves_the_matrix_to_cancelled(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    driver.fate = lambda route, input_id, seq: Fate("cancelled_sent", outcomes=("unknown",)) if seq == 1 else Fate()
    plan()
    with pytest.raises(Cancelled, match="round 0"):
        run(ws, 0, cancelled=_cancel_after(3))
    cancelled = matrix_run(ws, BM)
    assert (cancelled.status, cell_counts(ws, BM)) == ("cancelled", {"completed": 2, "cancelled": 4, "pending": 18})
    reasons = Counter(item.reason for item in select(ws, ITEMS, ITEMS.c.status == "cancelled"))
    assert reasons == {"cancelled: after it was sent": 1, "cancelled: before it was sent": 3}
    with pytest.raises(RunFailed):
        finish_matrix(ws, BM)
    assert cancel_matrix(ws, BM, reason="again") == cancelled


def test_a_cancelled_matrix_resumes_its_cells_under_new_dispatch_ids_and_completes(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    driver.fate = lambda route, input_id, seq: Fate("cancelled_sent", outcomes=("unknown",)) if seq == 1 else Fate()
    plan()
    with pytest.raises(Cancelled):
        run(ws, 0, cancelled=_cancel_after(3))
    old = {item.dispatch_id for item in select(ws, ITEMS, ITEMS.c.status == "cancelled")}
    with pytest.raises(Cancelled):
        run(ws, 1)
    plan()
    assert rounds(ws, BM) == [0, 1, 2, 3]
    for number in rounds(ws, BM):
        run(ws, number)
    finish_matrix(ws, BM)
    assert cell_counts(ws, BM) == {"completed": 24}
    items = select(ws, ITEMS)
    assert not old & {item.dispatch_id for item in items}
    cells = Counter((item.variant_id, item.input_id, item.repeat) for item in items)
    assert len(cells) == 24
    assert set(cells.values()) == {1}
    assert set(driver.sends.values()) == {1}
    assert {item.round for item in items if item.seq >= 24} == {0}
    tried = [row.subject_id for row in select(ws, tables.attempts, tables.attempts.c.outcome == "unknown")]
    assert len(tried) == 1
    assert tried[0] in old
    assert history(ws, tried[0]) == ["pending", "running", "cancelled"]
    assert "attempts of dispatches that were cancelled" in to_markdown(matrix_report(ws, BM))
    found = trace(ws, tried[0])
    assert found["item"] is None
    assert len(found["attempts"]) == 1


def test_a_cancel_between_two_rounds_is_not_undone_by_the_next_round(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    plan()
    run(ws, 0)
    cancel_matrix(ws, BM, reason="an operator asked")
    with pytest.raises(Cancelled, match="was cancelled"):
        run(ws, 1)
    assert cell_counts(ws, BM) == {"completed": 6, "pending": 18}
    assert len(driver.headers) == 1
    assert plan().status == "running"
    assert run(ws, 1).counts == {"completed": 6}
    assert history(ws, BM) == ["created", "running", "cancelled", "running"]


def test_a_matrix_may_be_cancelled_twice_and_still_completes(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    plan()
    for count in (4, 1):
        with pytest.raises(Cancelled):
            run(ws, 0, cancelled=_cancel_after(count))
        plan()
    run(ws, 0)
    assert cell_counts(ws, BM) == {"completed": 6, "pending": 18}


def test_cells_that_an_interrupted_call_cancelled_are_run_by_the_next_one(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    plan()
    driver.fate = lambda route, input_id, seq: Fate("cancelled_sent", outcomes=("unknown",)) if seq < 2 else Fate()

    def interrupt(folder: Path) -> None:
        driver.after = lambda folder: None
        raise Killed

    driver.after = interrupt  # the drive closes as cancelled, and the caller is gone before it is stored
    with pytest.raises(Killed):
        run(ws, 0)
    assert run(ws, 0).counts == {"completed": 6}
    assert matrix_run(ws, BM).status == "running"
    assert len(driver.sends) == 8
    assert set(driver.sends.values()) == {1}


def test_a_target_that_keeps_cancelling_fails_the_round_instead_of_repeating_for_ever(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    plan()
    driver.fate = lambda route, input_id, seq: Fate("cancelled_sent", outcomes=("unknown",))
    with pytest.raises(RunFailed, match="though nobody here asked") as failed:
        run(ws, 0)
    assert failed.value.code == "cells_cancelled"
    assert len(driver.sends) == 12
    driver.fate = lambda route, input_id, seq: Fate()
    assert run(ws, 0).counts == {"completed": 6}


def test_a_running_round_notices_that_its_matrix_was_cancelled_elsewhere(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    assert isinstance(ws.clock, ManualClock)

    def fate(route: VariantId, input_id: str, seq: int) -> Fate:
        ws.clock.sleep(0.4)
        if seq == 0:
            cancel_matrix(ws, BM, reason="an operator asked")
        return Fate()

    driver.fate = fate
    plan()
    with pytest.raises(Cancelled):
        run(ws, 0)
    assert cell_counts(ws, BM) == {"completed": 3, "cancelled": 3, "pending": 18}
    log = tables.state_transitions
    reasons = [row.reason for row in select(ws, log, log.c.entity_id == BM, log.c.to_state == "cancelled")]
    assert reasons == ["an operator asked"]


# -- reading ----------------------------------------------------------------------------------------------------------


def test_the_report_counts_cells_times_bytes_and_tries_per_variant(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    def fate(route: VariantId, input_id: str, seq: int) -> Fate:
        if route.workflow == "vp9":
            return Fate("failed", "encoder | crashed", ("lost", "failed"))
        return Fate(output=b"x" * (100 if route.provider == "lab-cpu" else 300))

    driver.fate = fate
    plan()
    empty = to_markdown(matrix_report(ws, BM))
    assert "no cell has completed" in empty
    for number in rounds(ws, BM):
        run(ws, number)
    finish_matrix(ws, BM)
    report = matrix_report(ws, BM)
    rows = {row[0]: row[1:] for row in report.sections[0].rows}  # type: ignore[union-attr]
    assert rows["x264@lab-cpu"] == (8, 8, 0, 0, 250.0, 100.0, 8, 0)
    assert rows["x264@lab-spot"] == (8, 8, 0, 0, 250.0, 300.0, 8, 0)
    assert rows["vp9@lab-cpu"][:4] == (8, 0, 8, 0)
    assert rows["vp9@lab-cpu"][6:] == (16, 8)
    text = to_markdown(report)
    assert "16 of 24 cells" in text
    assert "collected" in text
    assert "Cells without a good output: 8" in text


def test_a_trace_holds_everything_known_of_a_dispatch(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    driver.fate = lambda route, input_id, seq: Fate("failed", "crashed", ("failed",)) if seq == 2 else Fate()
    plan()
    run(ws, 0)
    good, bad = (select(ws, ITEMS, ITEMS.c.seq == seq)[0].dispatch_id for seq in (1, 2))
    found = trace(ws, good)
    assert found["item"]["status"] == "completed"
    assert found["run"]["id"] == BM
    assert [row["outcome"] for row in found["attempts"]] == ["completed"]
    assert [row["sku"] for row in found["usage"]] == [SKU]
    assert [row["artifact_type"] for row in found["artifacts"]] == [ARTIFACT_TYPE]
    assert [row["to_state"] for row in found["transitions"]] == ["pending", "running", "completed"]
    assert found["evaluations"] == found["actions"] == []
    assert [row["event"] for row in trace(ws, bad)["actions"]] == ["benchmark_item_failed"]


def test_a_trace_holds_the_judgements_of_a_dispatch(
    ws: Workspace, plan: Callable[..., MatrixRun], driver: FakeDrive
) -> None:
    plan()
    run(ws, 0)
    judged = select(ws, ITEMS, ITEMS.c.seq == 1)[0].dispatch_id
    now = ws.clock.now()
    with ws.database.begin() as connection:
        connection.execute(
            sa.insert(tables.evaluation_sets).values(
                id="set", benchmark_id=BM, judge="local", identity={}, status="running", created_at=now
            )
        )
        connection.execute(
            sa.insert(tables.quality_evaluations).values(
                id="ev",
                evaluation_set_id="set",
                benchmark_id=BM,
                dispatch_id=judged,
                quality=Decimal("91.5"),
                scores={},
                created_at=now,
            )
        )
        connection.execute(
            sa.insert(tables.attempts).values(
                id="ev#1",
                run_id="set",
                subject_id="ev",
                subject_kind="judgement",
                number=1,
                provider="gemini",
                outcome="completed",
                started_at=now,
                detail={},
            )
        )
    found = trace(ws, judged)
    assert [row["quality"] for row in found["evaluations"]] == ["91.5"]
    json.dumps(found)
    assert [row["id"] for row in found["attempts"]] == ["ev#1", f"{judged}#1"]


@pytest.mark.parametrize("unknown", ["studio_load_test_x", "nonsense", "studio_load_test_run-7_9_0", "a_run-7_1_b"])
def test_an_unknown_dispatch_has_no_trace(ws: Workspace, driver: FakeDrive, unknown: str) -> None:
    _load_test(ws, driver)
    with pytest.raises(NotFound, match=unknown):
        trace(ws, unknown)


def _load_test(ws: Workspace, driver: FakeDrive) -> None:
    """A load-test run whose two dispatches have ended."""
    with ws.database.begin() as connection:
        connection.execute(
            sa.insert(tables.load_test_runs).values(
                id="run-7",
                context="smoke-20260101T000000",
                scenario_id="smoke",
                environment_id="lab",
                variant_id=str(VARIANTS[0].id),
                status="running",
                seed=1,
                results_path="lab/smoke/now/run-7",
                metrics_json={},
                created_at=ws.clock.now(),
            )
        )
    folder = ws.results.path("lab/smoke/now/run-7")
    write_drive(
        folder,
        DrivePlan(
            run_id="run-7",
            target=TARGET,
            variants={str(VARIANTS[0].id): {}},
            inputs={"clip": DriveInput(uri="file:///clip", sha256="0", bytes=1, cluster="c")},
            dispatches=planned_dispatches(route=str(VARIANTS[0].id), input_id="clip", due_ns=[0, 5]),
        ),
    )
    driver(folder, secret=None, cancelled=lambda: False, on_status=lambda status: None, clock=None)


def test_a_dispatch_under_load_is_traced_from_its_ledger(ws: Workspace, driver: FakeDrive) -> None:
    _load_test(ws, driver)
    found = trace(ws, dispatch_id("run-7", 1))
    assert (found["run"]["id"], found["under_load"]["seq"], found["under_load"]["state"]) == ("run-7", 1, "completed")
    assert [(row["outcome"], row["quantity"]) for row in found["attempts"]] == [("completed", "1.5")]
    json.dumps(found)


def test_a_dispatch_of_a_load_test_that_still_runs_names_its_run(ws: Workspace, driver: FakeDrive) -> None:
    _load_test(ws, driver)
    ws.results.path("lab/smoke/now/run-7/summary.json").unlink()
    found = trace(ws, dispatch_id("run-7", 1))
    assert (found["run"]["status"], found["under_load"]) == ("running", None)
