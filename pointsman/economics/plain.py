"""Numbers in documents: a decimal string, or why it is not known."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from pointsman.economics.exact import EXACT, PICO_DOLLAR
from pointsman.model import Json, Missing, Number


def exact_text(number: Decimal) -> str:
    """The one way to write a number: no exponent, no zeros behind the last digit, no sign of a nothing."""
    text = format(number, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def exact(number: Number) -> Json:
    """All digits of a number as a string, or `{"missing": why}`: for what is hashed and computed with again."""
    return {"missing": number.reason} if isinstance(number, Missing) else exact_text(number)


def plain(number: Number) -> Json:
    """As `exact`, of at most twelve places: for what people and programs read."""
    return exact(number if isinstance(number, Missing) else rounded(number))


def rounded(number: Decimal) -> Decimal:
    """As `plain` writes it."""
    return EXACT.quantize(number, PICO_DOLLAR)


def number_of(value: str | Mapping[str, str]) -> Number:
    """The inverse of `exact`."""
    return Decimal(value) if isinstance(value, str) else Missing(value["missing"])
