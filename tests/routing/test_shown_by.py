"""A route is shown by one gateway, which is kept with it, until an admin moves the route to another one."""

import pytest
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.errors import Conflict, DependencyDown, GuardRefused, InputRefused
from pointsman.routing import (
    AlbSpec,
    AppConfigSpec,
    BindingRequest,
    FlagdFileGateway,
    GatewaySpec,
    apply_binding,
    current,
    gateway_of,
    history,
    move_route,
    open_hold,
    reconcile,
    rollback,
    routes_shown_by,
    shown_by,
)
from pointsman.safety import Identity
from pointsman.storage import tables
from tests.routing.worlds import OTHER_ROUTE, ROUTE, A, B

ADMIN = Identity("maria", "admin", "local")


class Saved(dict):
    """Gateways by name, as blocks keep them."""

    def __call__(self, name):
        if name not in self:
            raise InputRefused("block", name, ", ".join(self))
        return self[name]


@pytest.fixture
def saved(tmp_path):
    return Saved({name: GatewaySpec(path=str(tmp_path / f"{name}.json")) for name in ("default", "edge")})


def apply(ws, gateway, weights, expected):
    return apply_binding(ws, gateway, BindingRequest(ROUTE, weights, expected, "test", f"{expected}"))


def back(ws, gateway, expected):
    return rollback(ws, gateway, route_key=ROUTE, expected=expected, idempotency_key=f"back {expected}", reason="worse")


@pytest.fixture
def bound(ws, saved):
    """A, then B, at the gateway `edge`."""
    apply(ws, gateway_of(ws, ROUTE, "edge", saved), {A: 100}, None)
    apply(ws, gateway_of(ws, ROUTE, None, saved), {B: 100}, 1)
    return ws


def test_a_route_keeps_the_gateway_of_its_first_binding_and_going_back_needs_no_name(bound, saved, tmp_path):
    assert back(bound, gateway_of(bound, ROUTE, None, saved), 2).weights == {A: 100}
    assert FlagdFileGateway(tmp_path / "edge.json").read(ROUTE) == current(bound, ROUTE)
    assert not (tmp_path / "default.json").exists()
    assert [one.route_key for one in routes_shown_by(bound, "edge")] == [ROUTE]
    assert (shown_by(bound, ROUTE).set_by, shown_by(bound, OTHER_ROUTE)) == ("tester", None)


def test_a_request_that_names_another_gateway_is_refused_with_the_way_to_move_the_route(bound, saved):
    with pytest.raises(Conflict, match=r"is shown by the gateway edge .*, and not by default") as refused:
        gateway_of(bound, ROUTE, "default", saved)
    assert refused.value.code == "other_gateway"
    assert f"pointsman route move {ROUTE} --to default" in refused.value.instruction


def test_a_name_that_was_given_to_another_place_is_another_gateway(bound, saved, tmp_path):
    saved["edge"] = GatewaySpec(path=str(tmp_path / "elsewhere.json"))
    with pytest.raises(Conflict, match=r"edge \(the file .*elsewhere\.json\)") as refused:
        gateway_of(bound, ROUTE, None, saved)
    assert refused.value.code == "other_gateway"
    assert not (tmp_path / "elsewhere.json").exists()


def test_until_something_is_bound_another_gateway_can_still_be_named(ws, saved):
    gateway_of(ws, ROUTE, "edge", saved)
    assert shown_by(ws, ROUTE).gateway == "edge"
    apply(ws, gateway_of(ws, ROUTE, None, saved), {A: 100}, None)
    assert shown_by(ws, ROUTE).gateway == "default"


def test_a_route_of_before_gateways_were_kept_is_taken_on_where_it_is_shown_and_nowhere_else(bound, saved):
    with bound.database.begin() as connection:
        connection.execute(sa.delete(tables.routing_gateways))
    with pytest.raises(GuardRefused, match="default shows nothing of it") as refused:
        gateway_of(bound, ROUTE, None, saved)
    assert refused.value.code == "gateway_not_known"
    assert gateway_of(bound, ROUTE, "edge", saved).read(ROUTE) == current(bound, ROUTE)
    assert shown_by(bound, ROUTE).gateway == "edge"


