"""A matrix that has ended is judged and decided, and the binding that a winner asks for is only proposed."""

from types import SimpleNamespace

import pytest
from prefect import Task

import flows.apply_routing
import flows.propose_routing
import tasks.routing
from flows.propose_routing import ProposeRoutingRequest
from pointsman.errors import GuardRefused
from pointsman.ids import benchmark_id
from pointsman.reporting import to_markdown
from pointsman.routing import FlagdFileGateway, RoutingRules, apply_binding, history, set_rules
from pointsman.safety import Identity
from tasks.economics import Decided
from tests.routing.test_verdicts import verdict
from tests.routing.worlds import ROUTE, A, B


@pytest.fixture
def world(ws, tmp_path, monkeypatch):
    """A serves; the steps before are given: `outcome` is what the HUD decides, `reports` are what was recorded."""
    gateway = FlagdFileGateway(tmp_path / "flags.json")
    verdict(ws, "v", "WINNER", B)
    state = SimpleNamespace(ws=ws, gateway=gateway, outcome="WINNER", reports=[], asked=[])
    for module in (flows.apply_routing, flows.propose_routing):
        for name, value in list(vars(module).items()):
            if isinstance(value, Task):
                monkeypatch.setattr(module, name, value.fn)
    run = SimpleNamespace(variants=(SimpleNamespace(id=A),), input_set_id="pictures")
    monkeypatch.setattr(tasks.routing, "open_workspace", lambda: ws)
    monkeypatch.setattr(tasks.routing, "matrix_run", lambda _ws, bm_id: state.asked.append(bm_id) or run)
    monkeypatch.setattr(tasks.routing, "record_report", lambda key, report: state.reports.append((key, report)))
    monkeypatch.setattr(flows.propose_routing.evaluate_quality, "fn", lambda asked: state.asked.append(asked) or "set")

    def decided(asked):
        state.asked.append(asked)
        return Decided(verdict_id="v", outcome=state.outcome, winner=None)

    monkeypatch.setattr(flows.propose_routing.money_hud, "fn", decided)
    return state


def serve_a(world):
    request = {"route_key": ROUTE, "weights": {A: 100}, "expected": None, "cause": "first", "idempotency_key": "1"}
    apply_binding(world.ws, world.gateway, **request)


def propose():
    return flows.propose_routing.propose_routing.fn(ProposeRoutingRequest(of_run="run1"))


def test_a_winner_is_proposed_with_what_speaks_against_it_and_nothing_changes(world):
    serve_a(world)
    set_rules(world.ws, ROUTE, RoutingRules(max_shift_percent=25), Identity("maria", "admin", "local"))
    change = propose().change
    assert (change.before, change.after, change.generation) == ({str(A): 100}, {str(B): 100}, None)
    assert world.asked[0] == benchmark_id("run1")
    assert world.asked[2].incumbent == str(A)
    ((key, report),) = world.reports
    shown = to_markdown(report)
    assert key == "routing-change"
    assert "would go to x265@lab-cpu; now it goes to x264@lab-cpu" in report.summary
    assert "pointsman route apply --verdict v" in shown
    assert "100 % of the traffic" in shown
    assert len(history(world.ws, ROUTE)) == 1


def test_without_a_winner_nothing_is_proposed_and_without_an_incumbent_nothing_is_judged(world):
    with pytest.raises(GuardRefused, match="none to compare with"):
        propose()
    assert world.asked == [benchmark_id("run1")]
    serve_a(world)
    world.outcome = "EQUIVALENT"
    assert propose().change is None
    assert world.reports == []
