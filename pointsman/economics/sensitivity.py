"""At which price, volume or utilisation a switch starts or stops to be worth it: where a difference turns its sign."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from itertools import pairwise

from pointsman.economics.lines import OutputCost, Setting, output_cost
from pointsman.economics.parts import Parts
from pointsman.economics.pricing import total
from pointsman.model import Missing, Number

_FACTORS = (0.01, 100.0)
_VOLUMES = (1.0, 1e9)
_LEAST_USED = 0.01
_STEPS = 24
_HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Turn:
    """Where along one lever the answer changes. `at` is `Missing` where it never does within `looked_at`.

    `now` and `at` are in `unit`: a factor of what is now (`times`), a number of outputs or deliveries, or a share of 1.
    `provider` is whose price or utilisation it is.
    """

    lever: str
    unit: str
    now: Decimal
    at: Number
    looked_at: tuple[float, float]
    worth_it_now: bool
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Duel:
    """A challenger against the incumbent, on the lines of the waterfall that are known of both.

    A switch is worth it when the challenger is cheaper by `min_saving`, a share of the incumbent's cost, at least.
    """

    incumbent: Parts
    challenger: Parts
    setting: Setting
    min_saving: Decimal
    deliveries_per_output: int

    @property
    def costs(self) -> tuple[OutputCost, OutputCost]:
        """Of the incumbent, and of the challenger with the cost of switching to it."""
        return (
            output_cost(self.incumbent, self.setting),
            output_cost(self.challenger, self.setting, self.incumbent),
        )

    def advantage(self) -> Number:
        """USD per accepted output by which the challenger beats what would just be worth a switch."""
        old, new = self.costs
        spent, would = known_of_both(old, new)
        if isinstance(spent, Missing) or isinstance(would, Missing):
            return Missing("the list price of one of them is not known")
        return spent * (1 - self.min_saving) - would


def left_out(one: OutputCost, other: OutputCost) -> tuple[str, ...]:
    """The lines that are not known of both, in the waterfall's order: what is compared is the rest."""
    return tuple(
        line.name
        for line, same in zip(one.lines, other.lines, strict=True)
        if line.basis == "missing" or same.basis == "missing"
    )


def known_of_both(one: OutputCost, other: OutputCost) -> tuple[Number, Number]:
    """What each costs in the lines that are known of both; `Missing` where the list price is not among them."""
    out = left_out(one, other)
    if "list price" in out:
        why = next(line.usd for cost in (one, other) for line in cost.lines if isinstance(line.usd, Missing))
        return why, why
    return (
        total(line.usd for line in one.lines if line.name not in out),
        total(line.usd for line in other.lines if line.name not in out),
    )


@dataclass(frozen=True, slots=True)
class _Lever:
    name: str
    unit: str
    now: Decimal
    looked_at: tuple[float, float]
    moved: Callable[[Duel, Decimal], Duel]
    provider: str | None = None


def turns(duel: Duel) -> list[Turn]:
    """One for each lever there is; none when the two cannot be compared at all."""
    start = duel.advantage()
    if isinstance(start, Missing):
        return []
    return [
        Turn(
            lever=lever.name,
            unit=lever.unit,
            now=lever.now,
            at=_nearest(duel, lever, start > 0),
            looked_at=lever.looked_at,
            worth_it_now=start > 0,
            provider=lever.provider,
        )
        for lever in _levers(duel)
    ]


def _levers(duel: Duel) -> Iterator[_Lever]:
    one = Decimal(1)
    sides = {parts.provider: parts for parts in (duel.challenger, duel.incumbent)}
    for provider in sides:
        yield _Lever(f"price of {provider}", "times", one, _FACTORS, partial(_priced, provider), provider)
    if duel.deliveries_per_output:
        yield _Lever("price of egress", "times", one, _FACTORS, _delivered)
        deliveries = Decimal(duel.deliveries_per_output)
        low, high = (float(deliveries) * factor for factor in _FACTORS)
        yield _Lever("deliveries per output", "deliveries", deliveries, (low, high), partial(_sent, deliveries))
    volume = duel.setting.production.outputs_per_month
    if volume is not None:
        least, most = _VOLUMES
        yield _Lever("outputs per month", "outputs", Decimal(volume), (least, max(most, float(volume))), _made)
    for provider, parts in sides.items():
        if parts.hosting is not None and parts.timed:
            at = parts.hosting.utilisation
            looked_at = (min(_LEAST_USED, float(at)), 1.0)
            yield _Lever(f"utilisation of {provider}", "share", at, looked_at, partial(_busy, provider), provider)


def crossing(advantage: Callable[[float], float], low: float, high: float) -> float | None:
    """Where a continuous function changes its sign first, from `low` on; None when it does not up to `high`.

    The range is walked through in even steps of its logarithm, and a step that changes the sign is halved.
    """
    points = [low * (high / low) ** (step / _STEPS) for step in range(_STEPS + 1)]
    before = advantage(points[0])
    for left, right in pairwise(points):
        after = advantage(right)
        if (before > 0) != (after > 0):
            for _ in range(_HALVINGS):
                middle = math.sqrt(left * right)
                if (advantage(middle) > 0) == (before > 0):
                    left = middle
                else:
                    right = middle
            return math.sqrt(left * right)
        before = after
    return None


def _nearest(duel: Duel, lever: _Lever, worth_it: bool) -> Number:
    """The turn that is nearest to where things stand, as a factor of it."""

    def advantage(x: float) -> float:
        found = lever.moved(duel, Decimal(repr(x))).advantage()
        return math.nan if isinstance(found, Missing) else float(found)

    low, high = lever.looked_at
    at = min(max(float(lever.now), low), high)
    above = crossing(advantage, at, high)
    below = crossing(lambda x: advantage(1 / x), 1 / at, 1 / low)  # the same walk downwards, on the reciprocal
    found = [x for x in (above, None if below is None else 1 / below) if x is not None]
    if not found:
        return Missing(f"{'worth it' if worth_it else 'not worth it'} all the way from {low:g} to {high:g}")
    return Decimal(format(min(found, key=lambda x: abs(math.log(x / at))), ".6g"))


def _priced(provider: str, duel: Duel, factor: Decimal) -> Duel:
    return _with(duel, provider, lambda parts: parts.at_price(factor))


def _busy(provider: str, duel: Duel, utilisation: Decimal) -> Duel:
    return _with(duel, provider, lambda parts: parts.at_utilisation(utilisation))


def _with(duel: Duel, provider: str, change: Callable[[Parts], Parts]) -> Duel:
    old, new = duel.incumbent, duel.challenger
    return replace(
        duel,
        incumbent=change(old) if old.provider == provider else old,
        challenger=change(new) if new.provider == provider else new,
    )


def _delivered(duel: Duel, factor: Decimal) -> Duel:
    return replace(duel, incumbent=duel.incumbent.at_egress(factor), challenger=duel.challenger.at_egress(factor))


def _sent(now: Decimal, duel: Duel, deliveries: Decimal) -> Duel:
    return _delivered(duel, deliveries / now)


def _made(duel: Duel, volume: Decimal) -> Duel:
    production = duel.setting.production.model_copy(update={"outputs_per_month": max(1, round(volume))})
    return replace(duel, setting=replace(duel.setting, production=production))
