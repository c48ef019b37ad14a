"""What switching is worth: the saving per output, what of it is cash, and when the switch has paid itself back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pointsman.economics.pricing import total
from pointsman.economics.sensitivity import Duel, known_of_both, left_out
from pointsman.ids import VariantId
from pointsman.model import Missing, Number


@dataclass(frozen=True, slots=True)
class Comparison:
    """A challenger against the incumbent, in USD per accepted output unless a name says otherwise.

    `allocated_saving` is the difference of what an output costs; `cash_saving` leaves out what is paid on whatever runs
    where: commitments, and capacity that is fixed. Both are of the running cost; what switching costs once stands
    apart in `one_off_usd`. All of it rests on the lines that are known of both; `left_out` are the others.
    """

    challenger: VariantId
    allocated_saving: Number
    cash_saving: Number
    cash_saving_usd_per_month: Number
    one_off_usd: Number
    payback_months: Number
    payback_months_with_experiment: Number
    left_out: tuple[str, ...]


def compare(duel: Duel, experiment_usd: Number) -> Comparison:
    """`experiment_usd` is what finding out cost: no part of a switch, but it may be asked back, too."""
    old, new = duel.costs
    out = left_out(old, new)
    spent, would = known_of_both(old, new)
    if not isinstance(spent, Missing):
        spent, would = old.running(out), new.running(out)
    allocated = _less(spent, would)
    cash = _less(_less(spent, old.sunk(out)), _less(would, new.sunk(out)))
    volume = duel.setting.production.outputs_per_month
    monthly: Number = cash
    if not isinstance(cash, Missing):
        monthly = Missing("outputs per month are not declared") if volume is None else cash * volume
    return Comparison(
        challenger=duel.challenger.variant,
        allocated_saving=allocated,
        cash_saving=cash,
        cash_saving_usd_per_month=monthly,
        one_off_usd=new.one_off_usd,
        payback_months=payback(new.one_off_usd, monthly),
        payback_months_with_experiment=payback(total((new.one_off_usd, experiment_usd)), monthly),
        left_out=out,
    )


def payback(once_usd: Number, saved_usd_per_month: Number) -> Number:
    """Months until what was paid once is saved; `Missing` where it never is. What costs nothing is paid back at once,
    unless money is lost from then on.
    """
    never = Missing("never: it saves no cash")
    if not isinstance(saved_usd_per_month, Missing) and saved_usd_per_month < 0:
        return never
    if isinstance(once_usd, Missing):
        return once_usd
    if isinstance(saved_usd_per_month, Missing):
        return saved_usd_per_month
    if once_usd and not saved_usd_per_month:
        return never
    return once_usd / saved_usd_per_month if once_usd else Decimal(0)


def _less(one: Number, other: Number) -> Number:
    if isinstance(one, Missing):
        return one
    return other if isinstance(other, Missing) else one - other
