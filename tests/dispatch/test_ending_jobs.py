"""Jobs in flight when a drive is cancelled: all are ended at the target, however many, for they would go on costing."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.driver import Driver
from pointsman.dispatch.protocol import Request, Response
from pointsman.dispatch.transport import NoAnswer
from tests.dispatch.test_rates import limited, most_in_a_second
from tests.dispatch.world import Service, World, carry_on, write

JOBS = 1000


def cancelled(folder: Path, world: World, service: Service, **rates: float) -> float:
    """Cancel a drive that has all its jobs in flight; how long it then took, in seconds."""
    service.run_s, service.answer_s = 10_000.0, 0.05
    at: list[float] = []

    def cancel_later(driver: Driver) -> None:
        def now() -> None:
            at.append(world.now_s)
            driver.stop("cancelled")

        asyncio.get_running_loop().call_later(3.0, now)

    target = limited(folder, **rates)
    drive_dir = write(folder, JOBS, per_s=1000.0, max_in_flight=JOBS, target_preset=target, poll_interval_s=2.0)
    assert carry_on(drive_dir, world, service, script=cancel_later) == "cancelled"
    assert close_drive(drive_dir, "cancelled").counts["cancelled_sent"] == len(service.jobs) == JOBS
    return world.now_s - at[0]


@pytest.mark.parametrize("rates", [{}, {"polls_per_s": 50.0}])
def test_every_job_is_ended_within_the_limit_of_the_target(
    tmp_path: Path, world: World, service: Service, rates: dict[str, float]
) -> None:
    times: list[float] = []
    service.answer = lambda request: times.append(world.now_s) if request.purpose == "cancel" else None
    took_s = cancelled(tmp_path, world, service, **rates)
    assert all(jobs[0].cancelled for jobs in service.jobs.values())
    assert len(times) == JOBS
    if rates:
        assert most_in_a_second(times) <= rates["polls_per_s"]
    else:
        assert took_s < 3.0


def test_a_cancel_that_was_turned_away_or_got_lost_is_asked_for_again(
    tmp_path: Path, world: World, service: Service
) -> None:
    asked: Counter[str] = Counter()

    def refuse_the_first(request: Request) -> Response | NoAnswer | None:
        if request.purpose != "cancel":
            return None
        asked[request.path] += 1
        if asked[request.path] > 1:
            return None
        return Response(429, {}, b"") if len(asked) % 2 else NoAnswer("timeout", left=True)

    service.answer = refuse_the_first
    cancelled(tmp_path, world, service)
    assert all(jobs[0].cancelled for jobs in service.jobs.values())
    assert set(asked.values()) == {2}


def test_a_job_that_takes_two_requests_to_end_gets_both_within_the_limit(
    tmp_path: Path, world: World, service: Service
) -> None:
    target = Path(limited(tmp_path, polls_per_s=50.0))
    then = '[[cancel.then]]\nmethod = "POST"\npath = "/v1/jobs/$dispatch_id/cancel?running=1"\n'
    target.write_text(target.read_text().replace("[job] #", f"{then}[job] #"))
    times: list[float] = []
    paths: list[str] = []

    def note(request: Request) -> Response | None:
        if request.purpose == "cancel":
            times.append(world.now_s)
            paths.append(request.path)
        return Response(429, {}, b"") if len(paths) == 2 and request.purpose == "cancel" else None

    service.answer = note
    service.run_s = 10_000.0
    drive_dir = write(tmp_path, 40, per_s=1000.0, max_in_flight=40, target_preset=str(target), poll_interval_s=2.0)
    stop = lambda driver: asyncio.get_running_loop().call_later(3.0, driver.stop, "cancelled")  # noqa: E731
    assert carry_on(drive_dir, world, service, script=stop) == "cancelled"
    assert len(set(paths)) == 80
    assert most_in_a_second(times) <= 50
    for path in {one for one in paths if "?" not in one}:
        assert paths.index(path) < paths.index(f"{path}?running=1"), "each is answered before the next is sent"


def test_where_nobody_answers_any_more_the_end_is_not_held_up(tmp_path: Path, world: World, service: Service) -> None:
    service.answer = lambda request: None if request.purpose == "submit" else NoAnswer("unreachable", left=False)
    assert cancelled(tmp_path, world, service) < 15.0
    assert not any(jobs[0].cancelled for jobs in service.jobs.values())
