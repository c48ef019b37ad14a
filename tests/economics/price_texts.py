"""Price files that can be added up by hand, entry by entry."""

from __future__ import annotations


def price(sku: str, usd: str, unit: str | None = None, more: str = "") -> str:
    """One `[[price]]` of the year 2026, quoted in the sku's own unit unless told. `more` are further lines of it."""
    quoted = unit or sku.rsplit(":", 1)[-1]
    return f'[[price]]\nsku = "{sku}"\nunit = "{quoted}"\nusd = "{usd}"\n{more}valid_from = 2026-01-01\n' + _SOURCE


def price_in_euros(sku: str, amount: str, rate: str, rate_date: str = "2026-11-01", more: str = "") -> str:
    """One whose `amount` in EUR is worth `rate` USD each."""
    told = f'amount = "{amount}"\ncurrency = "EUR"\nfx_rate = "{rate}"\nfx_date = {rate_date}\n'
    return price(sku, "", more=more).replace('usd = ""\n', told)


_SOURCE = 'source = "made up"\n\n'
OF_OUTPUTS = price("egress:gb", "0.09") + price("storage:gb-month", "0.02")
EASY_PRICES = price("cpu:vcpu-second", "0.001") + OF_OUTPUTS
