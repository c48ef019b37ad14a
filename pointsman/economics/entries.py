"""One dated price: what it buys, in which currency, until when, and where its figure is from; no gap, no overlap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from typing import Any

from pointsman.errors import InputRefused

USD = "USD"


@dataclass(frozen=True, slots=True)
class Foreign:
    """What is really charged, in another currency: `amount` of it, one of which was `rate` USD on `rate_date`."""

    currency: str
    amount: Decimal
    rate: Decimal
    rate_date: date


@dataclass(frozen=True, slots=True)
class AwsProduct:
    """Where AWS's Pricing API has this price: the service code, and the attributes that single out one product."""

    service: str
    filters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """`usd` buys one `unit` of `sku` from `valid_from` until just before `valid_to` (None: until replaced).

    A sku ends in the unit its usage is counted in, such as `lab-cpu:vcpu-second`. `unit` is that one, or the hour of a
    unit that ends in `-second`, or a `million-` of it. `modality`, `resolution` and `tier` say what the sku is, and all
    its entries say the same. `usd` of a `foreign` price is its amount at the rate of its date.
    """

    sku: str
    unit: str
    usd: Decimal
    valid_from: datetime
    valid_to: datetime | None
    source: str
    modality: str | None = None
    resolution: str | None = None
    tier: str | None = None
    foreign: Foreign | None = None
    aws: AwsProduct | None = None

    @property
    def factor(self) -> Decimal:
        """How many of the sku's own unit one `unit` is."""
        return units_of(self.sku)[self.unit]

    @property
    def currency(self) -> str:
        return USD if self.foreign is None else self.foreign.currency

    def covers(self, at: datetime) -> bool:
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)

    def as_row(self) -> dict[str, Any]:
        """The entry as the table `price_book` holds it."""
        foreign = self.foreign
        return {
            **{name: getattr(self, name) for name in ("sku", "unit", "usd", "valid_from", "valid_to", "source")},
            **{name: getattr(self, name) for name in _DESCRIBING},
            "currency": self.currency,
            "amount": self.usd if foreign is None else foreign.amount,
            "fx_rate": None if foreign is None else foreign.rate,
            "fx_date": None if foreign is None else foreign.rate_date.isoformat(),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> PriceEntry:
        """The inverse of `as_row`. Where AWS has a price is not kept: it was needed to find it, not to use it."""
        plain = {name: row[name] for name in ("sku", "unit", "usd", "valid_from", "valid_to", "source", *_DESCRIBING)}
        if row["fx_rate"] is None:
            return cls(**plain)
        rate_date = date.fromisoformat(row["fx_date"])
        return cls(**plain, foreign=Foreign(row["currency"], row["amount"], row["fx_rate"], rate_date))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> PriceEntry:
        """The inverse of `as_document`."""
        foreign, until = document.get("foreign"), document["valid_to"]
        return cls(
            sku=document["sku"],
            unit=document["unit"],
            usd=Decimal(document["usd"]),
            valid_from=datetime.fromisoformat(document["valid_from"]),
            valid_to=None if until is None else datetime.fromisoformat(until),
            source=document["source"],
            **{name: document.get(name) for name in _DESCRIBING},
            foreign=None
            if foreign is None
            else Foreign(
                foreign["currency"],
                Decimal(foreign["amount"]),
                Decimal(foreign["rate"]),
                date.fromisoformat(foreign["rate_date"]),
            ),
        )

    def as_document(self) -> dict[str, Any]:
        """What the hash of a book covers: all that bears on a cost, and where it is from."""
        plain: dict[str, Any] = {
            "sku": self.sku,
            "unit": self.unit,
            "usd": format(self.usd, "f"),
            "valid_from": self.valid_from.isoformat(),
            "valid_to": None if self.valid_to is None else self.valid_to.isoformat(),
            "source": self.source,
        }
        plain |= {name: getattr(self, name) for name in _DESCRIBING if getattr(self, name) is not None}
        if self.foreign is not None:
            plain["foreign"] = {
                "currency": self.foreign.currency,
                "amount": format(self.foreign.amount, "f"),
                "rate": format(self.foreign.rate, "f"),
                "rate_date": self.foreign.rate_date.isoformat(),
            }
        return plain


_DESCRIBING = ("modality", "resolution", "tier")


def moment(at: datetime) -> str:
    """The day (UTC) that a validity begins or ends with, or the time where it does so within a day."""
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%d}" if at.time() == time() else at.isoformat().replace("+00:00", "Z")


_SECONDS_OF_OUTPUT = ("video-second", "audio-second")


def units_of(sku: str) -> dict[str, Decimal]:
    """The units that a price of `sku` may be quoted in, each with how many of the sku's own unit it holds."""
    own = sku.rsplit(":", 1)[-1]
    units = {own: Decimal(1), f"million-{own}": Decimal(1_000_000)}
    if own.endswith("-second"):
        units[own.removesuffix("second") + "hour"] = Decimal(3600)
    return units


def counted_in_time(sku: str) -> bool:
    """Whether what the sku counts is time on a machine, so that somebody may be paying for it while it is idle.

    A second of a video, or of sound, is how much was made, at however many machines.
    """
    return sku.endswith("-second") and not sku.endswith(_SECONDS_OF_OUTPUT)


def check_validity(entries: Iterable[PriceEntry], *, where: str) -> tuple[PriceEntry, ...]:
    """Sort `entries`; refuse a sku with two prices at one time, with a time in between that has none, or that changes.

    What changes when its modality, resolution or tier does is another sku: usage names nothing but the sku.
    """
    ordered = tuple(sorted(entries, key=lambda entry: (entry.sku, entry.valid_from)))
    for one, following in pairwise(ordered):
        if one.sku != following.sku:
            continue
        for name in _DESCRIBING:
            if getattr(one, name) != getattr(following, name):
                raise InputRefused(
                    f"price book {where}, sku {one.sku}, {name}",
                    getattr(following, name),
                    f"{getattr(one, name)!r} as in its entry from {one.valid_from:%Y-%m-%d}, or a sku of its own",
                )
        if one.valid_to == following.valid_from:
            continue
        if one.valid_from == following.valid_from:
            problem = f"twice from {one.valid_from:%Y-%m-%d}"
        else:
            ends = "without an end" if one.valid_to is None else f"until {one.valid_to:%Y-%m-%dT%H:%MZ}"
            kind = "an overlap" if one.valid_to is None or one.valid_to > following.valid_from else "a gap"
            problem = f"{kind}: one price {ends}, the next from {following.valid_from:%Y-%m-%dT%H:%MZ}"
        raise InputRefused(
            f"price book {where}, sku {one.sku}",
            problem,
            "entries where each valid_to is the next one's valid_from",
            instruction=f"Correct the [[price]] entries of {one.sku} in {where}, then run `pointsman prices check`.",
        )
    return ordered
