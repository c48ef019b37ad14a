"""Arithmetic that keeps every digit of a product of a quantity and a price; costs are rounded once, to 1e-12 USD."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

PICO_DOLLAR = Decimal("1e-12")
EXACT = Context(prec=120, rounding=ROUND_HALF_EVEN)
"""Wide enough for every product of a quantity and a price; only `PICO_DOLLAR` rounds."""
