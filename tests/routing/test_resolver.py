"""A service learns where a route leads, and goes on knowing it while nobody answers."""

import threading

import pytest
from sqlalchemy.exc import OperationalError

from pointsman.clock import ManualClock
from pointsman.errors import DependencyDown, InputRefused
from pointsman.model import Binding
from pointsman.routing import BindingRequest, FlagdFileGateway, Resolver, apply_binding, rollback
from tests.routing.worlds import ROUTE, A, B


def binding(generation, weights):
    return Binding(ROUTE, generation, weights, "test")


class Source:
    def __init__(self, shown=None):
        self.shown, self.down, self.asked = shown, None, 0

    def __call__(self, key):
        self.asked += 1
        if self.down:
            raise self.down
        return self.shown


@pytest.fixture
def clock():
    return ManualClock()


def test_an_answer_is_asked_for_again_when_it_is_no_longer_fresh(clock):
    source = Source(binding(1, {A: 100}))
    resolver = Resolver(source, fresh_s=5, clock=clock)
    assert resolver.resolve(ROUTE) == resolver.resolve(str(ROUTE))
    assert (resolver.resolve(ROUTE).variant, resolver.resolve(ROUTE).stale, source.asked) == (A, False, 1)
    source.shown = binding(2, {B: 100})
    assert resolver.resolve(ROUTE).generation == 1
    clock.sleep(5)
    assert (resolver.resolve(ROUTE).variant, source.asked) == (B, 2)


@pytest.mark.parametrize(
    "trouble",
    [
        DependencyDown("gone"),
        OperationalError("select", {}, Exception("gone")),
        ConnectionError("gone"),
        RuntimeError("a client of the service's own"),
    ],
)
def test_while_nobody_answers_the_last_answer_goes_on_being_given_also_after_a_restart(clock, tmp_path, trouble):
    source, cache = Source(binding(3, {A: 80, B: 20})), tmp_path / "cache" / "routes.json"
    resolver = Resolver(source, cache=cache, clock=clock)
    before = [resolver.resolve(ROUTE, f"user-{n}").variant for n in range(200)]
    source.down = trouble
    clock.sleep(60)
    for again in (resolver, Resolver(source, cache=cache, clock=clock)):
        found = [again.resolve(ROUTE, f"user-{n}") for n in range(200)]
        assert [one.variant for one in found] == before
        assert {(one.generation, one.stale) for one in found} == {(3, True)}
    assert source.asked == 3, "nobody waits for a source that is down at every request"
    source.down = None
    clock.sleep(60)
    assert not resolver.resolve(ROUTE).stale


def test_an_older_generation_is_not_believed_and_a_rollback_is_a_newer_one(ws, clock, tmp_path):
    gateway = FlagdFileGateway(tmp_path / "flags.json")
    apply_binding(ws, gateway, BindingRequest(ROUTE, {A: 100}, None, "test", "1"))
    apply_binding(ws, gateway, BindingRequest(ROUTE, {B: 100}, 1, "test", "2"))
    resolver = Resolver(gateway.read, cache=tmp_path / "cache.json", fresh_s=0, clock=clock)
    assert resolver.resolve(ROUTE).variant == B
    rollback(ws, gateway, route_key=ROUTE, expected=2, idempotency_key="3", reason="worse")
    assert (resolver.resolve(ROUTE).variant, resolver.resolve(ROUTE).generation) == (A, 3)
    older = Resolver(Source(binding(2, {B: 100})), cache=tmp_path / "cache.json", fresh_s=0, clock=clock)
    assert (older.resolve(ROUTE).generation, older.resolve(ROUTE).stale) == (3, True)


def test_two_processes_with_one_cache_lose_nothing_for_good_and_never_go_back_in_it(clock, tmp_path):
    cache = tmp_path / "cache.json"

    def kept():
        return Resolver(Source(), cache=cache, clock=clock).resolve(ROUTE).generation

    behind = Resolver(Source(binding(1, {A: 100})), cache=cache, fresh_s=0, clock=clock)
    behind.resolve(ROUTE)
    cache.write_text('{"flags": {}}')
    behind.resolve(ROUTE)
    assert kept() == 1, "what the other one wrote over is kept again"
    Resolver(Source(binding(2, {B: 100})), cache=cache, clock=clock).resolve(ROUTE)
    behind.resolve(ROUTE)
    assert kept() == 2


def test_what_was_never_learnt_is_said_and_a_broken_cache_is_no_knowledge(clock, tmp_path):
    cache = tmp_path / "cache.json"
    cache.write_text("not json")
    source = Source()
    resolver = Resolver(source, cache=cache, clock=clock)
    with pytest.raises(DependencyDown, match="knows no such route"):
        resolver.resolve(ROUTE)
    source.shown = binding(1, {A: 100})
    assert resolver.resolve(ROUTE).variant == A
    assert Resolver(Source(), cache=cache, clock=clock).resolve(ROUTE).variant == A
    with pytest.raises(InputRefused):
        resolver.resolve("no route")
    cache.unlink()
    cache.mkdir()
    source.shown = binding(2, {B: 100})
    clock.sleep(60)
    assert resolver.resolve(ROUTE).variant == B, "a cache that cannot be written costs no answer"


def test_while_one_thread_asks_the_others_do_not_wait(clock):
    source = Source(binding(1, {A: 100}))
    resolver = Resolver(source, fresh_s=0, clock=clock)
    resolver.resolve(ROUTE)
    asking, go_on = threading.Event(), threading.Event()

    def slow(_key):
        asking.set()
        go_on.wait(10)
        return binding(2, {B: 100})

    resolver._source = slow
    thread = threading.Thread(target=resolver.resolve, args=(ROUTE,))
    thread.start()
    assert asking.wait(10)
    assert resolver.resolve(ROUTE).generation == 1
    go_on.set()
    thread.join(10)
    resolver._source = source
    assert resolver._known[ROUTE].binding.generation == 2


def test_without_a_targeting_key_requests_are_dealt_out_in_proportion(clock):
    resolver = Resolver(Source(binding(1, {A: 50, B: 50})), clock=clock)
    assert {resolver.resolve(ROUTE).variant for _ in range(100)} == {A, B}
    assert len({resolver.resolve(ROUTE, "").variant for _ in range(100)}) == 1


def test_threads_that_begin_together_ask_once(clock):
    source, arrived = Source(binding(1, {A: 100})), threading.Barrier(8)
    resolver = Resolver(source, clock=clock)

    def ask():
        arrived.wait(5)
        assert resolver.resolve(ROUTE).variant == A

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(5)
    assert source.asked == 1
