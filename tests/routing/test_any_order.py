"""Whatever order of changes, repeats, stale callers and crashes: generations only grow, and SQL and gateway agree."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from pointsman.errors import Conflict, DependencyDown, GuardRefused
from pointsman.routing import BindingRequest, apply_binding, current, history, rollback
from pointsman.states import BINDING
from tests.routing.worlds import DATABASE, ROUTE, A, B, C, MemoryGateway, workspace

WEIGHTS = st.sampled_from([{A: 100}, {B: 100}, {C: 100}, {A: 90, B: 10}, {B: 50, C: 50}])
CRASHES = st.sampled_from([None, None, "before publish", "after publish", "before read back", "gateway down"])


class Killed(BaseException):
    """Stands for kill -9: nothing of the engine may catch it."""


class CrashingGateway(MemoryGateway):
    def __init__(self):
        super().__init__()
        self.crash = None
        self.seen = []

    def read(self, key):
        if self.crash == "before read back" and self.published:
            raise Killed
        return super().read(key)

    def publish(self, new, *, expected, at_once=False):
        if self.crash == "before publish":
            raise Killed
        if self.crash == "gateway down":
            raise DependencyDown("out of reach")
        super().publish(new, expected=expected)
        self.seen.append(self.shown[ROUTE].generation)
        if self.crash == "after publish":
            raise Killed


def apply_asked(ws, gateway, **asked):
    return apply_binding(ws, gateway, BindingRequest(**asked))


@pytest.fixture(scope="module")
def machine(prepared):
    class Changes(RuleBasedStateMachine):
        requests = Bundle("requests")

        def __init__(self):
            super().__init__()
            self.folder = Path(tempfile.mkdtemp())
            shutil.copy(prepared / DATABASE, self.folder)
            self.ws = workspace(self.folder, migrate=False)
            self.gateway = CrashingGateway()
            self.answers = {}
            self.served = []
            self.highest = 0
            self.keys = 0

        def teardown(self):
            shutil.rmtree(self.folder)

        def expected(self, stale):
            """The true current generation, or one that is not."""
            now = current(self.ws, ROUTE)
            return (now.generation if now else None) if stale is None else stale + (now.generation if now else 0)

        def send(self, request, crash):
            """Send a request; None when it was cut short. An answer must be the one this request always gets."""
            call = {"apply": apply_asked, "rollback": rollback}[request["call"]]
            self.gateway.crash, self.gateway.published = crash, []
            before = current(self.ws, ROUTE)
            try:
                answer = call(self.ws, self.gateway, route_key=ROUTE, **request["arguments"])
            except (Killed, DependencyDown):
                assert current(self.ws, ROUTE) == before
                return None
            finally:
                self.gateway.crash = None
            key = request["arguments"]["idempotency_key"]
            if key not in self.answers:
                assert answer == current(self.ws, ROUTE) == self.gateway.read(ROUTE)
                assert answer.generation > max([0, *self.served])
                assert request["arguments"]["expected"] == (before.generation if before else None)
                if request["call"] == "apply" and before is not None and before.shares == answer.shares:
                    self.served.pop()  # the same content over again is no way back
                self.served.append(answer.generation)
            assert self.answers.setdefault(key, answer) == answer
            return answer

        @rule(target=requests, weights=WEIGHTS, stale=st.sampled_from([None, None, None, 1, -1]), crash=CRASHES)
        def apply(self, weights, stale, crash):
            expected = self.expected(stale)
            arguments = {"weights": weights, "expected": expected, "cause": "c", "idempotency_key": self.new_key()}
            request = {"call": "apply", "arguments": arguments}
            if stale is not None:
                with pytest.raises(Conflict):
                    self.send(request, crash)
                return multiple()
            answer = self.send(request, crash)
            assert answer is None or answer.weights == weights
            return request

        @rule(target=requests, crash=CRASHES)
        def rollback(self, crash):
            now = current(self.ws, ROUTE)
            if now is None:
                return multiple()
            arguments = {"expected": now.generation, "reason": "r", "idempotency_key": self.new_key()}
            request = {"call": "rollback", "arguments": arguments}
            if len(self.served) < 2:
                with pytest.raises(GuardRefused):
                    self.send(request, crash)
                return multiple()
            before = {record.binding.generation: record.binding for record in history(self.ws, ROUTE)}[self.served[-2]]
            answer = self.send(request, crash)
            assert answer is None or answer.weights == before.weights
            return request

        @rule(request=requests, crash=CRASHES)
        def repeat(self, request, crash):
            known = self.answers.get(request["arguments"]["idempotency_key"])
            try:
                answer = self.send(request, crash)
            except Conflict:
                assert known is None, "a request that was answered is answered the same way for ever"
            else:
                assert known is None or answer == known

        @rule(request=requests)
        def misuse_of_a_key(self, request):
            key = request["arguments"]["idempotency_key"]
            with pytest.raises(Conflict):
                rollback(self.ws, self.gateway, route_key=ROUTE, expected=1, reason="another", idempotency_key=key)

        def new_key(self):
            self.keys += 1
            return f"key {self.keys}"

        @invariant()
        def generations_are_append_only_and_at_most_one_is_active(self):
            records = history(self.ws, ROUTE)
            generations = [record.binding.generation for record in records]
            assert generations == sorted(set(generations), reverse=True)
            assert max([0, *generations]) >= self.highest
            self.highest = max([0, *generations])
            statuses = [record.status for record in records]
            assert statuses.count("active") <= 1
            assert statuses.count("applying") <= 1
            assert set(statuses) <= set(BINDING.edges)

        @invariant()
        def the_gateway_never_goes_back(self):
            assert self.gateway.seen == sorted(self.gateway.seen)

        @invariant()
        def the_gateway_shows_the_active_generation_or_the_one_that_was_cut_short(self):
            shown, now = self.gateway.shown.get(ROUTE), current(self.ws, ROUTE)
            under_way = [r.binding for r in history(self.ws, ROUTE) if r.status == "applying"]
            assert shown == now or shown in under_way or (shown and under_way), (shown, now, under_way)

    return Changes


def run(machine, **size):
    run_state_machine_as_test(
        machine, settings=settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, **size)
    )


def test_any_order_of_changes_repeats_and_crashes_keeps_sql_and_gateway_together(machine):
    run(machine, max_examples=15, stateful_step_count=15)


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_long_orders_keep_sql_and_gateway_together(machine):
    run(machine, max_examples=100, stateful_step_count=40)
