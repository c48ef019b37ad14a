"""A variant takes a route's peak only when it was shown to sustain it with headroom."""

from decimal import Decimal

import pytest
import sqlalchemy as sa

from pointsman.errors import GuardRefused, InputRefused
from pointsman.model import Missing
from pointsman.routing import capacity_gate, ensure_capacity
from pointsman.storage import tables
from tests.routing.worlds import A, B

PEAK, HEADROOM = Decimal(4), Decimal("1.5")


def known(ws, variant, per_s, *, ended=True):
    row = {
        "id": f"cap-{variant.label}-{ws.clock.now().timestamp()}",
        "variant_id": str(variant),
        "settings": {"slos": ["p95 total_ms < 5000"]},
        "steps": [],
        "per_s": per_s,
        "high_per_s": None,
        "why": "a test",
        "created_at": ws.clock.now(),
        "ended_at": ws.clock.now() if ended else None,
    }
    with ws.database.begin() as connection:
        connection.execute(sa.insert(tables.capacities).values(**row))
    ws.clock.sleep(1)


@pytest.mark.parametrize(("capacity", "passes"), [("6", True), ("6.0001", True), ("5.9999", False), ("0.1", False)])
def test_the_gate_asks_for_the_peak_times_the_headroom(capacity, passes):
    why = capacity_gate(Decimal(capacity), PEAK, HEADROOM)
    assert (why is None) is passes
    if not passes:
        assert why == f"it sustains {capacity} per second, and 4 x 1.5 = 6.0 are needed"


def test_what_is_not_known_is_not_enough():
    assert capacity_gate(Missing("no search"), PEAK, HEADROOM) == "its capacity is not measured (no search)"


@pytest.mark.parametrize(("peak", "headroom"), [(0, 1), (-1, 1), (1, 0.5), ("NaN", 1), (1, "inf")])
def test_a_peak_or_headroom_that_makes_no_sense_is_refused(peak, headroom):
    with pytest.raises(InputRefused):
        capacity_gate(Decimal(5), Decimal(str(peak)), Decimal(str(headroom)))


def test_each_variant_must_sustain_its_share_and_the_newest_search_counts(ws):
    known(ws, A, Decimal(1))
    known(ws, A, Decimal(6))
    known(ws, A, None, ended=False)
    ensure_capacity(ws, {A: 100}, peak=PEAK, headroom=HEADROOM)
    ensure_capacity(ws, {A: 100, B: 0}, peak=PEAK, headroom=HEADROOM)
    with pytest.raises(GuardRefused, match="no capacity search of it has ended") as refused:
        ensure_capacity(ws, {A: 90, B: 10}, peak=PEAK, headroom=HEADROOM)
    assert refused.value.instruction == f"pointsman scenario capacity --variant {B}"
    known(ws, B, Decimal("0.7"))
    ensure_capacity(ws, {A: 90, B: 10}, peak=PEAK, headroom=HEADROOM)
    known(ws, B, Decimal("0.5"))
    with pytest.raises(GuardRefused, match=r"10 % of a peak of 4 per second: it sustains 0\.5"):
        ensure_capacity(ws, {A: 90, B: 10}, peak=PEAK, headroom=HEADROOM)
