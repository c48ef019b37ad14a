"""`pointsman route` where a gateway was changed behind our back."""

import json

import pytest
import sqlalchemy as sa
from pydantic import BaseModel

from pointsman.dispatch import TargetSpec
from pointsman.errors import DependencyDown
from pointsman.ids import RouteKey, VariantId
from pointsman.routing import (
    BindingRequest,
    FlagdFileGateway,
    GatewaySpec,
    advance,
    apply_binding,
    current,
    rollback,
    under_way,
)
from pointsman.storage import tables
from tests.service.worlds import INCUMBENT, OTHER, ROUTE, registered

KEY = RouteKey.parse(ROUTE)


@pytest.fixture
def gateway(home, monkeypatch):
    """The gateway of the home, where commands find it without a Prefect server."""
    ws = registered(home)
    found = FlagdFileGateway(home / "routing" / "flags.json")
    monkeypatch.setattr("service.cli.route_drift.connect", lambda: None)
    monkeypatch.setattr("tasks.opening.open_gateway", lambda *_: found)
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


def test_going_back_that_was_cut_short_is_asked_about_and_finished_by_restoring(pointsman, gateway, monkeypatch):
    ws, door = gateway
    apply_binding(ws, door, BindingRequest(KEY, {VariantId.parse(OTHER): 100}, 1, "test", "second"))

    def away(*_, **__):
        raise DependencyDown("The gateway is out of reach.")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(door, "publish", away)
        with pytest.raises(DependencyDown):
            rollback(ws, door, route_key=KEY, expected=2, idempotency_key="back", reason="worse")
    asked = []
    monkeypatch.setattr("service.cli.route_drift.agree", lambda _yes, _route, plan: asked.append(plan))
    restored = pointsman("route", "show", "--drift", "--restore", "--json").document["restored"]
    assert (restored["done"], restored["serves"]["weights"]) == ("finished", {INCUMBENT: 100})
    (plan,) = asked
    assert plan.startswith("Finish what was cut short")


def test_restoring_takes_a_comparison(pointsman, gateway):
    assert pointsman("route", "show", "--restore").code == 2


def in_a_canary(ws, door):
    """OTHER at 5 %."""
    one, other = VariantId.parse(INCUMBENT), VariantId.parse(OTHER)
    apply_binding(ws, door, BindingRequest(one.route_key, {other: 100}, 1, "test", "canary", steps=(5, 100)))


class Done(BaseModel):
    route_key: str = ROUTE
    before: dict[str, int] = {INCUMBENT: 100}
    before_generation: int = 1
    after: dict[str, int] = {OTHER: 100}
    generation: int = 3
    probe: None = None


@pytest.fixture
def flows_run(monkeypatch):
    """The requests that commands would run flows with."""
    asked = []

    monkeypatch.setattr("service.cli.route.connect", lambda: None)
    monkeypatch.setattr("service.cli.route.run_flow", lambda _load, request: asked.append(request) or Done())
    return asked


def test_a_canary_is_asked_for_paused_promoted_and_aborted(pointsman, gateway, flows_run):
    ws, door = gateway
    words = ["--variant", OTHER, "--canary", "5,100", "--jobs", "9", "--input-set", "some-clips"]
    assert pointsman("route", "apply", *words).code == 0
    (asked,) = flows_run
    assert (asked.canary.steps, asked.canary.jobs_per_step, asked.expected_generation) == ((5, 100), 9, 1)
    for bad in (["--canary", "5,x"], ["--canary", "100,5"], ["--jobs", "9"]):
        assert pointsman("route", "apply", "--variant", OTHER, "--input-set", "some-clips", *bad).code == 2
    for words in (["pause"], ["abort", "--input-set", "some-clips"]):
        refused = pointsman("route", *words)
        assert (refused.code, "no_canary" in refused.err) == (3, True)
    in_a_canary(ws, door)
    paused = pointsman("route", "pause", "--reason", "looking", "--json").document
    assert (paused["state"], paused["findings"][0]["why"]) == ("paused", "looking")
    assert "looking" in pointsman("route", "pause").out
    promote = ["route", "promote", "--input-set", "some-clips"]
    assert pointsman(*promote, "--to-end", "--jobs", "8").code == 0
    assert (flows_run[-1].expected_generation, flows_run[-1].to_end, flows_run[-1].canary.jobs_per_step) == (2, True, 8)
    assert pointsman("route", "abort", "--input-set", "some-clips").code == 0
    assert (flows_run[-1].expected_generation, flows_run[-1].reason) == (2, "aborted by an operator")
    assert pointsman("route", "rollback").code == 0
    assert flows_run[-1].input_set is None, "going back waits for no inputs where none are registered"
    assert pointsman("route", "rollback", "--input-set", "absent").code == 2


