"""The Pareto frontier: nobody on it is beaten, everybody off it is, and the unknown stays off."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from pointsman.decision.frontier import pareto_frontier
from pointsman.ids import VariantId
from pointsman.model import Missing, Number

UNKNOWN = Missing("no price")


def variant(n: int) -> VariantId:
    return VariantId("effect-1", f"workflow-{n:02d}", "lab", "demo", "cpu", "default")


def frontier_of(*points: tuple[Number | int, Number | int]) -> list[int]:
    numbered = [
        (variant(n), *(value if isinstance(value, Missing) else Decimal(value) for value in point))
        for n, point in enumerate(points)
    ]
    return [int(found.workflow.removeprefix("workflow-")) for found in pareto_frontier(numbered)]


def test_the_frontier_runs_from_cheap_to_good_and_leaves_out_what_is_beaten():
    assert frontier_of((3, 95), (1, 80), (2, 90), (3, 94), (4, 95), (2, 85)) == [1, 2, 0]


def test_equal_variants_stand_together_and_a_dearer_equal_one_falls():
    assert frontier_of((1, 80), (1, 80), (2, 80)) == [0, 1]


def test_a_variant_of_unknown_cost_or_quality_neither_stands_nor_beats_anybody():
    assert frontier_of((UNKNOWN, 99), (1, 80), (0, UNKNOWN)) == [1]
    assert frontier_of((UNKNOWN, 99)) == []
    assert frontier_of() == []


values = st.one_of(st.integers(0, 6).map(Decimal), st.just(UNKNOWN))


@given(st.lists(st.tuples(values, values), max_size=10))
def test_nobody_on_the_frontier_is_beaten_and_everybody_off_it_is(points):
    def beats(one, other):
        return one[0] <= other[0] and one[1] >= other[1] and one != other

    on = frontier_of(*points)
    known = {n: point for n, point in enumerate(points) if UNKNOWN not in point}
    assert set(on) == {n for n, point in known.items() if not any(beats(other, point) for other in known.values())}
    assert [known[n][0] for n in on] == sorted(known[n][0] for n in on)
