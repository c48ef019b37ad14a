"""`pointsman route` where a gateway was changed behind our back."""

import json

import pytest

from pointsman.ids import RouteKey
from pointsman.routing import FlagdFileGateway, current
from tests.service.worlds import INCUMBENT, OTHER, ROUTE, registered

KEY = RouteKey.parse(ROUTE)


@pytest.fixture
def gateway(home, monkeypatch):
    """The gateway of the home, where commands find it without a Prefect server."""
    ws = registered(home)
    found = FlagdFileGateway(home / "routing" / "flags.json")
    monkeypatch.setattr("service.cli.route_drift.connect", lambda: None)
    monkeypatch.setattr("tasks.opening.open_gateway", lambda _name: found)
    return ws, found


def changed_by_hand(gateway):
    document = json.loads(gateway.path.read_text())
    flag = document["flags"][ROUTE]
    flag["variants"] = dict.fromkeys(flag["variants"], OTHER)
    gateway.path.write_text(json.dumps(document))


def test_a_gateway_that_shows_what_is_recorded_is_said_to(pointsman, gateway):
    answer = pointsman("route", "show", "--drift")
    assert answer.code == 0
    assert "Record and gateway agree." in answer.out
    assert pointsman("route", "show", "--drift", "--restore", "--json").document["restored"]["done"] == "nothing"


def test_a_gateway_changed_behind_our_back_is_found_and_restored(pointsman, gateway):
    ws, door = gateway
    changed_by_hand(door)
    found = pointsman("route", "show", "--drift", "--json")
    assert found.code == 1
    assert "routing_drift" in found.err
    assert f"pointsman route show {ROUTE} --drift --restore" in found.err
    assert (found.document["recorded"]["weights"], found.document["shown"]["weights"]) == (
        {INCUMBENT: 100},
        {OTHER: 100},
    )
    restored = pointsman("route", "show", "--drift", "--restore")
    assert restored.code == 0
    assert "now in both" in restored.out
    assert door.read(KEY) == current(ws, KEY)
    assert {str(one): share for one, share in door.read(KEY).weights.items()} == {INCUMBENT: 100}
    assert pointsman("route", "show", "--drift").code == 0


def test_restoring_takes_a_comparison(pointsman, gateway):
    assert pointsman("route", "show", "--restore").code == 2
