"""When jobs are asked about: what is learnt about how long they run, and a target's limit of status requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.polling import UNDECLARED_PER_S
from pointsman.dispatch.protocol import Request
from pointsman.dispatch.run_times import RunTimes
from tests.dispatch.test_rates import limited, most_in_a_second
from tests.dispatch.world import Service, World, carry_on, preset, write


def at(*ages: float) -> np.ndarray:
    return np.array(ages, dtype=np.float64)


def test_of_a_target_of_which_nothing_is_known_jobs_are_asked_about_ever_more_rarely() -> None:
    unknown = RunTimes()
    due = [unknown.overdue_s(at(age), at(2 * age))[0] / age for age in (1.0, 10.0, 100.0, 1000.0)]
    assert due == pytest.approx([due[0]] * 4, rel=0.1)


def test_what_is_learnt_from_jobs_that_end_and_jobs_that_still_run_is_the_truth() -> None:
    random = np.random.default_rng(5)
    times = RunTimes()
    horizon = 120.0  # of jobs that run for 100 s on average, a third is still running when we look
    for runs in random.exponential(100.0, 4000):
        times.seen(0.0, min(runs, horizon), ended=bool(runs <= horizon))
    since, now = at(0.0, 20.0, 60.0), at(40.0, 80.0, 110.0)
    truth = (now - since) - 100.0 * (1 - np.exp(-(now - since) / 100.0))
    assert times.overdue_s(since, now) == pytest.approx(truth, rel=0.1)


def test_a_job_is_asked_about_when_jobs_of_its_age_have_ended() -> None:
    times = RunTimes()
    for runs in np.random.default_rng(5).normal(100.0, 3.0, 1000):
        times.seen(0.0, float(runs), ended=True)
    young, about, old = times.overdue_s(at(0.0, 0.0, 0.0), at(60.0, 100.0, 130.0))
    assert young < 0.5
    assert about < 8.0
    assert old == pytest.approx(30.0, abs=6.0)


def test_jobs_that_are_asked_about_later_than_they_are_known_to_end_stay_finite() -> None:
    times = RunTimes()
    for _ in range(10_000):
        times.seen(0.0, 1.0, ended=True)
    assert np.isfinite(times.overdue_s(at(0.0, 1e5, 1e7), at(1e5, 1e7, 2e7))).all()


@pytest.mark.parametrize("batch", [1, 500], ids=["one id", "a batch"])
def test_a_limit_of_status_requests_is_never_exceeded_and_every_job_is_heard_of(tmp_path: Path, batch: int) -> None:
    world = World()
    service = Service(world, run_s=2.0)
    asked: list[float] = []

    def note(request: Request) -> None:
        if request.purpose == "poll":
            asked.append(world.now_s)

    service.answer = note
    target = Path(preset(tmp_path, batch_status=batch))
    target.write_text(target.read_text() + "\n[rates]\npolls_per_s = 5\n")
    drive_dir = write(
        tmp_path, 60, per_s=4.0, target_preset=str(target), max_in_flight=100, poll_interval_s=0.1, drain_limit_s=60.0
    )
    assert carry_on(drive_dir, world, service) == "completed"
    assert close_drive(drive_dir, "completed").counts["completed"] == 60
    for first, sixth in zip(asked, asked[5:], strict=False):
        assert sixth - first >= 1.0 - 1e-6


def undeclared(folder: Path, world: World, service: Service, jobs: int, **named: Any) -> list[float]:
    """When a target that declares no limit is asked about jobs; all must be heard of."""
    asked: list[float] = []
    service.answer = lambda request: asked.append(world.now_s) if request.purpose == "poll" else None
    drive_dir = write(folder, jobs, max_in_flight=jobs, drain_limit_s=600.0, poll_interval_s=0.2, **named)
    assert carry_on(drive_dir, world, service) == "completed"
    assert close_drive(drive_dir, "completed").counts["completed"] == jobs
    return asked


def test_a_target_that_declares_no_limit_is_asked_about_the_likely_ones_of_many_jobs(
    tmp_path: Path, world: World, service: Service
) -> None:
    service.run_s = 20.0
    noticed_s: dict[str, float] = {}

    def note(request: Request) -> None:
        if request.purpose == "poll":
            noticed_s[request.asks_for[0]] = world.now_s

    service.answer_after = note
    asked = undeclared(tmp_path, world, service, 600, per_s=20.0, target_preset=limited(tmp_path))
    assert most_in_a_second(asked) <= UNDECLARED_PER_S + 10  # those of one look go out together
    delays_s = [noticed_s[name] - jobs[0].submitted_s - 20.2 for name, jobs in service.jobs.items()]
    assert min(delays_s) >= 0
    # 400 in flight: to ask in turn would take 8 s, and so notice 4 s late on average.
    assert np.mean(delays_s[200:]) < 1.0


def test_the_few_jobs_of_a_target_that_declares_no_limit_are_asked_about_at_every_interval(
    tmp_path: Path, world: World, service: Service
) -> None:
    service.run_s = 4.0
    asked = undeclared(tmp_path, world, service, 10, per_s=1e6, target_preset=limited(tmp_path))
    assert len(asked) >= 10 * 4 / 0.25


def test_a_target_that_takes_many_ids_and_declares_no_limit_is_asked_about_all_of_them(
    tmp_path: Path, world: World, service: Service
) -> None:
    service.run_s = 5.0
    asked = undeclared(tmp_path, world, service, 1000, per_s=1000.0, rate_share=0.1)
    assert most_in_a_second(asked) <= UNDECLARED_PER_S * 0.1 + 2 * 1000 / 200  # those of one look go out together
