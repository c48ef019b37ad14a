"""Only a verdict with a winner changes routing, and only to what it asks for."""

from dataclasses import replace
from functools import cache

import pytest
import sqlalchemy as sa

from pointsman.decision import decide, document_path, verdict_document
from pointsman.errors import GuardRefused, NotFound
from pointsman.ids import VariantId
from pointsman.routing import BindingRequest, apply_binding, binding_for_verdict, current, history
from pointsman.storage import tables
from tests.decision import comparisons
from tests.routing.worlds import ROUTE, A, B, MemoryGateway


@cache
def b_beats_a():
    """A plan, its measurements, the verdict that B wins, and the document of that."""
    plan = replace(comparisons.plan(1, 8), incumbent=A, challengers=(B,))
    data = comparisons.measured(plan, cost=lambda cell: "0.01" if cell[0] == 0 else "0.005")
    found = decide(plan, data)
    assert found.winner == B
    return plan, data, found, verdict_document(plan, data, found)


def verdict(ws, verdict_id: str, outcome: str, winner: VariantId | None) -> None:
    row = {
        "id": verdict_id,
        "benchmark_id": "bm_1",
        "evaluation_set_id": "set",
        "route_key": str(ROUTE),
        "outcome": outcome,
        "winner": str(winner) if winner else None,
        "plan_sha256": "0" * 64,
        "data_sha256": "0" * 64,
        "code_version": "test",
        "document_uri": "file:///verdict.json",
        "created_at": ws.clock.now(),
    }
    with ws.database.begin() as connection:
        connection.execute(sa.insert(tables.verdicts).values(**row))
    ws.results.write(document_path(verdict_id), b_beats_a()[-1])


def apply(ws, gateway, weights, **more):
    asked = BindingRequest(ROUTE, weights, None, "test", "k", verdict_id="v")
    return apply_binding(ws, gateway, replace(asked, **more))


def test_a_winner_goes_on_its_route(ws):
    verdict(ws, "v", "WINNER", B)
    proposed = binding_for_verdict(ws, "v")
    assert (proposed.route_key, proposed.weights) == (ROUTE, {B: 100})
    assert "verdict v" in proposed.cause
    applied = apply(ws, MemoryGateway(), proposed.weights, cause=proposed.cause)
    assert applied == current(ws, ROUTE)
    assert history(ws, ROUTE)[0].verdict_id == "v"


@pytest.mark.parametrize("outcome", ["EQUIVALENT", "NO_SIGNIFICANT_WINNER", "INSUFFICIENT_DATA", "INVALID"])
def test_any_other_outcome_changes_nothing(ws, outcome):
    verdict(ws, "v", outcome, None)
    gateway = MemoryGateway()
    for change in (lambda: binding_for_verdict(ws, "v"), lambda: apply(ws, gateway, {B: 100})):
        with pytest.raises(GuardRefused, match=outcome) as refusal:
            change()
        assert refusal.value.instruction == "pointsman hud show bm_1"
    assert history(ws, ROUTE) == []
    assert gateway.published == []


def test_a_verdict_does_not_carry_weights_that_it_does_not_ask_for(ws):
    verdict(ws, "v", "WINNER", B)
    for weights in ({A: 100}, {A: 50, B: 50}):
        with pytest.raises(GuardRefused, match="does not ask for these weights"):
            apply(ws, MemoryGateway(), weights)
    assert history(ws, ROUTE) == []


def test_an_unknown_verdict_is_not_found(ws):
    with pytest.raises(NotFound, match="no-such-verdict"):
        binding_for_verdict(ws, "no-such-verdict")
