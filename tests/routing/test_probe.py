"""A probe passes when routed jobs go where the binding sends them, and only then."""

import inspect
import json
import threading
from types import SimpleNamespace

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.benchmark import create_matrix
from pointsman.clock import SystemClock
from pointsman.dispatch import TargetSpec
from pointsman.errors import Cancelled, DependencyDown, InputRefused
from pointsman.model import Binding, InputMember
from pointsman.routing import (
    BindingRequest,
    FlagdFileGateway,
    apply_binding,
    judge_probe,
    probe_plan,
    rollback,
    run_probe,
)
from pointsman.settings import Secret
from pointsman.workspace import Workspace
from tests.routing.effects import SECRET, effects
from tests.routing.worlds import ROUTE, A, B, C

SCHEMA = {
    "dispatch_id": pl.String,
    "state": pl.String,
    "reason": pl.String,
    "variant": pl.String,
    "generation": pl.Int64,
}
TO_B = Binding(ROUTE, 3, {A: 0, B: 100}, "test")
SPLIT = Binding(ROUTE, 3, {A: 50, B: 50}, "test")
MEMBERS = [InputMember(f"i{n}", f"file:///clips/{n}.mp4", "0" * 64, 10, "c") for n in range(3)]
TARGET = TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:1")


def ledger(*jobs):
    rows = [("d", state, reason, str(v) if v else None, generation) for state, reason, v, generation in jobs]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def done(variant, generation=3):
    return ("completed", None, variant, generation)


def test_a_probe_whose_jobs_all_ran_on_the_winner_and_its_generation_passes():
    result = judge_probe(ledger(*[done(B)] * 4), TO_B)
    assert result.passed
    assert (result.jobs, result.seen, result.generations, result.failures) == (4, {str(B): 4}, {3: 4}, ())
    assert result.why == ""
    assert json.loads(json.dumps(result.as_document()))["generations"] == {"3": 4}


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (done(A), "1 jobs ran on er:postcard-1:wf:x264"),
        (done(C), "which has no share"),
        (done(None), "1 jobs ran on an unnamed variant, which has no share"),
        (done(B, 2), "1 jobs were given generation 2 and not generation 3"),
        (done(B, None), "1 jobs were given no generation"),
        (("failed", "encoder crashed", B, 3), "d ended as failed: encoder crashed"),
        (("unknown", None, None, None), "d ended as unknown"),
    ],
)
def test_one_job_that_went_elsewhere_or_nowhere_fails_the_probe_and_says_so(bad, why):
    result = judge_probe(ledger(done(B), done(B), bad), TO_B)
    assert not result.passed
    assert why in result.why


def test_a_probe_that_sent_nothing_proves_nothing():
    assert judge_probe(ledger(), TO_B).failures == ("no job was sent",)


def test_a_split_that_is_not_kept_is_noticed_and_one_that_is_plausible_is_not():
    assert judge_probe(ledger(*[done(A)] * 11, *[done(B)] * 9), SPLIT).passed
    assert judge_probe(ledger(*[done(A)] * 8), SPLIT).passed, "8 of 8 still happens once in 256 times"
    one_sided = judge_probe(ledger(*[done(A)] * 40), SPLIT)
    assert len(one_sided.failures) == 2
    assert "whose share is 50 %" in one_sided.why


@given(jobs=st.integers(1, 200), percent=st.integers(1, 99), key=st.integers(0, 10**9))
def test_a_gateway_that_keeps_its_shares_is_believed(jobs, percent, key):
    from pointsman.routing import resolve

    binding = Binding(ROUTE, 3, {A: percent, B: 100 - percent}, "test")
    served = [resolve(binding, f"{key}-{n}") for n in range(jobs)]
    expected = jobs * percent / 100
    spread = (jobs * percent / 100 * (1 - percent / 100)) ** 0.5
    result = judge_probe(ledger(*map(done, served)), binding)
    if abs(served.count(A) - expected) <= 2 * spread:
        assert result.passed


def test_the_plan_holds_one_routed_dispatch_per_input_and_repeats_those_named_again():
    plan = probe_plan(run_id="run", attempt=1, binding=TO_B, inputs=[*MEMBERS, MEMBERS[0]], target=TARGET)
    rows = plan.dispatches.to_dicts()
    assert [(row["input_id"], row["repeat"]) for row in rows] == [("i0", 0), ("i1", 0), ("i2", 0), ("i0", 1)]
    assert {(row["route"], row["due_ns"]) for row in rows} == {(str(ROUTE), None)}
    assert set(plan.header.inputs) == {"i0", "i1", "i2"}
    again = probe_plan(run_id="run", attempt=2, binding=TO_B, inputs=MEMBERS, target=TARGET)
    assert again.header.run_id != plan.header.run_id, "jobs sent anew are new jobs"


def test_a_slow_variant_is_waited_for_as_long_as_by_the_matrix_that_chose_it():
    plan = probe_plan(run_id="run", attempt=1, binding=TO_B, inputs=MEMBERS, target=TARGET)
    assert plan.header.limits.drain_limit_s >= inspect.signature(create_matrix).parameters["drain_limit_s"].default


