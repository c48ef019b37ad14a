"""Prices as AWS's Pricing API tells them today, for the entries of a price book that say where they are found there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

from pointsman.economics.aws_billing import answered
from pointsman.economics.entries import AwsProduct, PriceEntry
from pointsman.economics.price_book import PriceBook
from pointsman.errors import DataCheckFailed, InputRefused

_TIMES = {"hr": "hour", "sec": "second", "mo": "month"}
"""The last word of a unit, as AWS and as a price file write it, by how it begins at AWS."""


@dataclass(frozen=True, slots=True)
class PriceChange:
    """What a sku cost by the book, and what it costs by AWS, in USD for one `unit`."""

    sku: str
    unit: str
    was_usd: Decimal
    is_usd: Decimal


def refreshed(client: Any, book: PriceBook, at: datetime) -> tuple[list[PriceChange], list[PriceEntry]]:
    """Ask for every sku whose price says where AWS has it; what changed, and all entries of these skus.

    A price that is another one today ends today, and the new one begins. `client` is one of `pricing`. Raises
    `DependencyDown` when AWS does not answer, and `DataCheckFailed` when it does not name one price.
    """
    today = datetime.combine(at.astimezone(UTC).date(), time(), UTC)
    changes, entries = [], []
    for sku in book.skus:
        own = [entry for entry in book.entries if entry.sku == sku]
        newest = own[-1]
        if newest.aws is None:
            continue
        if newest.foreign is not None or newest.valid_to is not None or newest.valid_from > today:
            raise InputRefused(
                f"price of {sku}, aws", newest.aws.service, "a price in USD that applies today and has no end"
            )
        usd, said = _asked(client, newest, newest.aws)
        changes.append(PriceChange(sku, newest.unit, newest.usd, usd))
        if usd == newest.usd:
            entries += own
            continue
        now = replace(
            newest, usd=usd, valid_from=today, source=f"AWS Pricing API, {said}, asked {at.astimezone(UTC):%Y-%m-%d}"
        )
        before = [] if newest.valid_from == today else [replace(newest, valid_to=today)]
        entries += [*own[:-1], *before, now]
    return changes, entries


def _asked(client: Any, entry: PriceEntry, product: AwsProduct) -> tuple[Decimal, str]:
    """The on-demand price of the first units of the one product, and what AWS says that it is."""
    sku = entry.sku
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in product.filters.items()]
    found: list[Mapping[str, Any]] = []
    token = None
    while True:
        with answered("pricing"):
            page = client.get_products(
                ServiceCode=product.service,
                Filters=filters,
                FormatVersion="aws_v1",
                **({"NextToken": token} if token else {}),
            )
        found += [json.loads(item) for item in page.get("PriceList", ())]
        token = page.get("NextToken")
        if not token:
            break
    if len(found) != 1:
        raise _no_single_price(sku, product, f"{len(found)} products")
    terms = list(found[0].get("terms", {}).get("OnDemand", {}).values())
    tiers = [tier for term in terms for tier in term["priceDimensions"].values()]
    first = [tier for tier in tiers if tier.get("beginRange", "0") == "0"]
    if len(first) != 1 or "USD" not in first[0]["pricePerUnit"]:
        raise _no_single_price(sku, product, f"{len(first)} on-demand prices in USD of the first units")
    _check_unit(entry, str(first[0].get("unit", "")))
    try:
        usd = Decimal(first[0]["pricePerUnit"]["USD"])
    except InvalidOperation as error:
        raise _no_single_price(sku, product, f"the price {first[0]['pricePerUnit']['USD']!r}") from error
    number = found[0].get("product", {}).get("sku", "")
    return usd.normalize(), f"{product.service} product {number}: {first[0].get('description', '')}".strip()


def _check_unit(entry: PriceEntry, theirs: str) -> None:
    """AWS prices one of its unit: by the hour what the entry has by the second would be 3600 times too dear."""
    own = entry.unit.rsplit("-", 1)[-1]
    word = theirs.rsplit("-", 1)[-1].lower().replace("hour", "hr")
    told = next((time for begin, time in _TIMES.items() if word.startswith(begin)), None)
    if entry.unit.startswith("million-") or (told is not None and own in _TIMES.values() and own != told):
        raise DataCheckFailed(
            f"AWS's Pricing API prices {entry.sku} by one of {theirs or 'its unit'}, the price file by a {entry.unit}.",
            instruction=f"Quote {entry.sku} in the price file in AWS's unit, then run it again.",
            sku=entry.sku,
        )


def _no_single_price(sku: str, product: AwsProduct, found: str) -> DataCheckFailed:
    asked = ", ".join(f"{name}={value}" for name, value in product.filters.items())
    return DataCheckFailed(
        f"AWS's Pricing API has {found} for {sku} ({product.service}: {asked}), not one price.",
        instruction=f"Name more attributes in `aws` of {sku} in the price file, then run it again.",
        sku=sku,
    )
