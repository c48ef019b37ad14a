"""From quantities to money: exact sums that know when they are not known, and the ratios people ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from pointsman.economics.exact import EXACT
from pointsman.economics.price_book import PriceBook
from pointsman.errors import InputRefused
from pointsman.model import Missing, Number

EGRESS_SKU = "egress:gb"
STORAGE_SKU = "storage:gb-month"
_GB = Decimal(1_000_000_000)
_REASONS_SHOWN = 3


def total(amounts: Iterable[Number]) -> Number:
    """The exact sum of USD amounts. `Missing`, with the reasons, as soon as one amount is not known: never a part."""
    known = Decimal(0)
    reasons: dict[str, None] = {}
    for amount in amounts:
        if isinstance(amount, Missing):
            reasons[amount.reason] = None
        else:
            known = EXACT.add(known, amount)
    if not reasons:
        return known
    rest = len(reasons) - _REASONS_SHOWN
    return Missing("; ".join(list(reasons)[:_REASONS_SHOWN]) + (f"; and {rest} more" if rest > 0 else ""))


def usage_cost(book: PriceBook, sku: str, quantity: Number, at: datetime) -> Number:
    """USD for one usage row. `Missing` when the quantity was not measured or the book has no price for it."""
    if isinstance(quantity, Missing):
        return Missing(f"{sku}: {quantity.reason}")
    return book.cost(sku, quantity, at)


def not_taken(row: Mapping[str, Any]) -> bool:
    """Whether an attempt with these `sku`, `outcome`, `missing_reason` was turned away at the door: nothing to bill.

    What a target refused later, or its moderation turned down, says why its usage is not known.
    """
    return row["sku"] is None and row["outcome"] == "refused" and row["missing_reason"] is None


def attempt_cost(book: PriceBook, row: Mapping[str, Any], at: datetime) -> Number:
    """USD for one row of an attempt: its `sku` and `quantity`, or why they are not known; 0 for what was not taken."""
    if not_taken(row):
        return Decimal(0)
    if row["sku"] is None:
        return Missing(row["missing_reason"] or f"{row['provider']} reports no usage")
    quantity = Missing(row["missing_reason"]) if row["quantity"] is None else Decimal(row["quantity"])
    return usage_cost(book, row["sku"], quantity, at)


def egress_cost(book: PriceBook, output_bytes: int, deliveries: int, at: datetime) -> Number:
    """USD for sending one output `deliveries` times; 1 GB = 10^9 bytes."""
    return book.cost(EGRESS_SKU, Decimal(output_bytes) * deliveries / _GB, at)


def storage_cost(book: PriceBook, output_bytes: int, months: Decimal, at: datetime) -> Number:
    """USD for keeping one output for `months`."""
    return book.cost(STORAGE_SKU, Decimal(output_bytes) * months / _GB, at)


def per_success(cost: Number, successes: int) -> Number:
    """Everything that was spent over what came out: sum(cost) / sum(success), never a mean of ratios.

    Without a success the ratio is not defined; what was spent is then a lower bound of one success's cost.
    """
    if isinstance(cost, Missing):
        return cost
    if successes == 0:
        return Missing(f"no success; more than {cost.normalize():f} USD each")
    return cost / successes


def per_delivered_view(cost_per_success: Number, deliveries_per_output: int) -> Number:
    """USD for one delivery of one output. Not defined for outputs that are never delivered."""
    if deliveries_per_output == 0:
        return Missing("the outputs are not delivered")
    return cost_per_success if isinstance(cost_per_success, Missing) else cost_per_success / deliveries_per_output


def margin(price_per_view: Decimal, cost_per_view: Number) -> Number:
    """The share of a view's price that is left after its cost: (price - cost) / price. Negative = sold at a loss."""
    if price_per_view <= 0:
        raise InputRefused("price_per_view_usd", str(price_per_view), "more than 0")
    return cost_per_view if isinstance(cost_per_view, Missing) else (price_per_view - cost_per_view) / price_per_view
