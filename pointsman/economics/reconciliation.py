"""Our ledger against an invoice: how far apart they are, and every difference with what explains it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from pointsman.economics.charges import WORK, Charge, Uncharged
from pointsman.economics.invoice import InvoiceLine
from pointsman.economics.price_book import PriceBook

TOLERANCE = Decimal("0.01")
_NONE = "(not named)"


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that was paid for. `by_quantity` and `by_price` are parts of the difference where both know a quantity
    in one unit.

    The ledger's work and, where capacity is self-hosted, what is paid beside it (`beside_usd`: idle time, cold starts,
    minimum billing) are expected on the invoice; differences are what was invoiced less that. `quantities` are
    (expected, invoiced), in the unit that the price is quoted in.
    """

    name: str
    kind: Literal["both", "ledger only", "invoice only"]
    ledger_usd: Decimal
    invoiced_usd: Decimal
    beside_usd: Decimal = Decimal(0)
    quantities: tuple[Decimal, Decimal] | None = None
    by_quantity: Decimal | None = None
    by_price: Decimal | None = None

    @property
    def usd(self) -> Decimal:
        return self.invoiced_usd - self.ledger_usd - self.beside_usd

    @property
    def agrees(self) -> bool:
        return abs(self.usd) <= abs(self.invoiced_usd) * TOLERANCE


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """`items` are of usage, the largest difference first. `not_usage` are the invoice's taxes, credits, purchases.

    `uncharged` is usage that the ledger has no amount for: it may be what the invoice has more.
    """

    ledger_usd: Decimal
    beside_usd: Decimal
    invoiced_usd: Decimal
    items: tuple[Difference, ...]
    not_usage: tuple[tuple[str, Decimal], ...] = ()
    uncharged: tuple[Uncharged, ...] = ()

    @property
    def usd(self) -> Decimal:
        return self.invoiced_usd - self.ledger_usd - self.beside_usd

    @property
    def share(self) -> Decimal | None:
        """Of what was invoiced; None when that is nothing."""
        return self.usd / self.invoiced_usd if self.invoiced_usd else None

    @property
    def agrees(self) -> bool:
        """Within 1 % in all. Items may still cancel each other out: they are listed."""
        return abs(self.usd) <= abs(self.invoiced_usd) * TOLERANCE


@dataclass(slots=True)
class _Sides:
    ledger_usd: Decimal = Decimal(0)
    beside_usd: Decimal = Decimal(0)
    invoiced_usd: Decimal = Decimal(0)
    used: dict[Decimal, Decimal] = field(default_factory=dict)
    """By how many of the sku's own unit its price is quoted for: what is quoted alike is added up."""
    invoiced: Decimal | None = Decimal(0)
    skus: set[str] = field(default_factory=set)
    lines: int = 0


def reconcile(
    charges: Iterable[Charge], uncharged: Sequence[Uncharged], lines: Iterable[InvoiceLine], book: PriceBook
) -> Reconciliation:
    """Match what the ledger says was used with what was invoiced, by sku, or by the usage type of its `aws` entry.

    Several skus that AWS bills under one usage type are one item.
    """
    names = _names(book)
    sides: dict[str, _Sides] = {}
    for charge in charges:
        side = sides.setdefault(names.get(charge.sku, charge.sku), _Sides())
        if charge.part == WORK:
            side.ledger_usd += charge.usd
        else:
            side.beside_usd += charge.usd
        factor = charge.entry.factor
        side.used[factor] = side.used.get(factor, Decimal(0)) + charge.quantity / factor
        side.skus.add(charge.sku)
    apart: dict[str, Decimal] = {}
    for line in lines:
        if not line.is_usage:
            apart[line.category] = apart.get(line.category, Decimal(0)) + line.usd
            continue
        name = next((known for told in line.names if (known := names.get(told, told)) in sides), None)
        side = sides.setdefault(name or next(iter(line.names), _NONE), _Sides())
        side.invoiced_usd += line.usd
        side.invoiced = None if line.quantity is None or side.invoiced is None else side.invoiced + line.quantity
        side.lines += 1
    items = sorted((_difference(name, side) for name, side in sides.items()), key=lambda one: (-abs(one.usd), one.name))
    return Reconciliation(
        ledger_usd=sum((one.ledger_usd for one in items), Decimal(0)),
        beside_usd=sum((one.beside_usd for one in items), Decimal(0)),
        invoiced_usd=sum((one.invoiced_usd for one in items), Decimal(0)),
        items=tuple(items),
        not_usage=tuple(sorted(apart.items())),
        uncharged=tuple(uncharged),
    )


def _names(book: PriceBook) -> dict[str, str]:
    """Of each sku that AWS has a price of, the usage type under which AWS bills it."""
    return {
        entry.sku: entry.aws.filters["usagetype"]
        for entry in book.entries
        if entry.aws is not None and "usagetype" in entry.aws.filters
    }


def _difference(name: str, side: _Sides) -> Difference:
    kind: Literal["both", "ledger only", "invoice only"] = "both"
    if not side.lines:
        kind = "ledger only"
    elif not side.skus:
        kind = "invoice only"
    used = next(iter(side.used.values())) if len(side.used) == 1 else Decimal(0)
    if kind != "both" or side.invoiced is None or not used:
        return Difference(name, kind, side.ledger_usd, side.invoiced_usd, side.beside_usd)
    expected = side.ledger_usd + side.beside_usd
    by_quantity = (side.invoiced - used) * expected / used
    return Difference(
        name,
        kind,
        side.ledger_usd,
        side.invoiced_usd,
        side.beside_usd,
        (used, side.invoiced),
        by_quantity,
        side.invoiced_usd - expected - by_quantity,
    )
