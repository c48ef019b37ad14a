"""What somebody else says a month cost: the lines of an invoice file, or of AWS Cost Explorer by tag."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from pointsman.economics.aws_billing import answered
from pointsman.economics.charges import Month
from pointsman.economics.entries import USD
from pointsman.errors import InputRefused, NotFound

Rates = Mapping[str, Decimal]
"""USD for one of a currency other than USD."""
_USAGE = "Usage"
_RECORDS_OF_USAGE = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage")
"""Of Cost Explorer; other record types, such as Credit, Tax and SavingsPlanNegation, are no usage."""
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_MAGNITUDE = 30
_METRICS = ("UnblendedCost", "UsageQuantity")


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """`names` are what the line may be known by, the most telling first: a sku, a meter, a usage type.

    `category` is FOCUS's: taxes, credits and purchases are no usage. `quantity` is in the unit that the
    price is quoted in.
    """

    names: tuple[str, ...]
    usd: Decimal
    quantity: Decimal | None = None
    category: str = _USAGE
    currency: str = USD
    """In which it was billed: `usd` is converted."""
    estimated: bool = False
    """Whoever tells it calls it an estimate: the month is not billed yet."""

    @property
    def is_usage(self) -> bool:
        return self.category == _USAGE


def read_invoice(
    path: Path, month: Month, tag: tuple[str, str] | None = None, rates: Rates | None = None
) -> list[InvoiceLine]:
    """The lines of a CSV file that fall into the month: FOCUS, or plainly with columns sku, usd and maybe quantity.

    With a `tag` (FOCUS only), of those that carry it; what is billed in one of the `rates` is converted. Raises
    `NotFound` and `InputRefused`, naming file, line and column.
    """
    if not path.is_file():
        raise NotFound("invoice", str(path), "a CSV file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            twice = [name for name in columns if columns.count(name) > 1]
            if twice:
                raise InputRefused(f"invoice {path}, columns", twice[0], "each column once")
            if "BilledCost" in columns:
                lines = [_focus_line(path, number, row, rates or {}) for number, row in _of(path, reader, month, tag)]
            elif {"sku", "usd"} <= set(columns):
                if tag is not None:
                    raise InputRefused("tag", "=".join(tag), "an invoice in FOCUS form, which has tags")
                lines = [_plain_line(path, number, row) for number, row in _rows(path, reader)]
            else:
                raise InputRefused(
                    f"invoice {path}, columns", ", ".join(columns), "those of FOCUS (BilledCost ...), or sku and usd"
                )
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputRefused(f"invoice {path}", str(error), "a CSV file in UTF-8") from error
    return lines


def cost_explorer_lines(
    client: Any, month: Month, tag: tuple[str, str], rates: Rates | None = None
) -> list[InvoiceLine]:
    """What AWS billed for everything that carries the tag, by usage type, credits and taxes apart.

    Raises `DependencyDown`, and `InputRefused` for a currency that is none of the `rates`.

    Each request costs 0.01 USD. Of a month that is not billed yet it tells estimates of what was metered so far.
    """
    request: dict[str, Any] = {
        "TimePeriod": {"Start": f"{month.start:%Y-%m-%d}", "End": f"{month.end:%Y-%m-%d}"},
        "Granularity": "MONTHLY",
        "Metrics": list(_METRICS),
        "Filter": {"Tags": {"Key": tag[0], "Values": [tag[1]]}},
        "GroupBy": [{"Type": "DIMENSION", "Key": key} for key in ("USAGE_TYPE", "RECORD_TYPE")],
    }
    lines = []
    token = None
    while True:
        with answered("Cost Explorer"):
            page = client.get_cost_and_usage(**request, **({"NextPageToken": token} if token else {}))
        found = page.get("ResultsByTime", ())
        lines += [
            _explored(group, rates or {}, period.get("Estimated", False))
            for period in found
            for group in period.get("Groups", ())
        ]
        token = page.get("NextPageToken")
        if not token:
            return lines


def _explored(group: Mapping[str, Any], rates: Rates, estimated: bool) -> InvoiceLine:
    cost, quantity = (group["Metrics"][name] for name in _METRICS)
    name, record = group["Keys"]
    usd = Decimal(cost["Amount"]) * _rate(f"Cost Explorer, {name}, currency", cost["Unit"], rates)
    category = _USAGE if record in _RECORDS_OF_USAGE else record
    return InvoiceLine((name,), usd, Decimal(quantity["Amount"]), category, cost["Unit"], estimated)


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with the line on which it ends."""
    columns = len(reader.fieldnames or ())
    for row in reader:
        number = reader.line_num
        if None in row or None in row.values():
            told = sum(value is not None for value in row.values())
            raise InputRefused(f"invoice {path}, line {number}", f"{told} fields", f"{columns}, as there are columns")
        yield number, row


def _of(
    path: Path, reader: csv.DictReader[str], month: Month, tag: tuple[str, str] | None
) -> Iterator[tuple[int, dict[str, str]]]:
    start, end = f"{month.start:%Y-%m-%d}", f"{month.end:%Y-%m-%d}"
    for number, row in _rows(path, reader):
        day = row.get("ChargePeriodStart", "")[:10]
        if not _DAY.match(day):
            raise InputRefused(f"invoice {path}, line {number}, ChargePeriodStart", day, "a time, as FOCUS has it")
        if not start <= day < end:
            continue
        if tag is None or _tags(f"invoice {path}, line {number}, Tags", row.get("Tags", "")).get(tag[0]) == tag[1]:
            yield number, row


def _rate(field: str, currency: str, rates: Rates) -> Decimal:
    if currency == USD:
        return Decimal(1)
    if currency not in rates:
        known = f"{USD}, or a currency in which the price book quotes prices: {', '.join(sorted(rates)) or 'none'}"
        raise InputRefused(field, currency, known)
    return rates[currency]


def _tags(field: str, text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputRefused(field, text, "a JSON object, as FOCUS has it")
    return found


def _focus_line(path: Path, number: int, row: Mapping[str, str], rates: Rates) -> InvoiceLine:
    currency = row.get("BillingCurrency", "")
    rate = _rate(f"invoice {path}, line {number}, BillingCurrency", currency, rates)
    quantity = row.get("PricingQuantity")  # what was consumed is counted in a unit of its own
    names = _told(row, ("SkuId", "x_UsageType", "SkuMeter", "ServiceName"))
    return InvoiceLine(
        names,
        _number(path, number, "BilledCost", row["BilledCost"]) * rate,
        _number(path, number, "PricingQuantity", quantity) if quantity else None,
        row.get("ChargeCategory") or _USAGE,
        currency,
    )


def _plain_line(path: Path, number: int, row: Mapping[str, str]) -> InvoiceLine:
    quantity = row.get("quantity")
    return InvoiceLine(
        _told(row, ("sku",)),
        _number(path, number, "usd", row["usd"]),
        _number(path, number, "quantity", quantity) if quantity else None,
    )


def _told(row: Mapping[str, str], columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[column] for column in columns if row.get(column))


def _number(path: Path, line: int, column: str, text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation as error:
        raise InputRefused(f"invoice {path}, line {line}, {column}", text, "a decimal number") from error
    if not found.is_finite() or abs(found.adjusted()) > _MAGNITUDE:
        raise InputRefused(f"invoice {path}, line {line}, {column}", text, "a decimal number")
    return found
