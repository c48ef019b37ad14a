"""Prices of model tokens from the genai-prices package's bundled data; nothing is fetched."""

from __future__ import annotations

import functools
import re
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from pointsman.economics.entries import PriceEntry
from pointsman.model import Missing

_TOKEN_SKU = re.compile(r"(?P<service>gemini):(?P<model>[^:]+):((?P<tier>batch):)?(?P<kind>input|output)-token\Z")
_PROVIDERS = {"gemini": "google"}
_MILLION = Decimal(1_000_000)
_STANDARD = "standard"


def token_entry(sku: str, at: datetime) -> PriceEntry | Missing | None:
    """What a token of `gemini:<model>:input-token` or `...:output-token` costs on the day of `at` (UTC).

    `gemini:<model>:batch:input-token` is one of a request that waited for batch mode. `Missing` where the list has no
    such price: a batch price is none that was halved here. None when `sku` is no such sku.

    Models whose price rises with the length of a request are priced at their first tier: a usage row does not say how
    long the whole request was.
    """
    found = _TOKEN_SKU.match(sku)
    if found is None:
        return None
    tier = found["tier"] or _STANDARD
    return _entry(sku, found["service"], found["model"], tier, found["kind"], at.astimezone(UTC).date())


def token_price_source() -> str:
    return f"genai-prices {version('genai-prices')}"


@functools.lru_cache(maxsize=512)
def _entry(sku: str, service: str, model: str, tier: str, kind: str, day: date) -> PriceEntry | Missing:
    import genai_prices  # half a second: only when a token is priced

    begin = datetime.combine(day, time(), UTC)
    context = None if tier == _STANDARD else {"processing": tier}
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(**{f"{kind}_tokens": 1}),
            model,
            provider_id=_PROVIDERS[service],
            genai_request_timestamp=begin,
            price_context=context,
        )
    except LookupError:
        return Missing(f"no price for {sku} in {token_price_source()}")
    if context is not None and not _is_listed(found.model, context, f"{kind}_mtok", begin):
        return Missing(f"no price for {sku} in {token_price_source()} on {day}; a price file of your own may hold it")
    return PriceEntry(
        sku=sku,
        unit=f"million-{kind}-token",
        usd=Decimal(str(found.total_price)) * _MILLION,
        valid_from=begin,
        valid_to=begin + timedelta(days=1),
        source=f"{token_price_source()}, {found.model.id} of {found.provider.name}",
        modality="tokens",
        tier=tier,
    )


def _is_listed(model: Any, context: dict[str, str], price: str, at: datetime) -> bool:
    """Whether the list has the price for requests like these: for others it tells the standard one."""
    return any(
        variant.when == context
        and getattr(variant.prices, price, None) is not None
        and (variant.constraint is None or variant.constraint.active(at))
        for variant in model.price_variants or ()
    )
