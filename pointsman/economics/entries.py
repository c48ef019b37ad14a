"""Reading price files: dated entries, refused when a sku has a gap, an overlap, or a figure that is no price."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from pointsman.errors import InputRefused, NotFound

_SKU = re.compile(r"[A-Za-z0-9._/-]{1,100}(:[A-Za-z0-9._/-]{1,100}){1,3}\Z")


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """`usd` buys one `unit` of `sku` from `valid_from` until just before `valid_to` (None: until replaced).

    A sku ends in the unit its usage is counted in, such as `lab-cpu:vcpu-second`. `unit` is that one, or the hour of a
    unit that ends in `-second`, or a `million-` of it.
    """

    sku: str
    unit: str
    usd: Decimal
    valid_from: datetime
    valid_to: datetime | None
    source: str

    @property
    def factor(self) -> Decimal:
        """How many of the sku's own unit one `unit` is."""
        return units_of(self.sku)[self.unit]

    def covers(self, at: datetime) -> bool:
        return self.valid_from <= at and (self.valid_to is None or at < self.valid_to)


def units_of(sku: str) -> dict[str, Decimal]:
    """The units that a price of `sku` may be quoted in, each with how many of the sku's own unit it holds."""
    own = sku.rsplit(":", 1)[-1]
    units = {own: Decimal(1), f"million-{own}": Decimal(1_000_000)}
    if own.endswith("-second"):
        units[own.removesuffix("second") + "hour"] = Decimal(3600)
    return units


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sku: StrictStr
    unit: StrictStr
    usd: StrictStr
    valid_from: datetime | date
    valid_to: datetime | date | None = None
    source: StrictStr


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    price: list[_Row]


def read_entries(path: Path) -> tuple[PriceEntry, ...]:
    """The entries of one price file, ordered by sku and time.

    Raises `NotFound` for a missing file and `InputRefused` (naming file, sku and dates) for everything else that keeps
    it from being a price book.
    """
    if not path.is_file():
        raise NotFound("price book", str(path), "a TOML file with [[price]] entries")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputRefused(f"price book {path}", str(error), "TOML in UTF-8") from error
    try:
        rows = _File.model_validate(document).price
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise InputRefused(
            f"price book {path}, {_place(problem['loc'], document)}",
            problem.get("input"),
            f"sku, unit, usd (a decimal string), valid_from, valid_to, source ({problem['msg']})",
        ) from error
    return check_validity((_entry(row) for row in rows), where=str(path))


def _place(location: Sequence[Any], document: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in location)
    if len(location) > 1 and isinstance(location[1], int):
        row = document["price"][location[1]]
        if isinstance(row, dict) and "sku" in row:
            return f"{field} of {row['sku']}"
    return field


def _entry(row: _Row) -> PriceEntry:
    where = f"price of {row.sku} from {row.valid_from.isoformat()}"
    if not _SKU.match(row.sku):
        raise InputRefused(f"{where}, sku", row.sku, "<provider>:<unit>, such as lab-cpu:vcpu-second")
    if row.unit not in units_of(row.sku):
        raise InputRefused(f"{where}, unit", row.unit, ", ".join(units_of(row.sku)))
    try:
        usd = Decimal(row.usd)
    except InvalidOperation as error:
        raise InputRefused(f"{where}, usd", row.usd, "a decimal number as a string, such as '0.04048'") from error
    if not usd.is_finite() or usd < 0 or len(format(usd, "f")) > 40:
        raise InputRefused(f"{where}, usd", row.usd, "0 or more, with at most 40 digits")
    if not row.source.strip():
        raise InputRefused(f"{where}, source", row.source, "where the figure comes from and when it was recorded")
    valid_from = _instant(f"{where}, valid_from", row.valid_from)
    valid_to = None if row.valid_to is None else _instant(f"{where}, valid_to", row.valid_to)
    if valid_to is not None and valid_to <= valid_from:
        raise InputRefused(f"{where}, valid_to", row.valid_to, "a later time than valid_from")
    return PriceEntry(row.sku, row.unit, usd, valid_from, valid_to, row.source.strip())


def _instant(field: str, value: datetime | date) -> datetime:
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    if value.tzinfo is None:
        raise InputRefused(field, value.isoformat(), "a date, or a time with its zone (2026-11-01T00:00:00Z)")
    return value.astimezone(UTC)


def check_validity(entries: Iterable[PriceEntry], *, where: str) -> tuple[PriceEntry, ...]:
    """Sort `entries`; refuse a sku with two prices at one time or with a time in between that has none."""
    ordered = tuple(sorted(entries, key=lambda entry: (entry.sku, entry.valid_from)))
    for one, following in pairwise(ordered):
        if one.sku != following.sku or one.valid_to == following.valid_from:
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
