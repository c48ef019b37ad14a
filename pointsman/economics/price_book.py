"""The price book: dated prices by sku, how self-hosted capacity is paid, and token prices by model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from pointsman.canonical import sha256_of
from pointsman.economics.entries import Foreign, PriceEntry, check_validity
from pointsman.economics.exact import EXACT, PICO_DOLLAR
from pointsman.economics.hosting import Hosting
from pointsman.economics.price_file import check_instances, read_price_file
from pointsman.economics.token_prices import token_entry, token_price_source
from pointsman.errors import InputRefused, NotFound
from pointsman.ids import derive
from pointsman.model import Missing, Number
from pointsman.storage import insert_absent, tables
from pointsman.workspace import Workspace

BUILT_IN = Path(__file__).with_name("prices") / "2026-11.toml"


@dataclass(frozen=True)
class PriceBook:
    """Prices that cannot change while it is used. `sha256` names its whole content, token prices included.

    `hosting` says of providers how their capacity is paid; one that is not named there is billed for what is used.
    """

    entries: tuple[PriceEntry, ...]
    hosting: tuple[Hosting, ...] = ()

    @classmethod
    def load(cls, path: Path = BUILT_IN, overrides: Path | None = None) -> PriceBook:
        """Read a price file; every sku, and hosting of a provider, that `overrides` names is taken from there alone.

        Raises `InputRefused` (or `NotFound`) naming the file, the sku and the dates.
        """
        file = read_price_file(path)
        entries, hosting = file.entries, file.hosting
        if overrides is not None:
            own = read_price_file(overrides)
            replaced = {entry.sku for entry in own.entries}
            entries = (*(entry for entry in entries if entry.sku not in replaced), *own.entries)
            named = {one.provider for one in own.hosting}
            hosting = (*(one for one in hosting if one.provider not in named), *own.hosting)
        if not entries:
            raise InputRefused(f"price book {path}, price", [], "at least one [[price]]")
        check_instances(entries, hosting)
        return cls(check_validity(entries, where=str(path)), tuple(sorted(hosting, key=lambda one: one.provider)))

    @cached_property
    def sha256(self) -> str:
        document = {"entries": [entry.as_document() for entry in self.entries], "tokens": token_price_source()}
        if self.hosting:
            document["hosting"] = [one.as_document() for one in self.hosting]
        return sha256_of(document)

    def hosting_of(self, provider: str) -> Hosting | None:
        """How the provider's capacity is paid, where that is declared."""
        return next((one for one in self.hosting if one.provider == provider), None)

    def rates(self, start: datetime, end: datetime) -> dict[str, Foreign]:
        """Of each other currency in which something is quoted between two times, the price with the newest rate."""
        found: dict[str, Foreign] = {}
        for entry in self.entries:
            quoted = entry.foreign if entry.valid_from < end and (entry.valid_to or end) > start else None
            if quoted and (quoted.currency not in found or quoted.rate_date > found[quoted.currency].rate_date):
                found[quoted.currency] = quoted
        return found

    @cached_property
    def _by_sku(self) -> Mapping[str, tuple[PriceEntry, ...]]:
        return {sku: tuple(entry for entry in self.entries if entry.sku == sku) for sku in self.skus}

    @cached_property
    def skus(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.sku for entry in self.entries))

    def entry(self, sku: str, at: datetime) -> PriceEntry | Missing:
        """The price of `sku` that is valid at a time; `Missing` when the book does not hold it."""
        own = self._by_sku.get(sku)
        if own is None and (told := token_entry(sku, at)) is not None:
            return told
        found = next((entry for entry in own or () if entry.covers(at)), None)
        return found or Missing(f"no price for {sku} on {at.astimezone(UTC):%Y-%m-%d}")

    def price(self, sku: str, at: datetime) -> Number:
        """USD for one of the unit that `sku` ends in, at a time."""
        entry = self.entry(sku, at)
        return entry if isinstance(entry, Missing) else entry.usd / entry.factor

    def cost(self, sku: str, quantity: Decimal, at: datetime) -> Number:
        """USD for `quantity` of `sku`, rounded half-even to 1e-12 USD, so that sums of costs are exact."""
        entry = self.entry(sku, at)
        if isinstance(entry, Missing):
            return entry
        return EXACT.quantize(EXACT.divide(EXACT.multiply(quantity, entry.usd), entry.factor), PICO_DOLLAR)


class PriceBookSpec(BaseModel):
    """Which price files a run uses."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | None = Field(default=None, description="Price file; empty = the built-in one", title="Price file")
    overrides: Path | None = Field(
        default=None, description="A file in the same form whose skus replace the price file's", title="Your own prices"
    )

    def build(self) -> PriceBook:
        """Read and check the files. Raises `InputRefused` or `NotFound`."""
        return PriceBook.load(self.path or BUILT_IN, self.overrides)


def list_prices(book: PriceBook, at: datetime | None = None) -> list[PriceEntry]:
    """The entries valid at a time, or all, by sku and time."""
    return [entry for entry in book.entries if at is None or entry.covers(at)]


def register(ws: Workspace, book: PriceBook) -> int:
    """Write the book to the state of record; return how many of its entries were new. Again = nothing."""
    rows = [
        {"id": derive("price", book.sha256, entry.sku, entry.valid_from.isoformat()), "book_sha256": book.sha256}
        | entry.as_row()
        for entry in book.entries
    ]
    hosting = [
        {"book_sha256": book.sha256, "provider": one.provider, "hosting": one.as_document()} for one in book.hosting
    ]
    with ws.database.begin() as connection:
        insert_absent(connection, tables.price_book_hosting, hosting)
        return insert_absent(connection, tables.price_book, rows)


def registered(ws: Workspace, sha256: str) -> PriceBook:
    """The book that was registered with this hash. Raises `NotFound`.

    Its own hash can be another one: where tokens are priced by another release of their list, or a row was changed.
    """
    prices, hosting = tables.price_book, tables.price_book_hosting
    with ws.database.connect() as connection:
        rows = connection.execute(
            sa.select(prices).where(prices.c.book_sha256 == sha256).order_by(prices.c.sku, prices.c.valid_from)
        ).mappings()
        entries = tuple(PriceEntry.from_row(dict(row)) for row in rows)
        paid = connection.execute(
            sa.select(hosting.c.hosting).where(hosting.c.book_sha256 == sha256).order_by(hosting.c.provider)
        ).scalars()
        declared = tuple(Hosting.from_document(document) for document in paid)
    if not entries:
        raise NotFound("price book", sha256, "the hash of a book that was registered")
    return PriceBook(entries, declared)
