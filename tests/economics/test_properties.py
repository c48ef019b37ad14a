"""What must hold of any matrix: trouble is never cheap, and what is not priced never wins."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.decision import decide
from pointsman.decision.frontier import pareto_frontier
from pointsman.economics import PriceBook, PricedCell, PriceEntry, per_success, total
from pointsman.economics.attempts import priced_attempt
from pointsman.economics.cells import priced_cell
from pointsman.economics.hosting import Commitment, Hosting
from pointsman.economics.membership import frontier_membership
from pointsman.model import Missing
from tests.decision.comparisons import measured, plan
from tests.economics.worlds import NOW, A

FLEET = st.builds(
    Hosting,
    provider=st.just("cpu"),
    utilisation=st.decimals("0.05", 1, places=2),
    source=st.just("made up"),
    cold_start_s=st.decimals(0, 300, places=0),
    jobs_per_start=st.decimals(1, 50, places=0),
    minimum_billing_s=st.decimals(0, 600, places=0),
    commitment=st.none() | st.just(Commitment(Decimal(1), Decimal("0.3"))),
)
BOOKS = st.builds(
    lambda fleet: PriceBook(
        (
            PriceEntry("cpu:vcpu-second", "vcpu-second", Decimal("0.001"), NOW, None, "s"),
            PriceEntry("egress:gb", "gb", Decimal("0.09"), NOW, None, "s"),
            PriceEntry("storage:gb-month", "gb-month", Decimal("0.02"), NOW, None, "s"),
        ),
        () if fleet is None else (fleet,),
    ),
    st.none() | FLEET,
)
ATTEMPTS = st.lists(
    st.tuples(st.sampled_from(["failed", "lost", "unknown"]), st.decimals(0, 100, places=3) | st.none()), max_size=4
)
CELLS = st.lists(st.tuples(ATTEMPTS, st.booleans()), min_size=1, max_size=6)


def cell(book: PriceBook, at: int, failed: list[tuple[str, Decimal | None]], success: bool) -> PricedCell:
    """A cell with failed attempts, and one more that made the output if it is a success."""
    tried = [*failed, ("completed" if success else "failed", Decimal(5))]
    rows = [
        {
            "number": number,
            "outcome": outcome,
            "provider": "cpu",
            "sku": "cpu:vcpu-second",
            "quantity": quantity,
            "missing_reason": None if quantity is not None else "worker died",
            "basis": "measured",
        }
        for number, (outcome, quantity) in enumerate(tried, 1)
    ]
    item: Any = SimpleNamespace(
        dispatch_id=f"d-{at}",
        input_id=f"i-{at}",
        cluster=f"c-{at}",
        repeat=0,
        status="completed" if success else "failed",
        reason=None if success else "boom",
        total_ms=1.0,
    )
    return priced_cell(
        book,
        item,
        A,
        [priced_attempt(book, [row], NOW) for row in rows],
        1000 if success else None,
        at=NOW,
        deliveries_per_output=1,
        storage_months=Decimal(1),
    )


@settings(max_examples=60)
@given(BOOKS, CELLS, st.data())
def test_one_more_failed_attempt_never_makes_a_success_cheaper(book: PriceBook, told: Any, data: st.DataObject):
    at = data.draw(st.integers(0, len(told) - 1))
    added = data.draw(st.tuples(st.sampled_from(["failed", "lost"]), st.decimals(0, 100, places=3)))
    before = [cell(book, n, failed, success) for n, (failed, success) in enumerate(told)]
    more = [([*failed, added] if n == at else failed, success) for n, (failed, success) in enumerate(told)]
    after = [cell(book, n, failed, success) for n, (failed, success) in enumerate(more)]
    successes = sum(success for _, success in told)
    old, new = (per_success(total(one.cost for one in cells), successes) for cells in (before, after))
    if isinstance(old, Missing):
        assert isinstance(new, Missing), "trouble makes nothing known that was not"
    else:
        assert not isinstance(new, Missing)
        assert new >= old


@settings(max_examples=25, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 7)), min_size=1), st.integers(0, 2**32 - 1))
def test_no_unpriced_variant_wins_or_stands_on_the_frontier(unpriced: set[tuple[int, int]], seed: int):
    """However cheap all its other cells are."""
    planned = replace(plan(), seed=seed)
    unknown = {"cost_usd": Missing("no price for gpu:second")}
    data = measured(
        planned,
        cost=lambda one: 0.01 if one[0] == 0 else 0.000001,
        changed={(variant, at, 0): unknown for variant, at in unpriced},
    )
    verdict = decide(planned, data)
    hidden = {planned.variants[variant] for variant, _ in unpriced}
    assert verdict.winner not in hidden
    costs = {variant: total(one.cost_usd for one in data if one.variant == variant) for variant in planned.variants}
    assert not hidden & set(pareto_frontier((variant, cost, Decimal(90)) for variant, cost in costs.items()))
    cells = [
        PricedCell(
            dispatch_id=one.dispatch_id,
            variant=one.variant,
            input_id=one.input_id,
            cluster=one.cluster,
            repeat=one.repeat,
            status="completed",
            outcome="success",
            reason=None,
            total_ms=one.total_ms,
            attempts=1,
            output_compute=one.cost_usd,
            other_compute=Decimal(0),
            egress=Decimal(0),
            storage=Decimal(0),
        )
        for one in data
    ]
    shares = frontier_membership(cells, {one.dispatch_id: one.quality for one in data}, seed=seed)
    assert {variant for variant, share in shares.items() if isinstance(share, Missing)} == hidden
