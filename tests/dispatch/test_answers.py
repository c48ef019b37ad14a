"""What the driver makes of good, bad and missing answers: each dispatch ends counted, and the drive always ends."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from pointsman.dispatch import DriveSummary, VariantBound, read_attempts, read_dispatches
from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.driver import Driver
from pointsman.dispatch.journal import write_segment
from pointsman.dispatch.protocol import Request, Response
from pointsman.dispatch.transport import NoAnswer
from tests.dispatch.world import (
    OTHER_VARIANT,
    OUTPUT,
    ROUTE,
    VARIANT,
    Service,
    SlowDisk,
    World,
    carry_on,
    preset,
    write,
)

GARBAGE = Response(200, {}, b"<html>")


def is_submit(request: Request) -> bool:
    return request.path == "/v1/jobs"


def finished(drive_dir: Path, world: World, service: Service) -> tuple[DriveSummary, pl.DataFrame]:
    assert carry_on(drive_dir, world, service) == "completed"
    return close_drive(drive_dir, "completed"), read_dispatches(drive_dir)


def test_times_come_from_the_targets_own_clock_not_from_our_interval(
    tmp_path: Path, world: World, service: Service
) -> None:
    _, rows = finished(write(tmp_path, 1), world, service)
    # 4 ms to be taken, then the half second that the job document tells; it was asked about every 0.3 s.
    assert rows["total_ms"].to_list() == [pytest.approx(504.0, abs=0.1)]
    assert rows["queue_ms"].to_list() == [200.0]


def test_usage_is_the_exact_product_that_the_preset_names(tmp_path: Path, world: World, service: Service) -> None:
    drive_dir = write(tmp_path, 1)
    finished(drive_dir, world, service)
    attempts = read_attempts(drive_dir)
    assert dict(attempts.select("sku", "quantity").iter_rows()) == {"p1:vcpu-second": "0.50", "p1:gb-second": "0.125"}
    assert attempts["basis"].to_list() == ["measured", "measured"]


def test_a_routed_dispatch_names_its_route_and_lands_with_the_variant_and_generation_that_served_it(
    tmp_path: Path, world: World, service: Service
) -> None:
    _, rows = finished(write(tmp_path, 2, routes=[ROUTE]), world, service)
    assert rows["variant"].to_list() == [VARIANT] * 2
    assert rows["generation"].to_list() == [7] * 2
    assert rows["dispatch_id"][0].startswith(f"studio_routed_{ROUTE}_0_")
    bodies = [jobs[0].body for jobs in service.jobs.values()]
    assert all(body["route_key"] == ROUTE and "variant" not in body for body in bodies)


def test_a_pinned_dispatch_names_its_variant_and_parameters(tmp_path: Path, world: World, service: Service) -> None:
    finished(write(tmp_path, 1), world, service)
    ((job,),) = service.jobs.values()
    assert job.body["variant"] == VARIANT
    assert job.body["params"] == {"crf": 23}
    assert job.body["input"] == {"id": "i", "uri": "/clip", "sha256": "0" * 64}
    assert "route_key" not in job.body


def test_a_closed_loop_keeps_within_its_bounds_in_all_and_per_provider(
    tmp_path: Path, world: World, service: Service
) -> None:
    drive_dir = write(
        tmp_path, 12, routes=[VARIANT, VARIANT, OTHER_VARIANT], max_in_flight=3, max_in_flight_per_provider=2
    )
    seen: list[tuple[int, int]] = []

    def look(driver: Driver) -> None:
        def note(request: Request) -> None:
            counts = driver.board.in_flight
            seen.append((counts.total(), max(counts.values())))

        service.answer = note

    assert carry_on(drive_dir, world, service, script=look) == "completed"
    assert max(total for total, _ in seen) == 3
    assert max(most for _, most in seen) == 2


def test_a_closed_loop_gives_a_variant_no_more_at_once_than_its_own_bound(
    tmp_path: Path, world: World, service: Service
) -> None:
    bound = {VARIANT: VariantBound(max_in_flight=1)}
    drive_dir = write(tmp_path, 12, routes=[VARIANT, OTHER_VARIANT], max_in_flight=4, variants=bound)
    busy: list[tuple[int, int]] = []

    def note(request: Request) -> None:
        running = [
            jobs[0].body["variant"]
            for one, jobs in service.jobs.items()
            if service.document(one)["status"] in ("queued", "leased")
        ]
        busy.append((running.count(VARIANT), running.count(OTHER_VARIANT)))

    service.answer = note
    assert carry_on(drive_dir, world, service) == "completed"
    assert max(own for own, _ in busy) == 1
    assert max(others for _, others in busy) == 3, "what one may not have, the others get"
    assert len(service.jobs) == 12


@pytest.mark.parametrize("first_eras", [0, 1])
def test_a_closed_loop_gives_a_variant_its_turns_at_its_own_rate(
    tmp_path: Path, world: World, service: Service, first_eras: int
) -> None:
    bound = {VARIANT: VariantBound(per_s=0.5)}
    drive_dir = write(tmp_path, 8, routes=[VARIANT, OTHER_VARIANT], max_in_flight=4, variants=bound)
    began = world.now_s
    for _ in range(first_eras):
        stop = lambda driver: asyncio.get_running_loop().call_later(3.0, driver.stop, "interrupted")  # noqa: E731
        assert carry_on(drive_dir, world, service, script=stop) == "interrupted"
    assert carry_on(drive_dir, world, service) == "completed"
    sent = {
        one: [jobs[0].submitted_s for jobs in service.jobs.values() if jobs[0].body["variant"] == one]
        for one in (VARIANT, OTHER_VARIANT)
    }
    own = sorted(sent[VARIANT])
    assert own[0] - began >= 2.0, "whoever drove before may have had the last turn just now"
    assert all(after - before >= 2.0 - 1e-6 for before, after in pairwise(own))
    assert max(sent[OTHER_VARIANT]) - began < 2.0, "the others do not wait for it"
    assert len(own) == 4


def test_an_open_loop_drops_what_is_due_while_too_much_is_in_flight(
    tmp_path: Path, world: World, service: Service
) -> None:
    summary, rows = finished(write(tmp_path, 20, per_s=100.0, max_in_flight=4), world, service)
    assert summary.counts["dropped"] == 16
    assert set(rows.filter(pl.col("state") == "dropped")["reason"]) == {"max_in_flight"}
    assert len(service.jobs) == 4


def test_an_open_loop_keeps_its_bound_in_a_burst_and_per_provider(
    tmp_path: Path, world: World, service: Service
) -> None:
    routes = [VARIANT, VARIANT, VARIANT, OTHER_VARIANT]
    drive_dir = write(tmp_path, 40, per_s=1e6, routes=routes, max_in_flight=5, max_in_flight_per_provider=3)
    summary, rows = finished(drive_dir, world, service)
    assert summary.counts["sent"] == 5  # three of one provider, and two of the other
    assert set(rows["reason"].drop_nulls()) == {"max_in_flight", "max_in_flight_per_provider"}


def test_what_waits_for_a_target_that_stays_away_is_dropped_at_the_drain_limit(
    tmp_path: Path, world: World, service: Service
) -> None:
    service.answer = lambda _: NoAnswer("unreachable", left=False)
    summary, rows = finished(
        write(tmp_path, 5, per_s=10.0, max_in_flight=100, drain_limit_s=2.0, target_patience_s=600.0), world, service
    )
    assert summary.counts["dropped"] == 5
    assert rows["reason"].to_list() == ["drain_limit: unreachable"] * 5


def test_what_is_turned_away_until_the_drain_limit_failed(tmp_path: Path, world: World, service: Service) -> None:
    service.answer = lambda _: Response(429, {"retry-after": "3"}, b"")
    summary, rows = finished(write(tmp_path, 5, per_s=1.0, max_in_flight=100, drain_limit_s=3.5), world, service)
    assert summary.counts["failed"] == 5
    assert set(rows["reason"]) == {"http_429"}


def test_an_open_loop_sends_each_dispatch_when_it_is_due(tmp_path: Path, world: World, service: Service) -> None:
    _, rows = finished(write(tmp_path, 30, per_s=50.0, max_in_flight=100), world, service)
    assert rows["planned_ns"].to_list() == [at * 20_000_000 for at in range(30)]
    assert rows["lateness_ns"].max() == 0


def test_an_unreachable_moment_delays_what_is_due_and_the_delay_shows(
    tmp_path: Path, world: World, service: Service
) -> None:
    away = (world.now_s + 0.3, world.now_s + 1.3)
    service.answer = lambda _: NoAnswer("unreachable", left=False) if away[0] < world.now_s < away[1] else None
    summary, rows = finished(write(tmp_path, 20, per_s=20.0, max_in_flight=100), world, service)
    assert summary.counts["completed"] == 20
    assert all(number == 1 for number in service.submissions.values())
    assert 500 < summary.lateness_ms.max < 1300  # type: ignore[operator]
    assert rows["total_ms"].max() > 1000  # counted from the planned time


def test_a_target_that_stays_away_ends_the_drive_which_continues_when_it_is_back(
    tmp_path: Path, world: World, service: Service
) -> None:
    drive_dir = write(tmp_path, 20, per_s=20.0, max_in_flight=100, target_patience_s=2.0)
    gone_at = world.now_s + 0.4
    service.answer = lambda _: NoAnswer("unreachable", left=False) if world.now_s > gone_at else None
    assert carry_on(drive_dir, world, service) == "target_lost"
    assert world.now_s < gone_at + 3.0
    taken = len(service.jobs)
    assert 0 < taken < 20
    service.answer = lambda _: None
    summary, _ = finished(drive_dir, world, service)
    assert summary.counts["completed"] == 20
    assert all(number == 1 for number in service.submissions.values())
    assert len(summary.interruptions) == 1


def test_what_surely_never_left_is_sent_later_even_without_idempotency(
    tmp_path: Path, world: World, service: Service
) -> None:
    blind = preset(tmp_path, idempotent_submit=False, status_by_dispatch_id=False)
    drive_dir = write(tmp_path, 20, per_s=20.0, max_in_flight=100, target_patience_s=1.0, target_preset=blind)
    service.idempotent = False
    gone_at = world.now_s + 0.4
    service.answer = lambda _: NoAnswer("unreachable", left=False) if world.now_s > gone_at else None
    assert carry_on(drive_dir, world, service) == "target_lost"
    service.answer = lambda _: None
    summary, _ = finished(drive_dir, world, service)
    assert summary.counts["completed"] == 20
    assert all(number == 1 for number in service.submissions.values())


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_submission_without_an_answer_is_asked_about_and_sent_again_only_if_it_is_not_there(
    tmp_path: Path, world: World, service: Service, lost: str
) -> None:
    first: set[str] = set()

    def lose(request: Request) -> NoAnswer | None:
        if is_submit(request) and request.asks_for[0] not in first:
            first.add(request.asks_for[0])
            return NoAnswer("timeout", left=True)
        return None

    if lost == "request":
        service.answer = lose
    else:
        service.answer_after = lose
    summary, _ = finished(write(tmp_path, 4), world, service)
    assert summary.counts["completed"] == 4
    assert set(service.submissions.values()) == {1}


def test_a_lost_submission_to_a_target_without_idempotency_is_unknown(
    tmp_path: Path, world: World, service: Service
) -> None:
    service.idempotent = False
    service.answer_after = lambda request: NoAnswer("timeout", left=True) if is_submit(request) else None
    blind = preset(tmp_path, idempotent_submit=False, status_by_dispatch_id=False)
    drive_dir = write(tmp_path, 3, target_preset=blind)
    summary, rows = finished(drive_dir, world, service)
    assert summary.counts["unknown"] == 3
    assert set(rows["reason"]) == {"timeout"}
    assert set(service.submissions.values()) == {1}
    attempts = read_attempts(drive_dir)
    assert attempts["outcome"].to_list() == ["unknown"] * 3
    assert attempts["missing_reason"].to_list() == ["timeout"] * 3  # unpriced, and it says why


def test_a_target_that_never_answers_a_submission_gets_it_three_times_at_most(
    tmp_path: Path, world: World, service: Service
) -> None:
    def lose(request: Request) -> NoAnswer | None:
        if is_submit(request):
            service.submissions[request.asks_for[0]] += 1
            return NoAnswer("connection_lost", left=True)
        return None

    service.answer = lose
    summary, _ = finished(write(tmp_path, 2, target_patience_s=60.0), world, service)
    assert summary.counts["unknown"] == 2
    assert set(service.submissions.values()) == {3}


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_server_error_is_a_failure_that_is_not_hidden_by_sending_again(
    tmp_path: Path, world: World, service: Service, status: int
) -> None:
    service.answer = lambda request: Response(status, {}, b"") if is_submit(request) else None
    summary, rows = finished(write(tmp_path, 3), world, service)
    assert summary.counts["failed"] == 3
    assert set(rows["reason"]) == {f"http_{status}"}
    assert not service.jobs


def test_a_server_error_after_the_job_was_taken_is_followed_to_its_end(
    tmp_path: Path, world: World, service: Service
) -> None:
    service.answer_after = lambda request: Response(500, {}, b"") if is_submit(request) else None
    summary, _ = finished(write(tmp_path, 3), world, service)
    assert summary.counts["completed"] == 3
    assert set(service.submissions.values()) == {1}


def test_a_refused_job_carries_the_targets_words(tmp_path: Path, world: World, service: Service) -> None:
    problem = Response(422, {}, b'{"title": "no", "detail": "input outside the allowed roots"}')
    service.answer = lambda request: problem if is_submit(request) else None
    drive_dir = write(tmp_path, 1)
    summary, rows = finished(drive_dir, world, service)
    assert summary.counts["failed"] == summary.answered["refused"] == 1
    assert rows["reason"].to_list() == ["http_422: input outside the allowed roots"]
    assert read_attempts(drive_dir).select("outcome", "sku", "missing_reason").rows() == [("refused", None, None)]


def test_garbage_to_a_submission_is_cleared_up_by_asking(tmp_path: Path, world: World, service: Service) -> None:
    service.answer_after = lambda request: GARBAGE if is_submit(request) else None
    summary, _ = finished(write(tmp_path, 3), world, service)
    assert summary.counts["completed"] == 3


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (GARBAGE, "garbage_answer"),
        (Response(200, {}, b'{"jobs": 3}'), "garbage_answer"),
        (Response(500, {}, b""), "http_500"),
        (Response(403, {}, b'{"detail": "the key was revoked"}'), "http_403: the key was revoked"),
        (Response(429, {}, b'{"detail": "too many requests"}'), "http_429: too many requests"),
    ],
)
def test_status_answers_that_cannot_be_used_end_at_the_drain_limit_as_unknown(
    tmp_path: Path, world: World, service: Service, answer: Response, trouble: str
) -> None:
    service.answer = lambda request: None if is_submit(request) else answer
    began = world.now_s
    summary, rows = finished(write(tmp_path, 30, drain_limit_s=5.0), world, service)
    assert world.now_s - began < 15.0
    assert summary.counts["unknown"] == 3  # in flight
    assert summary.counts["dropped"] == 27  # a closed loop that learns nothing any more does not go on
    assert set(rows.filter(pl.col("state") == "dropped")["reason"]) == {"stalled"}
    assert set(rows.filter(pl.col("state") == "unknown")["reason"]) == {f"stalled: {trouble}"}


def test_one_bad_document_says_nothing_against_its_neighbours(tmp_path: Path, world: World, service: Service) -> None:
    def spoil(request: Request) -> Response | None:
        if is_submit(request):
            return None
        documents = [service.document(one) for one in request.asks_for]
        for document in documents:
            if document["dispatch_id"].startswith("studio_load_test_run_0_"):
                document["status"] = "confused"
        whole = {"jobs": documents} if request.purpose == "poll" else documents[0]
        return Response(200, {}, json.dumps(whole).encode())

    service.answer_after = spoil
    summary, rows = finished(write(tmp_path, 3, per_s=100.0), world, service)
    assert summary.counts["completed"] == 2
    assert rows["state"][0] == "unknown"


def test_a_job_that_does_not_end_is_unknown_at_the_drain_limit_and_is_ended_at_the_target(
    tmp_path: Path, world: World, service: Service
) -> None:
    service.run_s = 1000.0
    began = world.now_s
    summary, rows = finished(write(tmp_path, 2, per_s=10.0, drain_limit_s=4.0), world, service)
    assert world.now_s - began < 8.0
    assert rows["state"].to_list() == ["unknown"] * 2
    assert set(rows["reason"]) == {"drain_limit"}
    assert summary.answered["cancelled"] == 2
    assert all(jobs[0].cancelled for jobs in service.jobs.values())


@pytest.mark.parametrize("header", [{"retry-after": "2"}, {}])
def test_being_turned_away_is_waited_out_and_counts_as_one_submission(
    tmp_path: Path, world: World, service: Service, header: dict[str, str]
) -> None:
    began = world.now_s
    turned_away: list[float] = []

    def limit(request: Request) -> Response | None:
        if is_submit(request) and world.now_s < began + 1.5:
            turned_away.append(world.now_s)
            return Response(429, header, b"")
        return None

    service.answer = limit
    summary, _ = finished(write(tmp_path, 6), world, service)
    assert summary.counts["completed"] == 6
    assert set(service.submissions.values()) == {1}
    # With a time to wait the target is left alone for that long; without, it is asked a few times, ever more rarely.
    assert len(turned_away) == (3 if header else 9)


def test_being_turned_away_for_ever_is_a_failure(tmp_path: Path, world: World, service: Service) -> None:
    service.answer = lambda request: Response(429, {}, b"") if is_submit(request) else None
    summary, rows = finished(write(tmp_path, 2, drain_limit_s=3.0), world, service)
    assert summary.counts["failed"] == 2
    assert set(rows["reason"]) == {"http_429"}


def test_a_status_service_that_asks_for_quiet_gets_it(tmp_path: Path, world: World, service: Service) -> None:
    asked: list[float] = []

    def limit(request: Request) -> Response | None:
        if request.path == "/v1/jobs/status":
            asked.append(world.now_s)
            if len(asked) == 1:
                return Response(429, {"retry-after": "3"}, b"")
        return None

    service.answer = limit
    summary, _ = finished(write(tmp_path, 2), world, service)
    assert summary.counts["completed"] == 2
    assert asked[1] - asked[0] >= 3.0


def test_a_target_that_forgets_a_job_gets_it_again(tmp_path: Path, world: World, service: Service) -> None:
    drive_dir = write(tmp_path, 1)
    forget_at = world.now_s + 0.2

    def forget(request: Request) -> None:
        if world.now_s > forget_at and service.jobs and service.submissions.total() == 1:
            service.jobs.clear()

    service.answer = forget
    summary, _ = finished(drive_dir, world, service)
    assert summary.counts["completed"] == 1
    assert service.submissions.total() == 2


def test_outputs_are_fetched_and_their_hash_recorded(tmp_path: Path, world: World, service: Service) -> None:
    drive_dir = write(tmp_path, 3, fetch_outputs=True)
    _, rows = finished(drive_dir, world, service)
    for row in rows.iter_rows(named=True):
        path = drive_dir / "outputs" / row["dispatch_id"]
        assert path.read_bytes() == OUTPUT
        assert row["output_uri"] == path.as_uri()
        assert (row["output_sha256"], row["output_bytes"]) == (service.output_sha256, len(OUTPUT))


def test_an_output_that_is_not_what_the_target_said_fails_the_dispatch(
    tmp_path: Path, world: World, service: Service
) -> None:
    service.output_sha256 = "f" * 64
    drive_dir = write(tmp_path, 2, fetch_outputs=True)
    summary, rows = finished(drive_dir, world, service)
    assert rows["state"].to_list() == ["failed"] * 2
    assert set(rows["reason"]) == {"output_mismatch"}
    assert rows["output_uri"].null_count() == 2
    assert summary.answered["completed"] == 2  # the target's word is kept apart from our judgement
    assert list((drive_dir / "outputs").iterdir()) == []


def test_an_output_that_cannot_be_had_fails_the_dispatch(tmp_path: Path, world: World, service: Service) -> None:
    service.answer = lambda request: Response(404, {}, b"") if request.path.endswith("/output") else None
    _, rows = finished(write(tmp_path, 1, fetch_outputs=True), world, service)
    assert rows["reason"].to_list() == ["output_unavailable: http_404"]


def test_a_slow_disk_gets_everything_before_the_drive_ends_whenever_that_is(tmp_path: Path) -> None:
    for at in range(40):
        world = World()
        service = Service(world, run_s=0.3 + at * 0.02)
        drive_dir = write(tmp_path / str(at), 2, poll_interval_s=0.01)
        assert carry_on(drive_dir, world, service, disk=lambda: SlowDisk(0.3)) == "completed"
        assert close_drive(drive_dir, "completed").counts["completed"] == 2


def test_a_disk_that_was_full_for_a_moment_is_an_error_even_when_the_drive_has_stopped_waiting_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_once(path: Path, rows: pl.DataFrame) -> None:
        if path.stem.endswith("000000"):
            raise OSError(28, "No space left on device")
        write_segment(path, rows)

    monkeypatch.setattr("pointsman.dispatch.driver.write_segment", full_once)
    for at in range(20):
        world = World()
        service = Service(world, run_s=0.1 + at * 0.02)
        drive_dir = write(tmp_path / str(at), 2, poll_interval_s=0.01)
        with pytest.raises(OSError, match="No space"):
            carry_on(drive_dir, world, service, disk=lambda: SlowDisk(0.3))


def test_cancelling_ends_jobs_at_the_target_and_leaves_the_rest_unsent(
    tmp_path: Path, world: World, service: Service
) -> None:
    service.run_s = 100.0
    drive_dir = write(tmp_path, 10)
    at: list[float] = []

    def cancel_later(driver: Driver) -> None:
        def now() -> None:
            at.append(world.now_s)
            driver.stop("cancelled")

        asyncio.get_running_loop().call_later(0.5, now)

    assert carry_on(drive_dir, world, service, script=cancel_later) == "cancelled"
    assert world.now_s - at[0] < 3.0
    assert len(service.jobs) == 3
    assert all(jobs[0].cancelled for jobs in service.jobs.values())
    summary = close_drive(drive_dir, "cancelled")
    assert (summary.counts["cancelled_sent"], summary.counts["cancelled_unsent"]) == (3, 7)
    assert summary.answered["cancelled"] == 3


def test_an_interrupted_drive_leaves_jobs_alone_and_continues_with_them(
    tmp_path: Path, world: World, service: Service
) -> None:
    drive_dir = write(tmp_path, 6)
    script = lambda driver: asyncio.get_running_loop().call_later(0.3, driver.stop, "interrupted")  # noqa: E731
    assert carry_on(drive_dir, world, service, script=script) == "interrupted"
    assert not any(jobs[0].cancelled for jobs in service.jobs.values())
    summary, _ = finished(drive_dir, world, service)
    assert summary.counts["completed"] == 6
    assert set(service.submissions.values()) == {1}