def test_a_moved_route_is_shown_by_the_other_gateway_with_what_serves_and_its_way_back(bound, saved, tmp_path):
    with pytest.raises(GuardRefused, match="takes the role admin"):
        move_route(bound, ROUTE, "default", saved, Identity("otto", "operator", "token"))
    events = len(ActionLog(bound).read())
    moved = move_route(bound, ROUTE, "default", saved, ADMIN)
    assert (moved.before.gateway, moved.now.gateway, moved.serves.weights) == ("edge", "default", {B: 100})
    assert moved.serves == current(bound, ROUTE) == FlagdFileGateway(tmp_path / "default.json").read(ROUTE)
    told = [one.event for one in ActionLog(bound).read()][: len(ActionLog(bound).read()) - events]
    assert told == ["routing_gateway_moved", "routing_restored"], "and no drift"
    assert open_hold(bound, ROUTE).variants == {A: 100}
    gateway = gateway_of(bound, ROUTE, None, saved)
    assert reconcile(bound, gateway, ROUTE).done == "nothing"
    with pytest.raises(Conflict, match="is generation 3"):
        back(bound, FlagdFileGateway(tmp_path / "edge.json"), 2)
    assert back(bound, gateway, 3).weights == {A: 100}
    assert FlagdFileGateway(tmp_path / "edge.json").read(ROUTE).generation == 2


def test_a_route_whose_gateway_is_gone_is_moved_and_then_goes_back(bound, saved, tmp_path):
    (tmp_path / "edge.json").unlink()
    (tmp_path / "edge.json").mkdir()
    with pytest.raises(DependencyDown):
        back(bound, gateway_of(bound, ROUTE, None, saved), 2)
    del saved["edge"]
    with pytest.raises(InputRefused):
        gateway_of(bound, ROUTE, None, saved)
    move_route(bound, ROUTE, "default", saved, ADMIN)
    assert back(bound, gateway_of(bound, ROUTE, None, saved), 3).weights == {A: 100}


def test_a_gateway_that_cannot_show_the_route_does_not_get_it(bound, saved, tmp_path):
    saved["balancer"] = GatewaySpec(alb=AlbSpec(rules={}, target_groups={}), region="eu-west-1")
    with pytest.raises(InputRefused, match="a route with a rule"):
        move_route(bound, ROUTE, "balancer", saved, ADMIN)
    (tmp_path / "default.json").write_text("not json")
    with pytest.raises(DependencyDown):
        move_route(bound, ROUTE, "default", saved, ADMIN)
    assert (shown_by(bound, ROUTE).gateway, history(bound, ROUTE)[0].binding.generation) == ("edge", 2)


def test_a_move_that_was_cut_short_before_it_was_kept_is_ended_by_the_same_call(bound, saved, monkeypatch):
    told = ActionLog.record_in

    def killed(log, connection, event, **data):
        if event == "routing_gateway_moved":
            raise KeyboardInterrupt
        return told(log, connection, event, **data)

    monkeypatch.setattr(ActionLog, "record_in", killed)
    with pytest.raises(KeyboardInterrupt):
        move_route(bound, ROUTE, "default", saved, ADMIN)
    monkeypatch.undo()
    assert shown_by(bound, ROUTE).gateway == "edge"
    moved = move_route(bound, ROUTE, "default", saved, ADMIN)
    assert (moved.serves.generation, shown_by(bound, ROUTE).gateway) == (4, "default")
    again = move_route(bound, ROUTE, "default", saved, ADMIN)
    assert (again.before.gateway, again.serves.generation) == ("default", 4), "a move to where it is changes nothing"


def test_places_differ_where_traffic_does():
    rule = AlbSpec(rules={str(ROUTE): "arn:rule"}, target_groups={})
    hosted = AppConfigSpec(application="a", environment="e", profile="p", strategy="s")
    assert GatewaySpec(alb=rule).place(ROUTE) == GatewaySpec(
        alb=rule.model_copy(update={"rules": {**rule.rules, str(OTHER_ROUTE): "x"}})
    ).place(ROUTE)
    quicker = hosted.model_copy(update={"strategy": "t"})
    assert GatewaySpec(appconfig=hosted).place(ROUTE) == GatewaySpec(appconfig=quicker).place(ROUTE)
    other = hosted.model_copy(update={"environment": "f"})
    assert GatewaySpec(appconfig=hosted).place(ROUTE) != GatewaySpec(appconfig=other).place(ROUTE)