def test_the_same_command_goes_on_with_a_canary_that_was_cut_short(pointsman, gateway, flows_run, monkeypatch):
    ws, door = gateway
    words = ["route", "apply", "--variant", OTHER, "--canary", "5,100", "--input-set", "some-clips"]
    asked = []

    def killed(_load, request):
        asked.append(request)
        in_a_canary(ws, door)
        raise DependencyDown("the machine went away")

    monkeypatch.setattr("service.cli.route.run_flow", killed)
    assert pointsman(*words).code == 4
    monkeypatch.setattr("service.cli.route.run_flow", lambda _load, request: asked.append(request) or Done())
    assert pointsman(*words).code == 0
    assert asked[0] == asked[1], "the same change, by the same run id"
    assert pointsman("route", "apply", "--variant", INCUMBENT, "--input-set", "some-clips").code == 0
    assert asked[2].expected_generation == 2, "another change is another"


def test_a_switch_is_confirmed_by_promoting_it_and_then_nothing_is_held(pointsman, gateway):
    ws, door = gateway
    assert pointsman("route", "promote").code == 3
    in_a_canary(ws, door)
    advance(ws, door, under_way(ws, KEY)[0].id, after=0, why="test")
    held = pointsman("variants", "disable", INCUMBENT)
    assert (held.code, "variant_held" in held.err) == (3, True)
    assert "is held no longer" in pointsman("route", "promote").out
    assert "nothing_to_promote" in pointsman("route", "promote").err
    assert pointsman("variants", "disable", INCUMBENT).code == 0


def test_rules_of_a_route_are_set_and_shown(pointsman, gateway, tmp_path):
    file = tmp_path / "rules.toml"
    file.write_text("max_shift_percent = 25\n")
    assert pointsman("route", "rules", "--set", file, "--json").document["max_shift_percent"] == 25
    assert "max_shift_percent" in pointsman("route", "rules", ROUTE).out
    refused = pointsman("route", "apply", "--variant", OTHER, "--set", "x")
    assert refused.code == 2


def test_a_service_learns_the_variant_also_when_the_record_is_gone(pointsman, gateway, tmp_path, monkeypatch):
    words = ["route", "resolve", ROUTE, "--for", "user-1", "--cache", tmp_path / "routes.json"]
    assert pointsman(*words).out.strip() == INCUMBENT
    assert pointsman("route", "resolve", "--json").document["stale"] is False
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", "sqlite:////proc/none/pointsman.db")
    found = pointsman(*words, "--json").document
    assert (found["variant"], found["stale"]) == (INCUMBENT, True)


def test_a_gateway_is_saved_and_shown_and_a_route_exported_for_litellm(pointsman, gateway, tmp_path, monkeypatch):
    kept = {}
    file = tmp_path / "gateway.toml"
    file.write_text('path = "flags.json"\n')
    monkeypatch.setattr("service.cli.route_gateway.connect", lambda: None)
    monkeypatch.setattr("service.cli.route_view.connect", lambda: None)
    monkeypatch.setattr("service.cli.route_gateway.save_blocks", kept.update)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.opening.gateway_spec", lambda name: kept[f"gateway/{name}"][1])
    assert pointsman("route", "gateway", "edge", "--set", file, "--json").document["path"] == str(
        tmp_path / "flags.json"
    )
    assert "flags.json" in pointsman("route", "gateway", "edge").out
    assert pointsman("route", "gateway", "Edge One").code == 2
    assert "flags.json" in pointsman("route", "show").out
    taken = pointsman("route", "gateway", "default", "--set", file)
    assert (taken.code, "gateway_in_use" in taken.err, "gateway/default" in kept) == (3, True, False)
    moved = pointsman("route", "move", "--to", "edge", "--json").document
    assert (moved["before"]["gateway"], moved["now"]["gateway"], moved["generation"]) == ("default", "edge", 2)
    assert pointsman("route", "show", "--json").document[0]["gateway"] == "edge"
    kept["gateway/other"] = ("", GatewaySpec(path=str(tmp_path / "other.json")))
    assert "Whoever still asks edge" in pointsman("route", "move", ROUTE, "--to", "other").out
    monkeypatch.setattr("service.cli.route_view.saved_targets", list)
    assert pointsman("route", "show", "--litellm").code == 2
    ws, _ = gateway
    model = {"endpoint": "images/generations", "request": {"model": "small"}}
    with ws.database.begin() as connection:
        connection.execute(sa.update(tables.variants).values(params=model, target="images"))
    target = TargetSpec(name="images", preset="openai", base_url="http://127.0.0.1:9000")
    monkeypatch.setattr("service.cli.route_view.saved_targets", lambda: [target])
    assert "openai/small" in pointsman("route", "show", "--litellm").out
