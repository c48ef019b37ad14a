"""What self-hosted capacity costs beside the work that it does: idle time, cold starts, the least that is billed.

One instance is started, is ready after `cold_start_s`, runs `jobs_per_start` jobs one after another while it is busy
for the share `utilisation` of its ready time, and is billed for `minimum_billing_s` at least. So of one job that keeps
it busy for `s` seconds, with  ready = s / utilisation  and  life = cold_start_s + jobs_per_start * ready:

    paid = max(life, minimum_billing_s) / jobs_per_start

of which `s` is work, `ready - s` idle, `cold_start_s / jobs_per_start` cold start, and the rest minimum billing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from pointsman.economics.exact import EXACT, PICO_DOLLAR
from pointsman.errors import InputRefused

HOURS_PER_MONTH = Decimal(730)


@dataclass(frozen=True, slots=True)
class Commitment:
    """`usd_per_hour` is paid whether it is used or not, and buys what costs 1 / (1 - discount) as much on demand."""

    usd_per_hour: Decimal
    discount: Decimal

    @property
    def usd_per_month(self) -> Decimal:
        return self.usd_per_hour * HOURS_PER_MONTH

    def beyond(self, on_demand_usd: Decimal) -> Decimal:
        """What of a month's `on_demand_usd` is paid beside the commitment, as it does not buy so much."""
        return max(Decimal(0), on_demand_usd - self.usd_per_month / (1 - self.discount))

    def adjustment(self, on_demand_usd: Decimal) -> Decimal:
        """By how much a month is dearer (or cheaper: below 0) than on demand when it needs `on_demand_usd`."""
        return self.usd_per_month + self.beyond(on_demand_usd) - on_demand_usd


@dataclass(frozen=True, slots=True)
class Hosting:
    """How the capacity of one provider is paid. `instance` is what one instance holds of each unit it is priced in.

    `utilisation` is a share of 1. `interruptions_per_hour` are Spot losses per hour of work. `fixed` capacity is paid
    on after its jobs went elsewhere: owned or reserved machines.
    """

    provider: str
    utilisation: Decimal
    source: str
    instance: Mapping[str, Decimal] = field(default_factory=dict)
    cold_start_s: Decimal = Decimal(0)
    jobs_per_start: Decimal = Decimal(1)
    minimum_billing_s: Decimal = Decimal(0)
    interruptions_per_hour: Decimal = Decimal(0)
    fixed: bool = False
    commitment: Commitment | None = None

    def __post_init__(self) -> None:
        if not 0 < self.utilisation <= 1:
            raise InputRefused(
                f"hosting of {self.provider}, utilisation", str(self.utilisation), "more than 0 and at most 1"
            )

    def at(self, utilisation: Decimal) -> Hosting:
        """Raises `InputRefused`: never used capacity serves nothing, and none is used more than always."""
        return replace(self, utilisation=utilisation)

    def as_document(self) -> dict[str, Any]:
        plain: dict[str, Any] = {name: format(getattr(self, name), "f") for name in _FIGURES}
        plain |= {"provider": self.provider, "source": self.source, "fixed": self.fixed}
        plain["instance"] = {unit: format(held, "f") for unit, held in sorted(self.instance.items())}
        if self.commitment is not None:
            plain["commitment"] = {
                "usd_per_hour": format(self.commitment.usd_per_hour, "f"),
                "discount": format(self.commitment.discount, "f"),
            }
        return plain

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Hosting:
        """The inverse of `as_document`."""
        committed = document.get("commitment")
        return cls(
            provider=document["provider"],
            source=document["source"],
            fixed=document["fixed"],
            instance={unit: Decimal(held) for unit, held in document["instance"].items()},
            commitment=None
            if committed is None
            else Commitment(Decimal(committed["usd_per_hour"]), Decimal(committed["discount"])),
            **{name: Decimal(document[name]) for name in _FIGURES},
        )


_FIGURES = ("utilisation", "cold_start_s", "jobs_per_start", "minimum_billing_s", "interruptions_per_hour")


@dataclass(frozen=True, slots=True)
class Busy:
    """One attempt's hold on an instance: for so many seconds, at the instance's price of a second.

    `list_usd` is what the same usage costs at list price; an instance that is not filled by its jobs costs more.
    """

    seconds: Decimal
    usd_per_second: Decimal
    list_usd: Decimal


@dataclass(frozen=True, slots=True)
class Overhead:
    """USD beside the list price of the work."""

    idle_usd: Decimal = Decimal(0)
    cold_start_usd: Decimal = Decimal(0)
    minimum_billing_usd: Decimal = Decimal(0)

    @property
    def usd(self) -> Decimal:
        return self.idle_usd + self.cold_start_usd + self.minimum_billing_usd


NOTHING_BESIDE = Overhead()


def overhead(hosting: Hosting, busy: Busy) -> Overhead:
    """What one attempt costs beside its list price, each part 0 or more, rounded as every cost is."""
    ready = EXACT.divide(busy.seconds, hosting.utilisation)
    life = hosting.cold_start_s + hosting.jobs_per_start * ready
    unused = max(Decimal(0), hosting.minimum_billing_s - life)
    return Overhead(
        idle_usd=_usd(ready * busy.usd_per_second - busy.list_usd),
        cold_start_usd=_usd(EXACT.divide(hosting.cold_start_s, hosting.jobs_per_start) * busy.usd_per_second),
        minimum_billing_usd=_usd(EXACT.divide(unused, hosting.jobs_per_start) * busy.usd_per_second),
    )


def interruption_loss(hosting: Hosting, busy: Busy) -> Decimal:
    """USD of work that interruptions are expected to throw away, per job: each loses half of a job on average."""
    lost_s = hosting.interruptions_per_hour / 3600 * busy.seconds * busy.seconds / 2
    return _usd(lost_s * busy.usd_per_second)


def _usd(amount: Decimal) -> Decimal:
    return EXACT.quantize(max(Decimal(0), amount), PICO_DOLLAR)
