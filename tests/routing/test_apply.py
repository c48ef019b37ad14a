"""Changing a route: who may, what it leaves behind, and what happens when something breaks on the way."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import Conflict, DependencyDown, GuardRefused, InputRefused, NotFound, RunFailed
from pointsman.model import Binding
from pointsman.routing import BindingRequest, FlagdFileGateway, apply_binding, current, drift, history, resolve, routes
from pointsman.routing import rollback as roll_back
from pointsman.storage import tables
from tests.routing.worlds import OTHER_ROUTE, ROUTE, A, B, C, MemoryGateway, register, variant, workspace

ROOT = Path(__file__).parents[2]


def apply(ws, gateway, weights, expected, key=None, **more):
    asked = BindingRequest(ROUTE, weights, expected, "test", key or f"key of {weights} after {expected}")
    return apply_binding(ws, gateway, replace(asked, **more))


def rollback(ws, gateway, expected, key="rollback", reason="the probe failed"):
    return roll_back(ws, gateway, route_key=ROUTE, expected=expected, idempotency_key=key, reason=reason)


def states(ws):
    return [(record.binding.generation, record.status) for record in history(ws, ROUTE)]


def events(ws):
    return [entry.event for entry in reversed(ActionLog(ws).read())]


def test_a_first_binding_and_its_successor_serve_and_are_recorded(ws, gateway):
    assert current(ws, ROUTE) is None
    first = apply(ws, gateway, {A: 100}, None)
    assert first == Binding(ROUTE, 1, {A: 100}, "test") == current(ws, ROUTE) == gateway.read(ROUTE)
    ws.clock.sleep(5)
    second = apply(ws, gateway, {A: 75, B: 25}, 1)
    assert second == Binding(ROUTE, 2, {A: 75, B: 25}, "test") == current(ws, ROUTE) == gateway.read(ROUTE)
    assert states(ws) == [(2, "active"), (1, "superseded")]
    newest, _ = history(ws, ROUTE)
    assert (newest.actor, newest.created_at, newest.verdict_id) == ("tester", ws.clock.now(), None)
    assert events(ws) == ["routing_applied", "routing_applied"]
    entry = ActionLog(ws).read(limit=1)[0]
    assert entry.data["before"] == {str(A): 100}
    assert entry.data["after"] == {str(A): 75, str(B): 25}
    assert routes(ws) == [ROUTE]
    assert drift(ws, gateway, ROUTE) is None


def test_every_move_of_a_generation_is_stored_with_time_reason_and_actor(ws, gateway):
    apply(ws, gateway, {A: 100}, None)
    apply(ws, gateway, {B: 100}, 1)
    with ws.database.connect() as connection:
        rows = connection.execute(sa.select(tables.state_transitions).order_by(tables.state_transitions.c.id)).all()
    moves = [(row.entity_id.rsplit("#")[1], row.from_state, row.to_state) for row in rows]
    one = [("1", None, "proposed"), ("1", "proposed", "applying"), ("1", "applying", "active")]
    two = [("2", None, "proposed"), ("2", "proposed", "applying"), ("1", "active", "superseded")]
    assert moves == [*one, *two, ("2", "applying", "active")]
    assert {row.entity for row in rows} == {"binding"}
    assert all(row.reason and row.actor == "tester" and row.at == ws.clock.now() for row in rows)


@pytest.mark.parametrize("stale", [None, 1, 3])
def test_a_stale_expectation_is_a_conflict_that_names_the_current_generation(ws, gateway, stale):
    apply(ws, gateway, {A: 100}, None)
    apply(ws, gateway, {B: 100}, 1)
    for change in (lambda: apply(ws, gateway, {C: 100}, stale), lambda: rollback(ws, gateway, stale)):
        with pytest.raises(Conflict, match="is generation 2") as conflict:
            change()
        assert conflict.value.data["current"] == 2
        assert conflict.value.instruction == f"pointsman route show {ROUTE}"
    assert states(ws) == [(2, "active"), (1, "superseded")]
    assert gateway.read(ROUTE).generation == 2


def test_an_expectation_of_a_route_without_binding_is_a_conflict_too(ws, gateway):
    with pytest.raises(Conflict, match="is no binding, and not generation 4"):
        apply(ws, gateway, {A: 100}, 4)
    assert gateway.read(ROUTE) is None


def test_the_same_key_gives_the_same_generation_for_ever_and_publishes_nothing_again(ws):
    gateway = MemoryGateway()
    first = apply(ws, gateway, {A: 100}, None, key="k")
    apply(ws, gateway, {B: 100}, 1)
    rolled = rollback(ws, gateway, 2, key="back")
    apply(ws, gateway, {C: 100}, 3)
    before = (states(ws), events(ws), len(gateway.published))
    assert apply(ws, gateway, {A: 100}, None, key="k") == first
    assert rollback(ws, gateway, 2, key="back") == rolled
    assert (states(ws), events(ws), len(gateway.published)) == before


@pytest.mark.parametrize(
    "other",
    [
        {"weights": {B: 100}, "expected": None},
        {"weights": {A: 100}, "expected": 1},
        {"weights": {A: 100}, "expected": None, "cause": "another"},
        {"weights": {A: 100}, "expected": None, "verdict_id": "v"},
        {"weights": {A: 100}, "expected": None, "route_key": OTHER_ROUTE},
    ],
    ids=["weights", "expected", "cause", "verdict", "route"],
)
def test_a_key_that_was_used_for_another_request_is_a_conflict(ws, gateway, other):
    apply(ws, gateway, {A: 100}, None, key="k")
    with pytest.raises(Conflict, match="'k' was used for another"):
        apply(ws, gateway, **other, key="k")
    with pytest.raises(Conflict, match="'k' was used for another"):
        rollback(ws, gateway, 1, key="k")
    assert states(ws) == [(1, "active")]


@pytest.mark.parametrize(
    ("weights", "refused"),
    [
        ({A: 99}, InputRefused),
        ({A: 150, B: -50}, InputRefused),
        ({}, InputRefused),
        ({A: 50.0, B: 50.0}, InputRefused),
        ({variant("x264", route=OTHER_ROUTE): 100}, InputRefused),
        ({variant("never-registered"): 100}, NotFound),
        ({variant("disabled"): 100}, NotFound),
    ],
)
def test_bad_weights_and_unknown_variants_are_refused_before_anything_is_written(ws, gateway, weights, refused):
    register(ws, variant("disabled"), enabled=False)
    with pytest.raises(refused):
        apply(ws, gateway, weights, None)
    assert history(ws, ROUTE) == []
    assert gateway.read(ROUTE) is None


@pytest.mark.parametrize("key", ["", "k" * 301])
def test_an_idempotency_key_has_a_length(ws, gateway, key):
    with pytest.raises(InputRefused, match="idempotency key"):
        apply_binding(ws, gateway, BindingRequest(ROUTE, {A: 100}, None, "test", key))


def test_a_rollback_is_a_new_generation_with_what_served_before(ws, gateway):
    apply(ws, gateway, {A: 90, C: 10}, None)
    apply(ws, gateway, {B: 100}, 1)
    rolled = rollback(ws, gateway, 2)
    assert (rolled.generation, rolled.weights) == (3, {A: 90, C: 10})
    assert rolled == current(ws, ROUTE) == gateway.read(ROUTE)
    assert "generation 2 to the content of generation 1: the probe failed" in rolled.cause
    assert states(ws) == [(3, "active"), (2, "rolled_back"), (1, "superseded")]
    assert events(ws)[-1] == "routing_rolled_back"
    entry = ActionLog(ws).read(limit=1)[0]
    assert (entry.severity, entry.instruction) == ("warn", f"pointsman route history {ROUTE}")


def test_a_rollback_of_a_rollback_puts_its_subject_back(ws, gateway):
    apply(ws, gateway, {A: 100}, None)
    apply(ws, gateway, {B: 100}, 1)
    rollback(ws, gateway, 2, key="first")
    assert rollback(ws, gateway, 3, key="second").weights == {B: 100}


def test_a_rollback_passes_over_generations_that_never_served(ws):
    gateway = FailingGateway()
    apply(ws, gateway, {A: 100}, None)
    gateway.swallow = True
    with pytest.raises(RunFailed):
        apply(ws, gateway, {C: 100}, 1)
    gateway.swallow = False
    apply(ws, gateway, {B: 100}, 1, key="again")
    assert states(ws) == [(3, "active"), (2, "failed"), (1, "superseded")]
    assert rollback(ws, gateway, 3).weights == {A: 100}


def test_a_rollback_also_goes_back_to_a_variant_that_was_disabled_since(ws, gateway):
    apply(ws, gateway, {A: 100}, None)
    apply(ws, gateway, {B: 100}, 1)
    with ws.database.begin() as connection:
        connection.execute(sa.update(tables.variants).values(enabled=False))
    assert rollback(ws, gateway, 2).weights == {A: 100}


def test_the_first_generation_has_nothing_to_go_back_to(ws, gateway):
    apply(ws, gateway, {A: 100}, None)
    with pytest.raises(GuardRefused, match="nothing to go back to") as refusal:
        rollback(ws, gateway, 1)
    assert refusal.value.instruction == f"pointsman route history {ROUTE}"
    assert states(ws) == [(1, "active")]


class FailingGateway(MemoryGateway):
    """A gateway that can be unreachable, lose what it is told, or let somebody else in between."""

    def __init__(self):
        super().__init__()
        self.down = False
        self.swallow = False
        self.after_publish = lambda: None

    def publish(self, new, *, expected, at_once=False):
        if self.down:
            raise DependencyDown("the gateway is out of reach", code="gateway_unusable")
        if not self.swallow:
            super().publish(new, expected=expected)
        self.after_publish()


def test_an_unreachable_gateway_leaves_the_old_binding_and_the_same_call_continues_later(ws):
    gateway = FailingGateway()
    apply(ws, gateway, {A: 100}, None)
    gateway.down = True
    with pytest.raises(DependencyDown):
        apply(ws, gateway, {B: 100}, 1, key="k")
    assert current(ws, ROUTE).generation == 1 == gateway.read(ROUTE).generation
    assert states(ws) == [(2, "applying"), (1, "active")]
    assert events(ws)[-1] == "routing_apply_failed"
    gateway.down = False
    assert apply(ws, gateway, {B: 100}, 1, key="k") == current(ws, ROUTE) == gateway.read(ROUTE)
    assert states(ws) == [(2, "active"), (1, "superseded")]


def test_a_gateway_that_does_not_show_what_it_was_given_fails_the_generation_for_good(ws):
    gateway = FailingGateway()
    apply(ws, gateway, {A: 100}, None)
    gateway.swallow = True
    with pytest.raises(RunFailed, match="shows generation 1 after it") as failure:
        apply(ws, gateway, {B: 100}, 1, key="k")
    assert failure.value.code == "routing_apply_failed"
    assert states(ws) == [(2, "failed"), (1, "active")]
    entry = ActionLog(ws).read(limit=1)[0]
    assert (entry.event, entry.severity) == ("routing_apply_failed", "critical")
    gateway.swallow = False
    with pytest.raises(RunFailed, match="Generation 2"):
        apply(ws, gateway, {B: 100}, 1, key="k")
    assert current(ws, ROUTE).generation == 1
    assert apply(ws, gateway, {B: 100}, 1, key="new key").generation == 3


def test_a_gateway_that_moved_on_by_itself_fails_the_generation(ws):
    gateway = FailingGateway()
    apply(ws, gateway, {A: 100}, None)
    real_read = gateway.read

    def read_then_move(key):
        shown = real_read(key)
        gateway.shown[ROUTE] = Binding(ROUTE, 50, {C: 100}, "somebody else")
        return shown

    gateway.read = read_then_move
    with pytest.raises(RunFailed, match="did not take effect"):
        apply(ws, gateway, {B: 100}, 1)
    assert states(ws)[0] == (2, "failed")


def test_a_new_change_overtakes_one_that_was_never_finished(ws):
    gateway = FailingGateway()
    apply(ws, gateway, {A: 100}, None)
    gateway.down = True
    with pytest.raises(DependencyDown):
        apply(ws, gateway, {B: 100}, 1, key="lost")
    gateway.down = False
    assert apply(ws, gateway, {C: 100}, 1, key="new").generation == 3
    assert states(ws) == [(3, "active"), (2, "aborted"), (1, "superseded")]
    with pytest.raises(Conflict, match="overtaken"):
        apply(ws, gateway, {B: 100}, 1, key="lost")
    assert gateway.read(ROUTE) == current(ws, ROUTE)


def test_of_two_changes_under_way_the_later_wins_and_the_earlier_is_told(ws):
    gateway = FailingGateway()
    apply(ws, gateway, {A: 100}, None)

    def somebody_else():
        gateway.after_publish = lambda: None
        apply(ws, gateway, {C: 100}, 1, key="later")

    gateway.after_publish = somebody_else
    with pytest.raises(Conflict, match="overtaken"):
        apply(ws, gateway, {B: 100}, 1, key="earlier")
    assert states(ws) == [(3, "active"), (2, "aborted"), (1, "superseded")]
    assert gateway.read(ROUTE) == current(ws, ROUTE)


def test_two_processes_with_one_key_end_with_one_generation(ws):
    gateway = FailingGateway()

    def twin():
        gateway.after_publish = lambda: None
        apply(ws, gateway, {A: 100}, None, key="k")

    gateway.after_publish = twin
    assert apply(ws, gateway, {A: 100}, None, key="k").generation == 1
    assert states(ws) == [(1, "active")]
    assert events(ws) == ["routing_applied"]


def test_a_twin_that_finished_and_was_replaced_meanwhile_still_gives_the_first_answer(ws):
    gateway = FailingGateway()

    def twin_and_successor():
        gateway.after_publish = lambda: None
        apply(ws, gateway, {A: 100}, None, key="k")
        apply(ws, gateway, {B: 100}, 1)

    gateway.after_publish = twin_and_successor
    assert apply(ws, gateway, {A: 100}, None, key="k") == Binding(ROUTE, 1, {A: 100}, "test")
    assert current(ws, ROUTE).generation == 2


def test_a_gateway_that_lost_its_content_is_filled_again_and_the_drift_is_logged(ws):
    gateway = MemoryGateway()
    apply(ws, gateway, {A: 100}, None)
    gateway.shown.clear()
    found = drift(ws, gateway, ROUTE)
    assert found.why == "the state of record has generation 1, the gateway shows no binding"
    assert apply(ws, gateway, {B: 100}, 1) == gateway.read(ROUTE)
    assert events(ws) == ["routing_applied", "routing_drift", "routing_applied"]


def test_a_lost_database_does_not_stop_routing_generations_go_on_above_the_gateways(ws):
    gateway = MemoryGateway()
    gateway.shown[ROUTE] = Binding(ROUTE, 41, {C: 100}, "before the loss")
    assert apply(ws, gateway, {A: 100}, None).generation == 42
    assert gateway.read(ROUTE) == current(ws, ROUTE)
    assert events(ws) == ["routing_drift", "routing_applied"]


def test_a_gateway_edited_by_hand_under_the_same_generation_is_drift(ws):
    gateway = MemoryGateway()
    apply(ws, gateway, {A: 100}, None)
    gateway.shown[ROUTE] = Binding(ROUTE, 1, {B: 100}, "by hand")
    found = drift(ws, gateway, ROUTE)
    assert "both name generation 1" in found.why
    assert (found.recorded.weights, found.shown.weights) == ({A: 100}, {B: 100})
    entry = ActionLog(ws).read(limit=1)[0]
    assert (entry.event, entry.severity, entry.data["shown"]) == ("routing_drift", "warn", 1)


def test_routes_do_not_touch_each_other(ws, gateway):
    other = variant("x264", route=OTHER_ROUTE)
    register(ws, other)
    apply(ws, gateway, {A: 100}, None)
    apply(ws, gateway, {B: 100}, 1)
    assert apply(ws, gateway, {other: 100}, None, route_key=OTHER_ROUTE).generation == 1
    assert current(ws, ROUTE).generation == 2
    assert routes(ws) == [ROUTE, OTHER_ROUTE]


def test_a_binding_resolves_in_proportion_and_always_the_same_way():
    split = Binding(ROUTE, 1, {A: 80, B: 20, C: 0}, "test")
    found = [resolve(split, f"job-{n}") for n in range(2000)]
    assert found == [resolve(split, f"job-{n}") for n in range(2000)]
    assert 320 <= found.count(B) <= 480
    assert C not in found
    assert resolve(Binding(ROUTE, 1, {A: 0, B: 100}, "test"), "any") == B


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_killed_between_the_record_and_the_end_is_continued_by_the_same_call(ws, tmp_path, moment):
    path = tmp_path / "flags.json"
    gateway = FlagdFileGateway(path)
    apply(ws, gateway, {A: 100}, None)
    script = f"""
        import os, signal
        from pathlib import Path
        from pointsman.routing import FlagdFileGateway
        from tests.routing.test_apply import apply
        from tests.routing.worlds import B, workspace

        class Killed(FlagdFileGateway):
            def publish(self, new, *, expected, at_once=False):
                if {moment!r} == "after":
                    super().publish(new, expected=expected)
                os.kill(os.getpid(), signal.SIGKILL)

        apply(workspace(Path({str(tmp_path)!r}), migrate=False), Killed(Path({str(path)!r})), {{B: 100}}, 1, key="k")
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, timeout=60, check=False)
    assert ended.returncode == -9
    assert current(ws, ROUTE).generation == 1
    assert gateway.read(ROUTE).generation == (1 if moment == "before" else 2)
    assert apply(workspace(tmp_path), gateway, {B: 100}, 1, key="k") == Binding(ROUTE, 2, {B: 100}, "test")
    assert states(ws) == [(2, "active"), (1, "superseded")]
    assert gateway.read(ROUTE) == current(ws, ROUTE)
    assert events(ws) == ["routing_applied", "routing_applied"]


