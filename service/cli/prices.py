"""`pointsman prices`: the price book that applies."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.economics import USD, PriceBookSpec, PriceEntry, list_prices
from service.cli.output import JsonFlag, console, emit, table

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The price book that applies.")
BookOption = Annotated[Path | None, typer.Option(help="A price book file; default: the built-in one.")]
OverridesOption = Annotated[Path | None, typer.Option(help="A file whose entries replace those of the same sku.")]


def _spec(book: Path | None, overrides: Path | None) -> PriceBookSpec:
    return PriceBookSpec(path=str(book) if book else None, overrides=str(overrides) if overrides else None)


@app.command("list")
def list_command(book: BookOption = None, overrides: OverridesOption = None, as_json: JsonFlag = False) -> None:
    """List every price with its validity and source, and how self-hosted capacity is paid."""
    found = _spec(book, overrides).build()
    entries = [_shown(entry) for entry in list_prices(found)]
    hosting = [one.as_document() for one in found.hosting]
    document = {"prices": entries, "hosting": hosting, "sha256": found.sha256}
    emit(as_json, document, lambda: _show(entries, hosting))


def _shown(entry: PriceEntry) -> dict[str, Any]:
    return {name: None if value is None else _text(value) for name, value in entry.as_row().items()}


def _text(value: object) -> str:
    return (
        f"{value:%Y-%m-%d}" if isinstance(value, datetime) else format(value, "f" if isinstance(value, Decimal) else "")
    )


def _show(entries: list[dict[str, Any]], hosting: list[dict[str, Any]]) -> None:
    kept = [name for name in _COLUMNS if any(entry[name] for entry in entries) and not _only_dollars(name, entries)]
    rows = [[entry[name] for name in kept] for entry in entries]
    table("Prices", [_COLUMNS[name] for name in kept], rows)
    if hosting:
        columns = [name for name in hosting[0] if name not in ("instance", "commitment")]
        table("Self-hosted capacity", columns, [[one[name] for name in columns] for one in hosting])


def _only_dollars(name: str, entries: list[dict[str, Any]]) -> bool:
    return name in ("currency", "amount") and all(entry["currency"] == USD for entry in entries)


_COLUMNS = {
    "sku": "sku",
    "usd": "USD",
    "unit": "unit",
    "modality": "modality",
    "resolution": "resolution",
    "tier": "tier",
    "currency": "currency",
    "amount": "amount",
    "fx_rate": "USD for one",
    "fx_date": "rate of",
    "valid_from": "valid from",
    "valid_to": "valid to",
    "source": "source",
}


@app.command()
def check(book: BookOption = None, overrides: OverridesOption = None, as_json: JsonFlag = False) -> None:
    """Check a price book: gaps, overlaps, units, signs. Exits 2 naming the first fault."""
    found = _spec(book, overrides).build()
    document = {"skus": len(found.skus), "sha256": found.sha256}
    emit(as_json, document, lambda: console.print(f"{len(found.skus)} skus, sha256 {found.sha256}"))
