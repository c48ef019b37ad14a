"""The store under every order of submissions, leases, heartbeats, deaths, results and cancels."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lab.effects.catalogue import PROVIDERS
from lab.effects.records import TERMINAL, NewJob
from lab.effects.store import LOST_LIMIT, Store
from pointsman.clock import ManualClock

CPU = PROVIDERS["lab-cpu"]


def new(name: str, provider: str = "lab-cpu") -> NewJob:
    return NewJob(name, f"job of {name}", "content", "variant", None, None, provider, "workflow", "{}", "/in")


def finish(store: Store, name: str, number: int, *, completed: bool = True) -> bool:
    return store.finish(
        name,
        number,
        completed=completed,
        reason=None if completed else "cancelled",
        wall_seconds=1.5,
        cpu_seconds=1.0,
        output_sha256="hash" if completed else None,
        output_bytes=7 if completed else None,
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> Iterator[Store]:
    opened = Store(tmp_path / "effects.db", clock, lease_s=2.0)
    yield opened
    opened.close()


def test_jobs_leave_the_queue_in_the_order_of_their_acceptance_per_provider(store: Store) -> None:
    assert [store.accept(new(name)) for name in ("b", "a", "b")] == [True, True, False]
    assert store.accept(new("spot", "lab-spot"))
    taken = [store.lease_next(CPU) for _ in range(3)]
    assert [lease and (lease[0].dispatch_id, lease[1]) for lease in taken] == [("b", 1), ("a", 1), None]


def test_a_heartbeat_keeps_a_lease_and_silence_ends_it(store: Store, clock: ManualClock) -> None:
    store.accept(new("a"))
    store.lease_next(CPU)
    for _ in range(3):
        clock.sleep(1.9)
        assert store.expire_leases() == []
        store.renew("a", 1)
    clock.sleep(0.5)
    store.seen_dying("a", 1)
    clock.sleep(1.5)
    (lost,) = store.expire_leases()
    assert (lost.dispatch_id, lost.number) == ("a", 1)
    (attempt,) = store.attempts(["a"])["a"]
    assert attempt.outcome == "lost"
    assert attempt.wall_seconds == pytest.approx(3 * 1.9 + 0.5), "billed until it died, not until the lease ran out"
    assert attempt.cpu_seconds is None


def test_the_result_of_an_attempt_that_was_given_up_changes_nothing(store: Store, clock: ManualClock) -> None:
    store.accept(new("a"))
    store.lease_next(CPU)
    clock.sleep(2)
    store.expire_leases()
    store.renew("a", 1)
    assert not finish(store, "a", 1)
    assert store.job("a").status == "queued"  # type: ignore[union-attr]
    store.lease_next(CPU)
    assert not finish(store, "a", 1)
    assert finish(store, "a", 2)
    assert [attempt.outcome for attempt in store.attempts(["a"])["a"]] == ["lost", "completed"]


def test_a_job_that_kills_every_worker_ends_as_failed(store: Store, clock: ManualClock) -> None:
    store.accept(new("poison"))
    while store.lease_next(CPU):
        clock.sleep(2)
        store.expire_leases()
    job = store.job("poison")
    assert job is not None
    assert (job.status, job.reason) == ("failed", f"its worker was lost {LOST_LIMIT} times")
    assert len(store.attempts(["poison"])["poison"]) == LOST_LIMIT


def test_a_cancelled_job_whose_worker_is_gone_ends_with_its_lease(store: Store, clock: ManualClock) -> None:
    store.accept(new("a"))
    store.lease_next(CPU)
    assert store.cancel("a").status == "leased"  # type: ignore[union-attr]
    clock.sleep(2)
    store.expire_leases()
    job = store.job("a")
    assert job is not None
    assert (job.status, job.reason) == ("cancelled", "cancelled")
    assert store.lease_next(CPU) is None


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order, also with a restart in between: see the invariant."""

    names = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.leased: list[tuple[str, int]] = []
        self.accepted: set[str] = set()
        self.ended: dict[str, object] = {}
        self.open()

    def open(self) -> None:
        self.store = Store(self.folder / "effects.db", self.clock, lease_s=2.0)

    @rule(name=names)
    def submit(self, name: str) -> None:
        assert self.store.accept(new(name)) == (name not in self.accepted)
        self.accepted.add(name)

    @rule()
    def lease(self) -> None:
        if lease := self.store.lease_next(CPU):
            self.leased.append((lease[0].dispatch_id, lease[1]))

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5]))
    def wait(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self.store.expire_leases()

    @rule(name=names)
    def cancel(self, name: str) -> None:
        if name in self.accepted:
            self.store.cancel(name)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), completed=st.booleans())
    def result(self, data: st.DataObject, completed: bool) -> None:
        finish(self.store, *data.draw(st.sampled_from(self.leased)), completed=completed)

    @precondition(lambda self: self.leased)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        self.store.renew(*data.draw(st.sampled_from(self.leased)))

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @invariant()
    def every_job_is_somewhere_and_every_attempt_is_billed(self) -> None:
        jobs = self.store.jobs("abc")
        attempts = self.store.attempts("abc")
        assert {job.dispatch_id for job in jobs} == self.accepted
        stats = self.store.stats()
        assert stats["accepted"] == len(self.accepted)
        assert stats["attempts"] == len(self.leased) == sum(map(len, attempts.values()))
        for job in jobs:
            mine = attempts[job.dispatch_id]
            running = [attempt for attempt in mine if attempt.outcome == "running"]
            assert len(running) == (1 if job.status == "leased" else 0)
            assert [attempt.number for attempt in mine] == list(range(1, len(mine) + 1))
            assert all((attempt.wall_seconds is None) == (attempt.outcome == "running") for attempt in mine)
            assert sum(attempt.outcome == "completed" for attempt in mine) == (job.status == "completed")
            assert (job.ended_at is not None) == (job.status in TERMINAL)
            if job.dispatch_id in self.ended:
                assert (job, mine) == self.ended[job.dispatch_id], "what has ended never changes"
            elif job.status in TERMINAL:
                self.ended[job.dispatch_id] = (job, mine)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