def test_an_overtaken_generation_that_gets_in_between_does_not_stop_the_one_that_overtook_it(ws):
    gateway = FailingGateway()
    apply(ws, gateway, {A: 100}, None)
    gateway.down = True
    with pytest.raises(DependencyDown):
        apply(ws, gateway, {B: 100}, 1, key="earlier")
    gateway.down = False
    real_publish = gateway.publish

    def too_late(new, *, expected, at_once=False):
        gateway.publish = real_publish
        gateway.shown[ROUTE] = Binding(ROUTE, 2, {B: 100}, "test")
        real_publish(new, expected=expected)

    gateway.publish = too_late
    assert apply(ws, gateway, {C: 100}, 1, key="later") == current(ws, ROUTE) == gateway.read(ROUTE)
    assert states(ws) == [(3, "active"), (2, "aborted"), (1, "superseded")]


def test_whoever_wrote_an_overtaken_generation_into_a_gateway_that_takes_anything_puts_the_newer_one_back(ws):
    class TakesAnything(FailingGateway):
        def publish(self, new, *, expected, at_once=False):
            self.shown[ROUTE] = new
            self.after_publish()

    gateway = TakesAnything()
    apply(ws, gateway, {A: 100}, None)

    def somebody_else():
        gateway.after_publish = lambda: None
        apply(ws, gateway, {C: 100}, 1, key="later")
        gateway.shown[ROUTE] = Binding(ROUTE, 2, {B: 100}, "test")

    gateway.after_publish = somebody_else
    with pytest.raises(Conflict, match="the newest is generation 3"):
        apply(ws, gateway, {B: 100}, 1, key="earlier")
    assert gateway.read(ROUTE) == current(ws, ROUTE)


def test_a_rollback_to_a_named_generation_puts_its_content_back(ws, gateway):
    apply(ws, gateway, {A: 100}, None)
    apply(ws, gateway, {B: 100}, 1)
    apply(ws, gateway, {C: 100}, 2)
    rolled = roll_back(ws, gateway, route_key=ROUTE, expected=3, idempotency_key="k", reason="worse", to_generation=1)
    assert (rolled.generation, rolled.weights) == (4, {A: 100})
    assert "generation 3 to the content of generation 1: worse" in rolled.cause
    assert [record.kind for record in history(ws, ROUTE)] == ["rollback", "apply", "apply", "apply"]


def test_a_rollback_to_a_generation_that_never_served_is_refused_and_names_those_that_did(ws):
    gateway = FailingGateway()
    apply(ws, gateway, {A: 100}, None)
    gateway.swallow = True
    with pytest.raises(RunFailed):
        apply(ws, gateway, {C: 100}, 1)
    for number in (2, 9):
        with pytest.raises(NotFound, match="allowed: 1"):
            roll_back(ws, gateway, route_key=ROUTE, expected=1, idempotency_key="k", reason="r", to_generation=number)
