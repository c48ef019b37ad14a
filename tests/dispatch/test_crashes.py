"""A kill at any touch of disk or network, then the same drive again: nothing is lost, nothing happens twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pointsman.dispatch import (
    DriveSummary,
    check_conservation,
    read_attempts,
    read_counts,
    read_dispatches,
    read_status,
    settle,
)
from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.journal import write_segment
from tests.dispatch.seconds import counted
from tests.dispatch.world import Crash, Service, World, carry_on, preset, write

LOOPS = pytest.mark.parametrize("per_s", [None, 20.0], ids=["closed loop", "open loop"])


def steps_of(folder: Path, count: int, per_s: float | None, **more: object) -> int:
    world = World()
    assert carry_on(write(folder, count, per_s=per_s, **more), world, Service(world)) == "completed"
    return world.steps


def killed_at(folder: Path, step: int, count: int, per_s: float | None, **more: object) -> tuple[Path, World, Service]:
    """A drive whose process was killed at that step; the world is alive again, two seconds later."""
    folder.mkdir()
    world = World(ends_at=step)
    service = Service(world)
    drive_dir = write(folder, count, per_s=per_s, **more)
    with pytest.raises(Crash):
        carry_on(drive_dir, world, service)
    world.dead, world.ends_at = False, None
    world.now_s += 2.0
    return drive_dir, world, service


def assert_once_each(drive_dir: Path, service: Service, summary: DriveSummary, count: int) -> None:
    assert summary.counts["completed"] == count
    assert [len(jobs) for jobs in service.jobs.values()] == [1] * count
    assert read_dispatches(drive_dir)["state"].to_list() == ["completed"] * count
    attempts = read_attempts(drive_dir).select("dispatch_id", "number").unique()
    assert attempts.height == count  # the service made one attempt of each job
    assert counted(drive_dir) == {"sent": count, "completed": count}


@LOOPS
def test_after_a_kill_at_any_step_every_dispatch_is_taken_exactly_once(tmp_path: Path, per_s: float | None) -> None:
    count = 3
    more = {"max_in_flight": 2 if per_s is None else 10, "fetch_outputs": per_s is None}
    total = steps_of(tmp_path, count, per_s, **more)
    for step in range(1, total + 1):
        drive_dir, world, service = killed_at(tmp_path / str(step), step, count, per_s, **more)
        check_conservation(*read_counts(drive_dir))
        assert carry_on(drive_dir, world, service) == "completed"
        assert_once_each(drive_dir, service, close_drive(drive_dir, "completed"), count)


@LOOPS
def test_a_target_without_idempotency_never_gets_a_dispatch_twice(tmp_path: Path, per_s: float | None) -> None:
    count = 3
    blind = preset(tmp_path, idempotent_submit=False, status_by_dispatch_id=False)
    more = {"max_in_flight": 2 if per_s is None else 10, "target_preset": blind}
    total = steps_of(tmp_path, count, per_s, **more)
    unknown = 0
    for step in range(1, total + 1):
        drive_dir, world, service = killed_at(tmp_path / str(step), step, count, per_s, **more)
        service.idempotent = False
        assert carry_on(drive_dir, world, service) == "completed"
        summary = close_drive(drive_dir, "completed")
        assert all(number == 1 for number in service.submissions.values())
        assert summary.counts["completed"] + summary.counts["unknown"] == count
        assert counted(drive_dir) == {name: summary.counts[name] for name in counted(drive_dir)}
        unknown += summary.counts["unknown"]
    assert unknown > 0  # what the journal lost could not be learnt, and nobody pretended otherwise


@LOOPS
def test_a_drive_that_is_read_in_parts_is_the_same_drive(
    tmp_path: Path, per_s: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, rows in (("plan", 3), ("planned", 5), ("ledger", 4)):
        monkeypatch.setattr(f"pointsman.dispatch.{module}._PART", rows)
    count = 11
    more = {"max_in_flight": 4 if per_s is None else 20}
    total = steps_of(tmp_path, count, per_s, **more)
    for step in range(1, total + 1, 5):
        drive_dir, world, service = killed_at(tmp_path / str(step), step, count, per_s, **more)
        check_conservation(*read_counts(drive_dir))
        assert carry_on(drive_dir, world, service) == "completed"
        assert_once_each(drive_dir, service, close_drive(drive_dir, "completed"), count)
        assert read_dispatches(drive_dir)["seq"].to_list() == list(range(count))


def test_two_kills_in_a_row_lose_nothing_either(tmp_path: Path) -> None:
    total = steps_of(tmp_path, 3, None, max_in_flight=2)
    for step in range(2, total, 7):
        for second in range(1, 20, 6):
            drive_dir, world, service = killed_at(tmp_path / f"{step}-{second}", step, 3, None, max_in_flight=2)
            world.ends_at = world.steps + second
            try:
                carry_on(drive_dir, world, service)
            except Crash:
                world.dead, world.ends_at = False, None
                world.now_s += 1.0
                assert carry_on(drive_dir, world, service) == "completed"
            assert_once_each(drive_dir, service, close_drive(drive_dir, "completed"), 3)


@pytest.mark.prove
@LOOPS
def test_after_any_two_kills_every_dispatch_of_a_longer_drive_is_taken_once(
    tmp_path: Path, per_s: float | None
) -> None:
    count = 8
    more = {"max_in_flight": 3 if per_s is None else 20, "fetch_outputs": True}
    total = steps_of(tmp_path, count, per_s, **more)
    for step in range(1, total + 1):
        for second in range(1, 60, 5):
            drive_dir, world, service = killed_at(tmp_path / f"{step}-{second}", step, count, per_s, **more)
            world.ends_at = world.steps + second
            try:
                carry_on(drive_dir, world, service)
            except Crash:
                world.dead, world.ends_at = False, None
                assert carry_on(drive_dir, world, service) == "completed"
            assert_once_each(drive_dir, service, close_drive(drive_dir, "completed"), count)


def test_the_open_loop_schedule_goes_on_after_the_gap_and_the_gap_is_itemised(tmp_path: Path) -> None:
    world = World()
    service = Service(world)
    drive_dir = write(tmp_path, 60, per_s=20.0, max_in_flight=1000)

    def end_after_a_second(_: object) -> None:
        world.ends_at = 60

    with pytest.raises(Crash):
        carry_on(drive_dir, world, service, script=end_after_a_second)
    world.dead, world.ends_at = False, None
    world.now_s += 100.0
    carry_on(drive_dir, world, service)
    summary = close_drive(drive_dir, "completed")
    (gap,) = summary.interruptions
    assert 99.0 < gap.gap_s < 102.0
    assert gap.first_seq is not None
    rows = read_dispatches(drive_dir)
    later = rows.filter(rows["seq"] >= gap.first_seq)
    assert later["lateness_ns"].max() == 0  # the gap is not lateness of what was not yet due
    assert later["planned_ns"].diff().drop_nulls().unique().to_list() == [50_000_000]
    assert later["planned_ns"][0] / 1e9 >= gap.resumed_s


def test_giving_up_settles_everything_and_asks_nobody(tmp_path: Path) -> None:
    drive_dir, _, service = killed_at(tmp_path / "x", 23, 20, None, max_in_flight=2)
    asked = service.asked
    summary = settle(drive_dir)
    assert summary.outcome == "settled"
    assert service.asked == asked
    taken = len(service.jobs)
    assert summary.counts["unknown"] >= taken - summary.counts["completed"] > 0
    assert summary.counts["cancelled_unsent"] > 0
    assert settle(drive_dir) == summary  # again is a no-op
    assert counted(drive_dir) == {
        name: number for name, number in summary.counts.items() if number and name != "planned"
    }
    assert read_status(drive_dir).phase == "closed"


def crash(path: Path, rows: pl.DataFrame) -> None:
    raise Crash


@pytest.mark.parametrize("kills", [0, 1, 3])
def test_giving_up_in_parts_may_itself_be_killed_and_settles_the_same(
    tmp_path: Path, kills: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, rows in (("plan", 3), ("planned", 5), ("ledger", 4)):
        monkeypatch.setattr(f"pointsman.dispatch.{module}._PART", rows)
    drive_dir, _, service = killed_at(tmp_path / "x", 60, 23, None, max_in_flight=3)
    for _ in range(kills):
        steps = iter((write_segment,))

        def write_one(path: Path, rows: pl.DataFrame, steps: Iterator[Any] = steps) -> None:
            next(steps, crash)(path, rows)

        with monkeypatch.context() as patch:
            patch.setattr("pointsman.dispatch.settling.write_segment", write_one)
            with pytest.raises(Crash):
                settle(drive_dir)
    summary = settle(drive_dir)
    taken = len(service.jobs)
    assert summary.counts["completed"] + summary.counts["unknown"] == summary.counts["sent"] >= taken > 0
    assert summary.counts["cancelled_unsent"] == 23 - summary.counts["sent"] > 0
    assert {one.split("_")[-2] for one in service.jobs} == {
        str(seq) for seq in read_dispatches(drive_dir).filter(pl.col("ack_ns").is_not_null())["seq"]
    }
    told = {name: number for name, number in summary.counts.items() if number and name != "planned"}
    assert counted(drive_dir) == told


def test_a_drive_that_never_started_can_be_given_up(tmp_path: Path) -> None:
    summary = settle(write(tmp_path, 4))
    assert summary.counts["cancelled_unsent"] == 4
    assert summary.counts["sent"] == 0
