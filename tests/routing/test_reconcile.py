"""Record and gateway are made to agree, whoever changed what."""

import pytest

from pointsman.actions import ActionLog
from pointsman.errors import DependencyDown, GuardRefused
from pointsman.model import Binding
from pointsman.routing import current, drift, history, reconcile, rollback
from tests.routing.test_apply import FailingGateway, apply, events, states
from tests.routing.worlds import ROUTE, A, B, C, MemoryGateway


def test_what_agrees_is_left_alone(ws, gateway):
    assert reconcile(ws, gateway, ROUTE).serves is None
    first = apply(ws, gateway, {A: 100}, None)
    found = reconcile(ws, gateway, ROUTE)
    assert (found.done, found.serves) == ("nothing", first)
    assert events(ws) == ["routing_applied"]


def test_a_gateway_that_lost_its_content_or_is_behind_shows_the_recorded_generation_again(ws):
    gateway = MemoryGateway()
    first = apply(ws, gateway, {A: 100}, None)
    second = apply(ws, gateway, {B: 100}, 1)
    for behind in ({}, {ROUTE: first}):
        gateway.shown = dict(behind)
        found = reconcile(ws, gateway, ROUTE)
        assert (found.done, found.serves) == ("restored", second)
        assert gateway.read(ROUTE) == second
        assert events(ws)[-1] == "routing_restored"
    assert len(history(ws, ROUTE)) == 2


@pytest.mark.parametrize(
    "theirs", [Binding(ROUTE, 1, {C: 100}, "by hand"), Binding(ROUTE, 7, {B: 50, C: 50}, "by hand")]
)
def test_a_gateway_changed_behind_our_back_gets_what_is_recorded_as_a_newer_generation(ws, theirs):
    gateway = MemoryGateway()
    apply(ws, gateway, {A: 100}, None)
    gateway.shown[ROUTE] = theirs
    assert drift(ws, gateway, ROUTE) is not None
    found = reconcile(ws, gateway, ROUTE)
    assert found.done == "restored"
    assert found.serves == current(ws, ROUTE) == gateway.read(ROUTE)
    assert (found.serves.weights, found.serves.generation) == ({A: 100}, theirs.generation + 1)
    assert history(ws, ROUTE)[0].kind == "restore"
    assert states(ws) == [(theirs.generation + 1, "active"), (1, "superseded")]
    assert drift(ws, gateway, ROUTE) is None
    assert ActionLog(ws).read(limit=1)[0].event == "routing_restored"


def test_what_was_under_way_is_fenced_off_unless_the_gateway_shows_it(ws):
    gateway = FailingGateway()
    apply(ws, gateway, {A: 100}, None)
    gateway.down = True
    with pytest.raises(DependencyDown):
        apply(ws, gateway, {B: 100}, 1, key="lost")
    with pytest.raises(DependencyDown):
        reconcile(ws, gateway, ROUTE)
    gateway.down = False
    found = reconcile(ws, gateway, ROUTE)
    assert (found.done, found.serves.weights) == ("restored", {A: 100})
    assert states(ws)[-2:] == [(2, "aborted"), (1, "superseded")]


def test_a_change_that_is_made_while_they_are_compared_is_no_drift(ws, monkeypatch):
    gateway = MemoryGateway()
    apply(ws, gateway, {A: 100}, None)
    read = gateway.read

    def meanwhile(key):
        monkeypatch.setattr(gateway, "read", read)
        apply(ws, gateway, {B: 100}, 1)
        return read(key)

    monkeypatch.setattr(gateway, "read", meanwhile)
    assert drift(ws, gateway, ROUTE) is None
    assert "routing_drift" not in events(ws)


def test_going_back_that_never_reached_the_gateway_is_finished(ws):
    """What served was found to be bad: it is not what should be restored."""
    gateway = FailingGateway()
    apply(ws, gateway, {A: 100}, None)
    apply(ws, gateway, {B: 100}, 1)
    gateway.down = True
    with pytest.raises(DependencyDown):
        rollback(ws, gateway, route_key=ROUTE, expected=2, idempotency_key="b", reason="bad")
    gateway.down = False
    found = reconcile(ws, gateway, ROUTE)
    assert (found.done, found.serves.weights) == ("finished", {A: 100})
    assert current(ws, ROUTE) == gateway.read(ROUTE) == found.serves


def test_a_binding_that_only_the_gateway_knows_is_not_overwritten(ws):
    gateway = MemoryGateway()
    gateway.shown[ROUTE] = Binding(ROUTE, 4, {C: 100}, "of a lost database")
    with pytest.raises(GuardRefused, match="no binding is recorded") as refused:
        reconcile(ws, gateway, ROUTE)
    assert refused.value.code == "nothing_recorded"
    assert gateway.read(ROUTE).generation == 4
