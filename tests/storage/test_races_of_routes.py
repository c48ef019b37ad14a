"""Changes of one route at the same moment, on both databases: one wins, the other is told which generation did."""

import threading
from dataclasses import replace

import pytest

from pointsman.clock import ManualClock
from pointsman.errors import Conflict
from pointsman.routing import (
    BindingRequest,
    FlagdFileGateway,
    RoutingRules,
    apply_binding,
    current,
    history,
    propose_binding,
    reconcile,
    set_rules,
)
from pointsman.safety import Identity, read_approval, unproven, wait_instead
from pointsman.storage import LocalResults
from pointsman.workspace import Workspace
from tests.routing.worlds import ROUTE, A, B, C, register

ROUNDS = 5


@pytest.fixture
def ws(database, tmp_path):
    found = Workspace(database=database, results=LocalResults(tmp_path), clock=ManualClock(), actor="racer")
    register(found, A, B, C)
    return found


def test_of_two_applies_one_wins_and_the_other_gets_a_conflict_that_names_the_generation(ws, tmp_path):
    path = tmp_path / "flags.json"

    def apply(weights, expected, key):
        return apply_binding(ws, FlagdFileGateway(path), BindingRequest(ROUTE, weights, expected, "race", key))

    apply({A: 100}, None, "first")
    for turn in range(ROUNDS):
        expected = current(ws, ROUTE).generation
        start, ended = threading.Barrier(2), {}

        def race(variant, turn=turn, expected=expected, start=start, ended=ended):
            start.wait(10)
            try:
                ended[variant] = apply({variant: 100}, expected, f"{turn} {variant}")
            except Conflict as conflict:
                ended[variant] = conflict

        racers = [threading.Thread(target=race, args=(one,)) for one in (B, C)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(60)
        (lost,) = [one for one in ended.values() if isinstance(one, Conflict)]
        (won,) = [one for one in ended.values() if not isinstance(one, Conflict)]
        assert won == current(ws, ROUTE) == FlagdFileGateway(path).read(ROUTE)
        assert f"generation {won.generation}" in lost.message
        assert reconcile(ws, FlagdFileGateway(path), ROUTE).done == "nothing"
    assert [one.status for one in history(ws, ROUTE)].count("active") == 1


def test_of_two_that_want_to_wait_for_a_consent_in_the_place_of_another_one_does(ws, tmp_path):
    set_rules(ws, ROUTE, RoutingRules(approval=True), Identity("maria", "admin", "local"))
    asked = BindingRequest(ROUTE, {A: 100}, None, "race", "first", requester=unproven("racer"))
    left = propose_binding(ws, FlagdFileGateway(tmp_path / "flags.json"), asked)
    for _ in range(ROUNDS):
        start, took = threading.Barrier(2), []

        def race(name, left=left, start=start, took=took):
            start.wait(10)
            if wait_instead(replace(ws, actor=name), left):
                took.append(name)

        racers = [threading.Thread(target=race, args=(f"{left.waiter}{one}",)) for one in "ab"]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(60)
        left = read_approval(ws, left.id)
        assert took == [left.waiter]
