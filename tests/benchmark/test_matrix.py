"""The plan of a matrix: complete, balanced, repeatable, and paired in time."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.benchmark import plan_cells
from pointsman.errors import InputRefused
from pointsman.ids import VariantId
from pointsman.model import InputMember


def _variants(count: int) -> list[VariantId]:
    return [VariantId("postcard-1", f"w{number}", "lab", "demo", "lab-cpu", "base") for number in range(count)]


def _members(count: int) -> list[InputMember]:
    return [InputMember(f"i{number}", f"file:///i{number}", "0" * 64, 1, f"c{number % 3}") for number in range(count)]


SEED_7 = [
    (0, "w1", "i0", 0),
    (0, "w0", "i0", 0),
    (0, "w0", "i1", 0),
    (0, "w1", "i1", 0),
    (1, "w1", "i1", 1),
    (1, "w1", "i0", 1),
    (1, "w0", "i0", 1),
    (1, "w0", "i1", 1),
]
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 3), st.integers(1, 40), st.integers(0, 2**63))


@given(SHAPES)
def test_every_cell_is_planned_exactly_once(shape: tuple[int, int, int, int, int]) -> None:
    ways, inputs, repeats, round_cells, seed = shape
    cells = plan_cells(_variants(ways), _members(inputs), repeats=repeats, seed=seed, round_cells=round_cells)
    planned = Counter((cell.variant, cell.input_id, cell.repeat) for cell in cells)
    wanted = product(_variants(ways), [member.input_id for member in _members(inputs)], range(repeats))
    assert planned == Counter(wanted)
    assert [cell.seq for cell in cells] == list(range(ways * inputs * repeats))
    clusters = {member.input_id: member.cluster for member in _members(inputs)}
    assert all(cell.cluster == clusters[cell.input_id] for cell in cells)


@given(SHAPES)
def test_every_variant_of_an_input_and_repeat_is_in_one_round_of_bounded_size(
    shape: tuple[int, int, int, int, int],
) -> None:
    ways, inputs, repeats, round_cells, seed = shape
    cells = plan_cells(_variants(ways), _members(inputs), repeats=repeats, seed=seed, round_cells=round_cells)
    rounds_of_block = defaultdict(set)
    for cell in cells:
        rounds_of_block[cell.input_id, cell.repeat].add(cell.round)
    assert all(len(found) == 1 for found in rounds_of_block.values())
    sizes = Counter(cell.round for cell in cells)
    assert sorted(sizes) == list(range(len(sizes)))
    assert [cell.round for cell in cells] == sorted(cell.round for cell in cells)
    assert all(size <= max(round_cells, ways) for size in sizes.values())
    full = max(1, round_cells // ways) * ways
    assert all(sizes[number] == full for number in range(len(sizes) - 1))


@given(SHAPES, st.randoms())
def test_the_plan_depends_on_the_seed_and_the_sets_alone(shape: tuple[int, int, int, int, int], random: object) -> None:
    ways, inputs, repeats, round_cells, seed = shape
    variants, members = _variants(ways), _members(inputs)
    first = plan_cells(variants, members, repeats=repeats, seed=seed, round_cells=round_cells)
    random.shuffle(variants)  # type: ignore[attr-defined]
    random.shuffle(members)  # type: ignore[attr-defined]
    assert plan_cells(variants, members, repeats=repeats, seed=seed, round_cells=round_cells) == first


def test_the_plan_of_a_seed_stays_what_it_was() -> None:
    cells = plan_cells(_variants(2), _members(2), repeats=2, seed=7, round_cells=4)
    assert [(cell.round, cell.variant.workflow, cell.input_id, cell.repeat) for cell in cells] == SEED_7


def test_another_seed_is_another_order() -> None:
    plans = {plan_cells(_variants(4), _members(6), repeats=1, seed=seed, round_cells=8) for seed in range(10)}
    assert len(plans) == 10


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_each_repeat_sees_all_inputs_before_the_next_one_begins(seed: int) -> None:
    cells = plan_cells(_variants(3), _members(5), repeats=3, seed=seed, round_cells=3)
    assert [cell.repeat for cell in cells] == [0] * 15 + [1] * 15 + [2] * 15


def test_no_variant_leads_its_rounds_more_often_than_chance_allows() -> None:
    first = Counter(
        plan_cells(_variants(4), _members(1), repeats=1, seed=seed, round_cells=4)[0].variant for seed in range(2000)
    )
    assert all(400 < count < 600 for count in first.values())  # 500 +- 5 standard deviations


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"variants": []}, "variants"),
        ({"inputs": []}, "inputs"),
        ({"variants": _variants(2) * 2}, "variants"),
        ({"inputs": _members(2) * 2}, "inputs"),
        ({"repeats": 0}, "repeats"),
        ({"round_cells": -1}, "round_cells"),
    ],
)
def test_an_empty_or_repeated_plan_is_refused(changes: dict[str, object], named: str) -> None:
    arguments: dict[str, object] = {
        "variants": _variants(2),
        "inputs": _members(2),
        "repeats": 1,
        "seed": 1,
        "round_cells": 4,
        **changes,
    }
    with pytest.raises(InputRefused, match=named):
        plan_cells(arguments.pop("variants"), arguments.pop("inputs"), **arguments)  # type: ignore[arg-type]
