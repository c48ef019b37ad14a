"""Writing a price file: entries as the TOML that a price file is read from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from pointsman.economics.entries import PriceEntry


def price_file_text(entries: Iterable[PriceEntry]) -> str:
    """TOML that reads as just these entries."""
    return "\n".join("\n".join(["[[price]]", *_lines(entry), ""]) for entry in entries)


def _lines(entry: PriceEntry) -> Iterator[str]:
    yield f"sku = {_quoted(entry.sku)}"
    yield f"unit = {_quoted(entry.unit)}"
    if entry.foreign is None:
        yield f"usd = {_quoted(format(entry.usd, 'f'))}"
    else:
        yield f"amount = {_quoted(format(entry.foreign.amount, 'f'))}"
        yield f"currency = {_quoted(entry.foreign.currency)}"
        yield f"fx_rate = {_quoted(format(entry.foreign.rate, 'f'))}"
        yield f"fx_date = {entry.foreign.rate_date.isoformat()}"
    yield f"valid_from = {_time(entry.valid_from)}"
    if entry.valid_to is not None:
        yield f"valid_to = {_time(entry.valid_to)}"
    for name in ("modality", "resolution", "tier"):
        if (value := getattr(entry, name)) is not None:
            yield f"{name} = {_quoted(value)}"
    if entry.aws is not None:
        yield f"aws = {_table({'service': entry.aws.service, **entry.aws.filters})}"
    yield f"source = {_quoted(entry.source)}"


def _table(told: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name} = {_quoted(value)}" for name, value in told.items()) + "}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"


def _quoted(text: str) -> str:
    """A basic string of TOML, which escapes as JSON does."""
    return json.dumps(text, ensure_ascii=False)
