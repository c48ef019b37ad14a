"""Prices that were used, by the book they came from."""

from __future__ import annotations

import sqlalchemy as sa

from pointsman.storage.tables.columns import ID, WORD, ExactDecimal, UtcDateTime, table

price_book = table(
    "price_book",
    sa.Column("id", ID, primary_key=True),
    sa.Column("book_sha256", sa.String(64), nullable=False, index=True),
    sa.Column("sku", sa.String(200), nullable=False),
    sa.Column("unit", sa.String(100), nullable=False),
    sa.Column("usd", ExactDecimal, nullable=False),
    sa.Column("valid_from", UtcDateTime, nullable=False),
    sa.Column("valid_to", UtcDateTime),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("modality", WORD),
    sa.Column("resolution", WORD),
    sa.Column("tier", WORD),
    sa.Column("currency", sa.String(3)),
    sa.Column("amount", ExactDecimal),
    sa.Column("fx_rate", ExactDecimal),
    sa.Column("fx_date", sa.String(10)),
    sa.CheckConstraint("(fx_rate is null) = (fx_date is null)", name="dated_rate"),
)
price_book_hosting = table(
    "price_book_hosting",
    sa.Column("book_sha256", sa.String(64), primary_key=True),
    sa.Column("provider", sa.String(200), primary_key=True),
    sa.Column("hosting", sa.JSON, nullable=False),
)