@pytest.mark.parametrize("inputs", [[], [MEMBERS[0]] * 1001])
def test_a_probe_has_a_size(inputs):
    with pytest.raises(InputRefused, match="1 to 1000"):
        probe_plan(run_id="run", attempt=1, binding=TO_B, inputs=inputs, target=TARGET)


@pytest.fixture
def world(ws, tmp_path):
    """Routing, its gateway, and a target that follows it; the probe's engine is a real process on the real clock."""
    real = Workspace(ws.database, ws.results, SystemClock(), ws.actor)
    gateway = FlagdFileGateway(tmp_path / "flags.json")
    with effects(gateway) as state:
        yield real, gateway, state


def move(ws, gateway, weights, expected):
    return apply_binding(ws, gateway, BindingRequest(ROUTE, weights, expected, "test", f"k{expected}"))


def probe(ws, state, binding, cancelled=lambda: False):
    target = TargetSpec(name="lab", preset="lab", base_url=state.url)
    return run_probe(
        ws,
        run_id="run",
        binding=binding,
        inputs=MEMBERS,
        target=target,
        secret=Secret(SECRET),
        cancelled=cancelled,
    )


def test_a_probe_follows_the_route_and_after_a_rollback_the_old_one_and_is_sent_once(world):
    ws, gateway, state = world
    move(ws, gateway, {A: 100}, None)
    winner = move(ws, gateway, {B: 100}, 1)
    first = probe(ws, state, winner)
    assert (first.passed, first.seen, first.generations) == (True, {str(B): 3}, {2: 3})
    assert all(dispatch_id.startswith(f"studio_routed_{ROUTE}_") for dispatch_id in state.jobs)
    assert probe(ws, state, winner) == first
    assert len(state.jobs) == 3, "the same call answers from the ledger"
    (stored,) = ws.results.glob("routing/run/probe/g2/*/probe.json")
    assert json.loads(stored.read_text()) == first.as_document()

    back = rollback(ws, gateway, route_key=ROUTE, expected=2, idempotency_key="back", reason="test")
    second = probe(ws, state, back)
    assert (second.passed, second.seen, second.generations) == (True, {str(A): 3}, {3: 3})


@pytest.mark.parametrize(("late", "waited_s"), [(1, 10), (2, 60), (3, 60)])
def test_a_probe_that_meets_what_served_before_is_sent_again_a_little_later(ws, monkeypatch, late, waited_s):
    """A service that resolves routes from a cache follows within a minute, or fails the probe."""
    sent = []

    def drive(folder, **_):
        sent.append(folder)
        return SimpleNamespace(outcome="completed")

    def read(folder):
        return ledger(*[done(A, 2) if len(sent) <= late else done(B)] * 3)

    monkeypatch.setattr("pointsman.routing.probe.drive", drive)
    monkeypatch.setattr("pointsman.routing.probe.read_dispatches", read)
    began = ws.clock.now()
    found = run_probe(
        ws, run_id="run", binding=TO_B, inputs=MEMBERS, target=TARGET, secret=None, cancelled=lambda: False
    )
    assert found.passed is (late < 3)
    assert len(set(sent)) == len(sent) == min(late + 1, 3)
    assert (ws.clock.now() - began).total_seconds() == waited_s


def test_a_probe_of_a_gateway_that_serves_something_else_fails(world):
    ws, gateway, state = world
    move(ws, gateway, {A: 100}, None)
    state.outcome = "failed"
    result = probe(ws, state, Binding(ROUTE, 2, {B: 100}, "never published"))
    assert not result.passed
    assert result.seen == {}
    assert "ended as failed: encoder crashed" in result.why


def test_a_probe_that_is_stopped_is_not_a_failed_one_and_the_next_call_sends_it_anew(world):
    ws, gateway, state = world
    binding = move(ws, gateway, {A: 100}, None)
    state.outcome = "queued"
    sent = threading.Event()

    def cancelled():
        if len(state.jobs) == 3:
            sent.set()
        return sent.is_set()

    with pytest.raises(Cancelled, match="stopped before it had ended"):
        probe(ws, state, binding, cancelled)
    state.outcome = "completed"
    result = probe(ws, state, binding)
    assert (result.passed, result.seen) == (True, {str(A): 3})
    assert len(state.jobs) == 6


def test_a_target_out_of_reach_is_a_dependency_out_of_reach_and_no_verdict_on_the_route(world, monkeypatch):
    ws, gateway, state = world
    binding = move(ws, gateway, {A: 100}, None)

    def lost(*_args, **_kwargs):
        raise DependencyDown("out of reach", code="target_lost")

    with monkeypatch.context() as patch:
        patch.setattr("pointsman.routing.probe.drive", lost)
        with pytest.raises(DependencyDown):
            probe(ws, state, binding)
    assert probe(ws, state, binding).passed
