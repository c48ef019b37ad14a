"""Prices of model tokens from the genai-prices package's bundled data; nothing is fetched."""

from __future__ import annotations

import functools
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version

from pointsman.model import Missing, Number

_TOKEN_SKU = re.compile(r"(?P<service>gemini):(?P<model>[^:]+):(?P<kind>input|output)-token\Z")
_PROVIDERS = {"gemini": "google"}


def token_price(sku: str, at: datetime) -> Number | None:
    """USD per token of `gemini:<model>:input-token` or `...:output-token` at a time; None when `sku` is no such sku.

    Models whose price rises with the length of a request are priced at their first tier: a usage row does not say how
    long the whole request was.
    """
    found = _TOKEN_SKU.match(sku)
    return _price(found["service"], found["model"], found["kind"], at.astimezone(UTC).date()) if found else None


def token_price_source() -> str:
    return f"genai-prices {version('genai-prices')}"


@functools.lru_cache(maxsize=512)
def _price(service: str, model: str, kind: str, day: date) -> Number:
    import genai_prices  # half a second: only when a token is priced

    usage = genai_prices.Usage(**{f"{kind}_tokens": 1})
    try:
        found = genai_prices.calc_price(
            usage, model, provider_id=_PROVIDERS[service], genai_request_timestamp=datetime.combine(day, time(), UTC)
        ).total_price
    except LookupError:
        return Missing(f"no price for {service}:{model}:{kind}-token in {token_price_source()}")
    return Decimal(str(found))
