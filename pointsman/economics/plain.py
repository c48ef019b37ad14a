"""Numbers in documents: a decimal string, or why it is not known."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from pointsman.model import Json, Missing, Number

_DECIMALS = 12


def plain(number: Number) -> Json:
    """A decimal string of at most twelve places, or `{"missing": why}`."""
    if isinstance(number, Missing):
        return {"missing": number.reason}
    text = format(round(number, _DECIMALS), "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def number_of(value: str | Mapping[str, str]) -> Number:
    """The inverse of `plain`."""
    return Decimal(value) if isinstance(value, str) else Missing(value["missing"])
