"""The plan of a matrix, pure: every variant on every input, repeated, in seeded randomised rounds.

A block is one input at one repeat, run by every variant; a block is never split between rounds, so that comparisons
within an input are paired in time. Rounds go repeat by repeat: a matrix that ends early has seen every input about
equally often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from pointsman.errors import InputRefused
from pointsman.ids import VariantId
from pointsman.model import InputMember


@dataclass(frozen=True, slots=True)
class Cell:
    """One planned dispatch of a matrix. `seq` numbers the cells of all rounds through, in the order of dispatch."""

    seq: int
    round: int
    variant: VariantId
    input_id: str
    cluster: str
    repeat: int


def plan_cells(
    variants: Sequence[VariantId], inputs: Sequence[InputMember], *, repeats: int, seed: int, round_cells: int
) -> tuple[Cell, ...]:
    """Every (variant, input, repeat) exactly once, in rounds of at most `round_cells` cells but at least one block.

    A function of the sets and the seed: the order in which variants and inputs are given does not matter. Raises
    `InputRefused` for empty or repeated variants or inputs and for numbers below 1.
    """
    ways = sorted(variants)
    members = sorted(inputs, key=lambda member: member.input_id)
    _refuse_empty_or_repeated("variants", [str(way) for way in ways])
    _refuse_empty_or_repeated("inputs", [member.input_id for member in members])
    for name, number in (("repeats", repeats), ("round_cells", round_cells)):
        if number < 1:
            raise InputRefused(name, number, "1 or more")
    random = Random(seed)
    blocks: list[tuple[InputMember, int]] = []
    for repeat in range(repeats):
        order = list(members)
        random.shuffle(order)
        blocks += [(member, repeat) for member in order]
    per_round = max(1, round_cells // len(ways))
    cells: list[Cell] = []
    for number, start in enumerate(range(0, len(blocks), per_round)):
        drawn = [(way, *block) for block in blocks[start : start + per_round] for way in ways]
        random.shuffle(drawn)
        cells += [
            Cell(len(cells) + place, number, way, member.input_id, member.cluster, repeat)
            for place, (way, member, repeat) in enumerate(drawn)
        ]
    return tuple(cells)


def _refuse_empty_or_repeated(what: str, ids: Sequence[str]) -> None:
    if not ids:
        raise InputRefused(what, [], "at least one")
    for one, following in pairwise(ids):
        if one == following:
            raise InputRefused(what, one, "each only once")
