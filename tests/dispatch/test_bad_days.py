"""Bad days of a drive: each goes on or ends with a named reason, the books balance, and no row once kept is lost."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pointsman.dispatch import check_conservation, read_counts, read_dispatches, read_figures
from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.driver import Driver
from pointsman.dispatch.journal import read_journal, segment_paths
from pointsman.dispatch.protocol import Request, Response
from pointsman.dispatch.transport import NoAnswer
from pointsman.errors import DataCheckFailed
from tests.dispatch.seconds import counted
from tests.dispatch.world import Crash, Service, World, carry_on, preset, write


def balanced(drive_dir: Path, world: World, service: Service) -> pl.DataFrame:
    """Carry the drive to its end, check its books, and return its dispatches."""
    assert carry_on(drive_dir, world, service) == "completed"
    check_conservation(*read_counts(drive_dir), closed=True)
    summary = close_drive(drive_dir, "completed")
    told = counted(drive_dir)
    assert {name: told.get(name, 0) for name in ("sent", "completed", "failed", "unknown", "dropped")} == {
        name: summary.counts[name] for name in ("sent", "completed", "failed", "unknown", "dropped")
    }
    return read_dispatches(drive_dir)


@pytest.mark.parametrize("turns_away", [True, False], ids=["turns requests away", "takes jobs and lets them lie"])
def test_a_stall_of_the_backend_shows_in_the_latencies_from_the_planned_time(tmp_path: Path, turns_away: bool) -> None:
    """An oracle knows when each job ends: what is due in a stall of 15 s begins when the stall is over."""
    world = World()
    per_s, seconds, stalls_at_s, stall_s, run_s = 20.0, 60, 11.0, 15.0, 0.5
    service = Service(world, queue_s=0.0, run_s=run_s)
    begins = world.now_s + 0.1 + stalls_at_s  # 0.1 s is the driver's lead
    until = begins + stall_s

    def turn_away(request: Request) -> Response | None:
        if request.purpose == "submit" and begins <= world.now_s < until - 0.1:
            return Response(429, {"retry-after": "15"}, b"")
        return None

    def let_lie(request: Request) -> None:
        for jobs in (service.jobs[one] for one in request.asks_for):
            if begins <= jobs[0].submitted_s < until:
                jobs[0].submitted_s = until

    document = service.document
    service.document = lambda one: {**document(one), "ended_at": None, "queue_ms": None, "run_ms": None}  # type: ignore[method-assign]
    if turns_away:
        service.answer = turn_away
    else:
        service.answer_after = let_lie
    count = round(per_s * seconds)
    drive_dir = write(tmp_path, count, per_s=per_s, max_in_flight=5000, poll_interval_s=0.02, drain_limit_s=60.0)
    rows = balanced(drive_dir, world, service)
    due = np.arange(count) / per_s
    starts = np.where((due >= stalls_at_s) & (due < stalls_at_s + stall_s), stalls_at_s + stall_s, due)
    oracle_ms = (starts - due + run_s) * 1000
    sketch = read_figures(drive_dir).overall().total_ms
    for q in (0.95, 0.99):
        exact = quantile(oracle_ms, q)
        assert quantile(rows["total_ms"].to_numpy(), q) == pytest.approx(exact, rel=0.01)
        assert sketch.quantile(q) == pytest.approx(exact, rel=0.02)
        if turns_away:  # from the time of sending nobody would have noticed
            assert quantile(rows["raw_total_ms"].to_numpy(), q) < exact / 10


def quantile(values: np.ndarray, q: float) -> float:
    return float(np.quantile(values, q, method="inverted_cdf"))


def test_a_slow_target_is_a_timeout_that_is_asked_about_and_never_a_second_job(tmp_path: Path) -> None:
    world = World()
    service = Service(world)
    service.answer_after = lambda request: NoAnswer("timeout", left=True) if request.purpose == "submit" else None
    rows = balanced(write(tmp_path, 6), world, service)
    assert rows["state"].to_list() == ["completed"] * 6
    assert set(service.submissions.values()) == {1}


def test_connections_that_are_cut_behind_the_request_leave_unknown_ones_where_nothing_can_be_asked(
    tmp_path: Path,
) -> None:
    world = World()
    service = Service(world, idempotent=False)
    blind = preset(tmp_path, idempotent_submit=False, status_by_dispatch_id=False)
    turn = iter(range(1000))
    service.answer_after = lambda request: (
        NoAnswer("connection_lost", left=True) if request.purpose == "submit" and next(turn) % 2 else None
    )
    rows = balanced(write(tmp_path, 8, target_preset=blind), world, service)
    assert sorted(rows["state"].to_list()) == ["completed"] * 4 + ["unknown"] * 4
    assert set(rows.filter(pl.col("state") == "unknown")["reason"]) == {"connection_lost"}
    assert all(number == 1 for number in service.submissions.values())


def test_a_limit_with_a_time_to_wait_delays_what_is_due_and_loses_nothing(tmp_path: Path) -> None:
    world = World()
    service = Service(world)
    quiet_until = world.now_s + 4.0

    def limit(request: Request) -> Response | None:
        if request.purpose == "submit" and world.now_s < quiet_until:
            return Response(429, {"retry-after": "2"}, b"")
        return None

    service.answer = limit
    rows = balanced(write(tmp_path, 40, per_s=10.0, max_in_flight=100, drain_limit_s=30.0), world, service)
    assert rows["state"].to_list() == ["completed"] * 40
    assert set(service.submissions.values()) == {1}
    assert 1500 < max(rows["lateness_ns"].to_list()) / 1e6 < 6000  # reported as what it is


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0], ids=["back", "ahead"])
def test_a_clock_that_is_set_while_a_drive_runs_changes_nothing(tmp_path: Path, step_s: float) -> None:
    world = World()
    service = Service(world)
    drive_dir = write(tmp_path, 30, per_s=10.0, max_in_flight=100)
    set_by = [0.0]
    wall_ns = world.wall_ns
    world.wall_ns = lambda: wall_ns() + round(set_by[0] * 1e9)  # type: ignore[method-assign]

    def later(driver: Driver) -> None:
        asyncio.get_running_loop().call_later(1.0, set_by.__setitem__, 0, step_s)

    assert carry_on(drive_dir, world, service, script=later) == "completed"
    close_drive(drive_dir, "completed")
    rows = read_dispatches(drive_dir)
    assert rows["lateness_ns"].max() == 0
    assert float(rows["total_ms"].max()) < 1500  # type: ignore[arg-type]


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0], ids=["back", "ahead"])
def test_a_clock_that_was_set_between_two_processes_does_not_make_the_journal_run_backwards(
    tmp_path: Path, step_s: float
) -> None:
    world = World(ends_at=70)
    service = Service(world)
    drive_dir = write(tmp_path, 30, per_s=10.0, max_in_flight=100)
    with pytest.raises(Crash):
        carry_on(drive_dir, world, service)
    world.dead, world.ends_at = False, None
    wall_ns = world.wall_ns
    world.wall_ns = lambda: wall_ns() + round(step_s * 1e9)  # type: ignore[method-assign]
    rows = balanced(drive_dir, world, service)
    assert rows["state"].to_list() == ["completed"] * 30
    times = [pl.read_ipc(path)["at_ns"][-1] for path in segment_paths(drive_dir)]
    assert times == sorted(times)


def test_a_disk_that_is_full_ends_the_drive_in_words_and_what_was_kept_stays_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    service = Service(world)
    drive_dir = write(tmp_path, 40, per_s=10.0, max_in_flight=100)
    fsync = os.fsync
    full = [False]

    def no_room(descriptor: int) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", no_room)
    script = lambda driver: asyncio.get_running_loop().call_later(1.6, full.__setitem__, 0, True)  # noqa: E731
    with pytest.raises(OSError, match="No space"):
        carry_on(drive_dir, world, service, script=script)
    kept = read_journal(segment_paths(drive_dir), pl.lit(True))
    assert kept.height > 10
    check_conservation(*read_counts(drive_dir))
    full[0] = False
    world.now_s += 60.0
    rows = balanced(drive_dir, world, service)
    assert rows["state"].to_list() == ["completed"] * 40
    assert all(len(jobs) == 1 for jobs in service.jobs.values())
    assert read_journal(segment_paths(drive_dir), pl.lit(True))[: kept.height].equals(kept)


def test_a_journal_that_was_cut_in_half_is_refused_by_name_and_never_read_as_if_it_were_whole(tmp_path: Path) -> None:
    world = World(ends_at=90)
    service = Service(world)
    drive_dir = write(tmp_path, 40, per_s=10.0, max_in_flight=100)
    with pytest.raises(Crash):
        carry_on(drive_dir, world, service)
    world.dead, world.ends_at = False, None
    last = segment_paths(drive_dir)[-1]
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataCheckFailed) as refused:
        carry_on(drive_dir, world, service)
    assert refused.value.code == "journal_damaged"
    assert last.name in refused.value.message
    last.write_bytes(whole)
    assert balanced(drive_dir, world, service)["state"].to_list() == ["completed"] * 40
