"""A target's own rate limits: never exceeded, whatever asks and however long it waited."""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.dispatch import read_dispatches
from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.driver import Driver
from pointsman.dispatch.pace import Pace, share_of
from pointsman.dispatch.protocol import Request, Response
from tests.dispatch.world import Service, World, carry_on, preset, virtual_loop, write


def most_in_a_second(times_s: list[float]) -> int:
    window: deque[float] = deque()
    most = 0
    for at in sorted(times_s):
        window.append(at)
        while window[0] <= at - 1.0 + 1e-9:
            window.popleft()
        most = max(most, len(window))
    return most


@settings(max_examples=50, deadline=None)
@given(
    per_s=st.floats(0.5, 50.0),
    gaps=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60),
)
def test_whenever_turns_are_asked_for_no_second_holds_more_than_allowed(per_s: float, gaps: list[float]) -> None:
    world = World()
    given_at: list[float] = []

    async def ask(pace: Pace) -> None:
        await pace.turn()
        given_at.append(world.now_s)

    async def run() -> None:
        pace = Pace(world.monotonic_ns, per_s)
        tasks = []
        for gap in gaps:
            await asyncio.sleep(gap)
            tasks.append(asyncio.create_task(ask(pace)))
        await asyncio.gather(*tasks)

    with asyncio.Runner(loop_factory=lambda: virtual_loop(world)) as runner:
        runner.run(run())
    assert len(given_at) == len(gaps)
    assert most_in_a_second(given_at) <= max(1, int(per_s) + (per_s % 1 > 0))
    assert given_at == sorted(given_at)


def limited(folder: Path, **rates: float) -> str:
    path = Path(preset(folder, batch_status=1))
    text = path.read_text().replace('body = { ids = "$dispatch_ids" }\njobs = "jobs"\nabsent = "unknown"\n', "")
    text = text.replace('method = "POST"\npath = "/v1/jobs/status"', 'method = "GET"\npath = "/v1/jobs/$dispatch_id"')
    path.write_text(text + "\n[rates]\n" + "".join(f"{name} = {value}\n" for name, value in rates.items()))
    return str(path)


@pytest.mark.parametrize("turned_away", [False, True])
def test_submissions_and_status_requests_keep_the_limits_and_all_is_learnt(
    tmp_path: Path, world: World, service: Service, turned_away: bool
) -> None:
    times: dict[str, list[float]] = {"submit": [], "poll": []}
    refused_at = world.now_s + 0.5

    def note(request: Request) -> Response | None:
        times[request.purpose].append(world.now_s)
        if turned_away and request.purpose == "submit" and refused_at < world.now_s < refused_at + 0.5:
            return Response(429, {"retry-after": "1"}, b"")
        return None

    service.answer = note
    target = limited(tmp_path, submits_per_s=7.0, polls_per_s=11.0)
    drive_dir = write(tmp_path, 40, per_s=20.0, max_in_flight=100, drain_limit_s=60.0, target_preset=target)
    assert carry_on(drive_dir, world, service) == "completed"
    assert close_drive(drive_dir, "completed").counts["completed"] == 40
    assert most_in_a_second(times["submit"]) <= 7
    assert most_in_a_second(times["poll"]) <= 11
    # 40 at 7/s take 5.7 s and were due within 2: waiting for the limit shows as lateness.
    assert read_dispatches(drive_dir)["lateness_ns"].max() > 3_000_000_000  # type: ignore[operator]


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("per_s", [0.5, 2.0, 10.0, 33.3])
def test_the_shares_of_shards_are_no_more_than_the_limit(per_s: float, shards: int) -> None:
    part = share_of(per_s, 1 / shards)
    assert part is not None
    assert 0 < part * shards <= per_s + 1e-9
    assert share_of(None, 1 / shards) is None


def test_shards_share_a_limit(tmp_path: Path, world: World, service: Service) -> None:
    times: list[float] = []
    service.answer = lambda request: times.append(world.now_s) if request.purpose == "submit" else None
    target = limited(tmp_path, submits_per_s=10.0)
    drive_dir = write(tmp_path, 10, target_preset=target, rate_share=0.5, max_in_flight=10)
    assert carry_on(drive_dir, world, service) == "completed"
    assert most_in_a_second(times) == 5


@pytest.mark.parametrize(("own", "of_target", "most"), [(3.0, None, 3), (3.0, 5.0, 3), (9.0, 4.0, 4)])
def test_a_drive_keeps_a_rate_of_its_own_also_where_the_target_would_take_more(
    tmp_path: Path, world: World, service: Service, own: float, of_target: float | None, most: int
) -> None:
    times: list[float] = []
    service.answer = lambda request: times.append(world.now_s) if request.purpose == "submit" else None
    target = limited(tmp_path, **({} if of_target is None else {"submits_per_s": of_target}))
    drive_dir = write(tmp_path, 12, target_preset=target, submits_per_s=own, max_in_flight=12)
    assert carry_on(drive_dir, world, service) == "completed"
    assert most_in_a_second(times) == most


def test_what_waits_for_its_turn_when_the_drive_is_cancelled_was_never_sent(
    tmp_path: Path, world: World, service: Service
) -> None:
    def cancel_later(driver: Driver) -> None:
        asyncio.get_running_loop().call_later(2.0, driver.stop, "cancelled")

    drive_dir = write(tmp_path, 30, per_s=100.0, max_in_flight=100, target_preset=limited(tmp_path, submits_per_s=2.0))
    assert carry_on(drive_dir, world, service, script=cancel_later) == "cancelled"
    counts = close_drive(drive_dir, "cancelled").counts
    assert counts["sent"] == len(service.jobs) == 4
    assert counts["cancelled_unsent"] == 30 - counts["sent"]
