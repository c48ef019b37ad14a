"""What the matrix showed of one variant, per accepted output: what its production cost is put together from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from pointsman.economics.attempts import Basis, Charged
from pointsman.economics.cells import PricedCell
from pointsman.economics.hosting import Busy, Hosting, interruption_loss
from pointsman.economics.price_book import PriceBook
from pointsman.economics.pricing import total
from pointsman.ids import VariantId
from pointsman.model import Missing, Number

_GB = Decimal(1_000_000_000)


@dataclass(frozen=True)
class Hold:
    """How long all attempts of a variant held instances, added up so that another utilisation is one sum away."""

    list_usd: Decimal
    instance_usd: Decimal
    """Seconds times the instance's price of a second: what they cost on instances that are always busy."""
    usd_per_second: Decimal
    """The sum over attempts of their instances' price of a second."""
    seconds: npt.NDArray[np.float64]
    rates: npt.NDArray[np.float64]

    @classmethod
    def of(cls, busy: Sequence[Busy]) -> Hold:
        return cls(
            list_usd=sum((one.list_usd for one in busy), Decimal(0)),
            instance_usd=sum((one.seconds * one.usd_per_second for one in busy), Decimal(0)),
            usd_per_second=sum((one.usd_per_second for one in busy), Decimal(0)),
            seconds=np.array([float(one.seconds) for one in busy]),
            rates=np.array([float(one.usd_per_second) for one in busy]),
        )

    def idle(self, utilisation: Decimal) -> Decimal:
        return self.instance_usd / utilisation - self.list_usd

    def minimum_billing(self, hosting: Hosting) -> Decimal:
        if not hosting.minimum_billing_s:
            return Decimal(0)
        per_start = float(hosting.jobs_per_start)
        life = float(hosting.cold_start_s) + per_start * self.seconds / float(hosting.utilisation)
        unused = np.maximum(0.0, float(hosting.minimum_billing_s) - life)
        return Decimal(repr(float((unused / per_start * self.rates).sum())))


@dataclass(frozen=True)
class Parts:
    """USD per accepted output. `failed` is spent on cells that gave no output, `lost` on machines that went away.

    `idle`, `cold_start` and `minimum_billing` are those of `hosting`; `Missing` where usage is counted in time and it
    is not declared how that capacity is paid; 0 where a provider is paid for what it delivers. `hold` is None where no
    usage is counted in time.
    """

    variant: VariantId
    accepted: int
    list_price: Number
    retries: Number
    failed: Number
    lost: Number
    idle: Number
    cold_start: Number
    minimum_billing: Number
    egress: Number
    storage: Number
    output_gb: Number
    basis: Basis
    foreign: tuple[Charged, ...]
    hosting: Hosting | None
    hold: Hold | Missing | None
    expected_loss: Number | None = None
    """What interruptions are expected to cost where none was measured; None where none is declared."""

    @property
    def provider(self) -> str:
        return self.variant.provider

    @property
    def timed(self) -> bool:
        return self.hold is not None

    @property
    def compute(self) -> Number:
        """At list price: of the outputs, retries, failures, and losses."""
        return total((self.list_price, self.retries, self.failed, self.lost))

    def at_price(self, factor: Decimal) -> Parts:
        """The same work at a provider that charges `factor` times as much."""
        loss = None if self.expected_loss is None else _times(self.expected_loss, factor)
        foreign = tuple(Charged(one.currency, one.usd * factor, one.amount * factor) for one in self.foreign)
        return replace(
            self,
            list_price=_times(self.list_price, factor),
            retries=_times(self.retries, factor),
            failed=_times(self.failed, factor),
            lost=_times(self.lost, factor),
            idle=_times(self.idle, factor),
            cold_start=_times(self.cold_start, factor),
            minimum_billing=_times(self.minimum_billing, factor),
            expected_loss=loss,
            foreign=foreign,
        )

    def at_egress(self, factor: Decimal) -> Parts:
        """As many times the deliveries, or the price of each."""
        return replace(self, egress=_times(self.egress, factor))

    def at_utilisation(self, utilisation: Decimal) -> Parts:
        """The same work on capacity that is busy for another share of its time.

        Where hosting is not declared, instances are taken to be always ready and billed by the second.
        """
        if self.hold is None or isinstance(self.hold, Missing) or not self.accepted:
            return self
        hosting = (self.hosting or Hosting(self.provider, utilisation, "asked")).at(utilisation)
        cold = self.hold.usd_per_second * hosting.cold_start_s / hosting.jobs_per_start
        return replace(
            self,
            hosting=hosting,
            idle=self.hold.idle(utilisation) / self.accepted,
            cold_start=cold / self.accepted,
            minimum_billing=self.hold.minimum_billing(hosting) / self.accepted,
        )


