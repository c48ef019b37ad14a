"""What a change would be, before it is made: by the steps in which it would be made."""

from pointsman.reporting import to_markdown
from pointsman.routing import BindingRequest, RoutingRules, apply_binding, proposal_report, set_rules
from pointsman.safety import Identity
from tests.routing.worlds import ROUTE, A, B


def test_a_proposal_is_held_to_the_rules_by_its_steps_and_its_command_names_them(ws, gateway):
    apply_binding(ws, gateway, BindingRequest(ROUTE, {A: 100}, None, "first", "1"))
    set_rules(ws, ROUTE, RoutingRules(max_shift_percent=50), Identity("maria", "admin", "local"))
    by_steps = to_markdown(proposal_report(ws, ROUTE, {B: 100}, cause="better", verdict_id=None, steps=(5, 50, 100)))
    assert "**what speaks against it**: nothing" in by_steps
    assert f"pointsman route apply --variant {B} --canary 5,50,100" in by_steps
    at_once = to_markdown(proposal_report(ws, ROUTE, {B: 100}, cause="better", verdict_id=None))
    assert "100 % of the traffic" in at_once
    assert f"pointsman route apply --variant {B}\n" in at_once
