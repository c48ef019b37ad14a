"""Price files: TOML with dated prices and how self-hosted capacity is paid, refused where a figure is none."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, ValidationError

from pointsman.economics.entries import (
    USD,
    AwsProduct,
    Foreign,
    PriceEntry,
    check_validity,
    counted_in_time,
    units_of,
)
from pointsman.economics.exact import EXACT
from pointsman.economics.hosting import Commitment, Hosting
from pointsman.errors import InputRefused, NotFound

_SKU = re.compile(r"[A-Za-z0-9._/-]{1,100}(:[A-Za-z0-9._/-]{1,100}){1,3}\Z")
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_YEAR_S, _MOST_USD = Decimal(366 * 24 * 3600), Decimal(10**9)
_MONEY = "a decimal number as a string, such as '0.04048'"


@dataclass(frozen=True, slots=True)
class PriceFile:
    """Entries ordered by sku and time; at most one hosting for each provider."""

    entries: tuple[PriceEntry, ...]
    hosting: tuple[Hosting, ...]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sku: StrictStr
    unit: StrictStr
    usd: StrictStr | None = None
    amount: StrictStr | None = None
    currency: StrictStr | None = None
    fx_rate: StrictStr | None = None
    fx_date: date | None = None
    valid_from: datetime | date
    valid_to: datetime | date | None = None
    source: StrictStr
    modality: StrictStr | None = None
    resolution: StrictStr | None = None
    tier: StrictStr | None = None
    aws: dict[str, StrictStr] | None = None


class _Hosting(BaseModel):
    model_config = ConfigDict(extra="forbid")

    provider: StrictStr
    utilisation: StrictStr
    source: StrictStr
    instance: dict[str, StrictStr] = {}
    cold_start_s: StrictStr = "0"
    jobs_per_start: StrictStr = "1"
    minimum_billing_s: StrictStr = "0"
    interruptions_per_hour: StrictStr = "0"
    fixed: StrictBool = False
    commitment_usd_per_hour: StrictStr | None = None
    commitment_discount: StrictStr = "0"


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    price: list[_Row]
    hosting: list[_Hosting] = []


def read_price_file(path: Path) -> PriceFile:
    """What one price file says.

    Raises `NotFound` for a missing file and `InputRefused` (naming file, sku or provider, and dates) for everything
    else that keeps it from being a price book.
    """
    if not path.is_file():
        raise NotFound("price book", str(path), "a TOML file with [[price]] entries")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputRefused(f"price book {path}", str(error), "TOML in UTF-8") from error
    try:
        file = _File.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        kind = _Hosting if problem["loc"][0] == "hosting" else _Row
        raise InputRefused(
            f"price book {path}, {_place(problem['loc'], document)}",
            problem.get("input"),
            f"{', '.join(kind.model_fields)}; numbers as decimal strings ({problem['msg']})",
        ) from error
    entries = check_validity((_entry(row) for row in file.price), where=str(path))
    hosting: dict[str, Hosting] = {}
    for row in file.hosting:
        if row.provider in hosting:
            raise InputRefused(f"price book {path}, hosting", row.provider, "each provider once")
        hosting[row.provider] = _hosting(row)
    return PriceFile(entries, tuple(hosting.values()))


def check_instances(entries: Sequence[PriceEntry], hosting: Sequence[Hosting]) -> None:
    """Refuse a hosting that no price belongs to, or whose instance cannot be priced by the second."""
    for one in hosting:
        where = f"hosting of {one.provider}"
        skus = sorted({entry.sku for entry in entries if entry.sku.startswith(f"{one.provider}:")})
        timed = {sku.rsplit(":", 1)[-1] for sku in skus if counted_in_time(sku)}
        if not timed:
            raise InputRefused(f"{where}, provider", one.provider, "a provider with a price by the second or hour")
        strangers = sorted(set(one.instance) - timed)
        if strangers:
            raise InputRefused(
                f"{where}, instance", strangers[0], f"the units of its prices: {', '.join(sorted(timed))}"
            )
        if len(timed) > 1 and set(one.instance) != timed:
            raise InputRefused(
                f"{where}, instance",
                dict(one.instance),
                f"how much of each unit one instance holds: {', '.join(sorted(timed))}",
            )


def _place(location: Sequence[Any], document: dict[str, Any]) -> str:
    field = ".".join(str(part) for part in location)
    if len(location) > 1 and isinstance(location[1], int):
        row = document[location[0]][location[1]]
        for name in ("sku", "provider"):
            if isinstance(row, dict) and name in row:
                return f"{field} of {row[name]}"
    return field


def _entry(row: _Row) -> PriceEntry:
    where = f"price of {row.sku} from {row.valid_from.isoformat()}"
    if not _SKU.match(row.sku):
        raise InputRefused(f"{where}, sku", row.sku, "<provider>:<unit>, such as lab-cpu:vcpu-second")
    if row.unit not in units_of(row.sku):
        raise InputRefused(f"{where}, unit", row.unit, ", ".join(units_of(row.sku)))
    usd, foreign = _price(where, row)
    if not row.source.strip():
        raise InputRefused(f"{where}, source", row.source, "where the figure comes from and when it was recorded")
    for name in ("modality", "resolution", "tier"):
        if getattr(row, name) is not None and not 0 < len(getattr(row, name).strip()) <= 64:
            raise InputRefused(f"{where}, {name}", getattr(row, name), "a word or two")
    valid_from = _instant(f"{where}, valid_from", row.valid_from)
    valid_to = None if row.valid_to is None else _instant(f"{where}, valid_to", row.valid_to)
    if valid_to is not None and valid_to <= valid_from:
        raise InputRefused(f"{where}, valid_to", row.valid_to, "a later time than valid_from")
    return PriceEntry(
        row.sku,
        row.unit,
        usd,
        valid_from,
        valid_to,
        row.source.strip(),
        modality=row.modality,
        resolution=row.resolution,
        tier=row.tier,
        foreign=foreign,
        aws=_aws(where, row.aws),
    )


def _price(where: str, row: _Row) -> tuple[Decimal, Foreign | None]:
    """A price is told in USD, or in another currency with a rate and the date of that rate."""
    if row.usd is not None:
        told = [name for name in ("amount", "currency", "fx_rate", "fx_date") if getattr(row, name) is not None]
        if told:
            raise InputRefused(f"{where}, {told[0]}", getattr(row, told[0]), "either usd, or amount with a currency")
        return _decimal(f"{where}, usd", row.usd), None
    if row.amount is None or row.currency is None or row.fx_rate is None or row.fx_date is None:
        raise InputRefused(
            f"{where}, usd", row.usd, f"{_MONEY}; or else amount, currency, fx_rate (USD for one) and fx_date, all four"
        )
    if not _CURRENCY.match(row.currency) or row.currency == USD:
        raise InputRefused(
            f"{where}, currency", row.currency, "three letters of ISO 4217; prices in USD are told by usd"
        )
    amount = _decimal(f"{where}, amount", row.amount)
    rate = _decimal(f"{where}, fx_rate", row.fx_rate, digits=20, above=Decimal(0))
    return EXACT.multiply(amount, rate), Foreign(row.currency, amount, rate, row.fx_date)


def _aws(where: str, told: Mapping[str, str] | None) -> AwsProduct | None:
    if told is None:
        return None
    if not told.get("service") or len(told) < 2:
        raise InputRefused(
            f"{where}, aws", dict(told), "service, and the attributes that single out one product, such as usagetype"
        )
    return AwsProduct(told["service"], {name: value for name, value in told.items() if name != "service"})


def _hosting(row: _Hosting) -> Hosting:
    where = f"hosting of {row.provider}"
    if not row.source.strip():
        raise InputRefused(f"{where}, source", row.source, "how the figures were found and when")
    commitment = None
    if row.commitment_usd_per_hour is not None:
        commitment = Commitment(
            _decimal(f"{where}, commitment_usd_per_hour", row.commitment_usd_per_hour, most=_MOST_USD),
            _decimal(f"{where}, commitment_discount", row.commitment_discount, below=Decimal(1)),
        )
    elif row.commitment_discount != "0":
        raise InputRefused(
            f"{where}, commitment_discount", row.commitment_discount, "commitment_usd_per_hour beside it"
        )
    return Hosting(
        provider=row.provider,
        utilisation=_decimal(f"{where}, utilisation", row.utilisation, above=Decimal(0), most=Decimal(1)),
        source=row.source.strip(),
        instance={
            unit: _decimal(f"{where}, instance, {unit}", held, above=Decimal(0)) for unit, held in row.instance.items()
        },
        cold_start_s=_decimal(f"{where}, cold_start_s", row.cold_start_s, most=_YEAR_S),
        jobs_per_start=_decimal(f"{where}, jobs_per_start", row.jobs_per_start, above=Decimal(0)),
        minimum_billing_s=_decimal(f"{where}, minimum_billing_s", row.minimum_billing_s, most=_YEAR_S),
        interruptions_per_hour=_decimal(
            f"{where}, interruptions_per_hour", row.interruptions_per_hour, most=Decimal(3600)
        ),
        fixed=row.fixed,
        commitment=commitment,
    )


def _decimal(
    field: str,
    text: str,
    *,
    digits: int = 40,
    above: Decimal | None = None,
    most: Decimal | None = None,
    below: Decimal | None = None,
) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise InputRefused(field, text, _MONEY) from error
    if not value.is_finite() or value < 0 or abs(value.adjusted()) > digits or len(format(value, "f")) > digits:
        raise InputRefused(field, text, f"0 or more, with at most {digits} digits")
    if above is not None and value <= above:
        raise InputRefused(field, text, f"more than {above}")
    if (most is not None and value > most) or (below is not None and value >= below):
        raise InputRefused(field, text, f"at most {most}" if below is None else f"less than {below}")
    return value


def _instant(field: str, value: datetime | date) -> datetime:
    if not isinstance(value, datetime):
        return datetime.combine(value, time(), UTC)
    if value.tzinfo is None:
        raise InputRefused(field, value.isoformat(), "a date, or a time with its zone (2026-11-01T00:00:00Z)")
    return value.astimezone(UTC)