def parts_of(cells: Iterable[PricedCell], book: PriceBook, variants: Iterable[VariantId]) -> dict[VariantId, Parts]:
    """Of each of the variants, ordered by id, from its cells that were run; of others nothing is known.

    One that was not given all its cells has no list price: what it was given are other inputs than those of the rest.
    """
    by_variant: dict[VariantId, list[PricedCell]] = {variant: [] for variant in variants}
    for cell in cells:
        by_variant[cell.variant].append(cell)
    return {variant: _parts(variant, own, book) for variant, own in sorted(by_variant.items())}


def _parts(variant: VariantId, cells: Sequence[PricedCell], book: PriceBook) -> Parts:
    good = [cell for cell in cells if cell.outcome == "success"]
    bad = [cell for cell in cells if cell.outcome != "success"]
    accepted = len(good)
    not_given = next((cell.output_compute for cell in cells if cell.status == "skipped"), None)
    attempts = [attempt for cell in cells for attempt in cell.tried]
    hosting = book.hosting_of(variant.provider)
    hold = _hold([attempt.busy for attempt in attempts])
    sizes: list[Number] = [
        Missing("an output's size was not recorded") if cell.output_bytes is None else Decimal(cell.output_bytes)
        for cell in good
    ]
    undeclared: Missing | None = None
    if hold is not None and hosting is None:
        undeclared = Missing(f"how {variant.provider} is hosted is not declared in a price file")

    def each(amounts: Iterable[Number]) -> Number:
        return _per(total(amounts), accepted)

    return Parts(
        variant=variant,
        accepted=accepted,
        list_price=each(cell.output_compute for cell in good) if not_given is None else not_given,
        retries=each(cell.other_compute for cell in good),
        failed=each(amount for cell in bad for amount in (cell.output_compute, cell.other_compute)),
        lost=each(cell.lost_compute for cell in cells),
        idle=undeclared or each(cell.idle for cell in cells),
        cold_start=undeclared or each(cell.cold_start for cell in cells),
        minimum_billing=undeclared or each(cell.minimum_billing for cell in cells),
        egress=each(cell.egress for cell in cells),
        storage=each(cell.storage for cell in cells),
        output_gb=_per(_times(total(sizes), 1 / _GB), accepted),
        basis="estimated" if any(cell.basis == "estimated" for cell in cells) else "measured",
        foreign=_per_currency([one for attempt in attempts for one in attempt.foreign], accepted),
        hosting=hosting,
        hold=hold,
        expected_loss=_expected_loss(hosting, [attempt.busy for attempt in attempts], accepted),
    )


def _hold(busy: Sequence[Busy | Missing | None]) -> Hold | Missing | None:
    timed = [one for one in busy if one is not None]
    unknown = next((one for one in timed if isinstance(one, Missing)), None)
    if unknown is not None or not timed:
        return unknown
    return Hold.of([one for one in timed if isinstance(one, Busy)])


def _expected_loss(hosting: Hosting | None, busy: Sequence[Busy | Missing | None], accepted: int) -> Number | None:
    if hosting is None or not hosting.interruptions_per_hour:
        return None
    known: list[Number] = [
        one if isinstance(one, Missing) else interruption_loss(hosting, one) for one in busy if one is not None
    ]
    return _per(total(known), accepted)


def _per_currency(charged: Sequence[Charged], accepted: int) -> tuple[Charged, ...]:
    if not accepted:
        return ()
    return tuple(
        Charged(
            currency,
            sum((one.usd for one in charged if one.currency == currency), Decimal(0)) / accepted,
            sum((one.amount for one in charged if one.currency == currency), Decimal(0)) / accepted,
        )
        for currency in sorted({one.currency for one in charged})
    )


def _per(amount: Number, accepted: int) -> Number:
    if not accepted:
        return Missing("no output was accepted")
    return amount if isinstance(amount, Missing) else amount / accepted


def _times(amount: Number, factor: Decimal) -> Number:
    return amount if isinstance(amount, Missing) else amount * factor
