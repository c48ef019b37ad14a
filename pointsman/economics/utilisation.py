"""What self-hosted capacity costs an output as a function of its utilisation, and where it meets a price per output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from pointsman.economics.lines import ONE_OFF, OutputCost, Setting, output_cost
from pointsman.economics.parts import Hold, Parts
from pointsman.economics.pricing import total
from pointsman.economics.sensitivity import crossing, left_out
from pointsman.ids import VariantId
from pointsman.model import Missing, Number

_POINTS = tuple(Decimal(share) / 100 for share in range(10, 101, 5))
_LEAST = 0.01


@dataclass(frozen=True, slots=True)
class Curve:
    """(utilisation, USD per accepted output) without the cost of switching. `declared` is what was used in the costs,
    and one of the points.

    Where it is not declared how the capacity is paid, instances are taken to be always ready, billed by the second.
    """

    variant: VariantId
    declared: Decimal | None
    points: tuple[tuple[Decimal, Decimal], ...]


@dataclass(frozen=True, slots=True)
class BreakEven:
    """From which utilisation on a self-hosted variant is as cheap as one that is paid per output.

    `left_out` are the lines that are not known of both, and so not counted.
    """

    variant: VariantId
    against: VariantId
    utilisation: Number
    left_out: tuple[str, ...]


def curves(parts: Sequence[Parts], setting: Setting) -> list[Curve]:
    """Of every variant whose usage is counted in time and priced."""
    found = []
    for one in parts:
        if _runs_by_the_hour(one):
            declared = None if one.hosting is None else one.hosting.utilisation
            shares = sorted({*_POINTS, *([] if declared is None else [declared])})
            points = tuple((share, _known(output_cost(one.at_utilisation(share), setting))) for share in shares)
            found.append(Curve(one.variant, declared, points))
    return found


def per_output(parts: Sequence[Parts], setting: Setting) -> dict[VariantId, Decimal]:
    """What an output costs at the variants that are paid for what they deliver, in the lines that are known."""
    return {one.variant: _known(output_cost(one, setting)) for one in parts if _is_paid_per_output(one)}


def break_evens(parts: Sequence[Parts], setting: Setting) -> list[BreakEven]:
    """Of each self-hosted variant against each that is paid per output, on the lines that are known of both."""
    hosted = [one for one in parts if _runs_by_the_hour(one)]
    paid = [one for one in parts if _is_paid_per_output(one)]
    return [_break_even(one, by, setting) for one in hosted for by in paid]


def _runs_by_the_hour(parts: Parts) -> bool:
    return isinstance(parts.hold, Hold) and not isinstance(parts.list_price, Missing)


def _is_paid_per_output(parts: Parts) -> bool:
    return not parts.timed and not isinstance(parts.list_price, Missing)


def _break_even(hosted: Parts, paid: Parts, setting: Setting) -> BreakEven:
    price = output_cost(paid, setting)
    out = left_out(output_cost(hosted.at_utilisation(Decimal(1)), setting), price)

    def advantage(utilisation: float) -> float:
        cost = output_cost(hosted.at_utilisation(Decimal(repr(utilisation))), setting)
        own, other = cost.running(out), price.running(out)
        assert not isinstance(own, Missing)
        assert not isinstance(other, Missing)
        return float(other - own)

    found = crossing(advantage, _LEAST, 1.0)
    at: Number = Missing("cheaper at any utilisation" if advantage(1.0) > 0 else "dearer even when it is always busy")
    if found is not None:
        at = Decimal(format(found, ".6g"))
    return BreakEven(hosted.variant, paid.variant, at, out)


def _known(cost: OutputCost) -> Decimal:
    known = total(line.usd for line in cost.lines if line.basis != "missing" and line.name not in ONE_OFF)
    assert not isinstance(known, Missing)
    return known
