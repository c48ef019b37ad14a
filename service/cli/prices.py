"""`pointsman prices`: the price book that applies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pointsman.economics import PriceBookSpec, list_prices
from service.cli.output import JsonFlag, console, emit, table

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The price book that applies.")
BookOption = Annotated[Path | None, typer.Option(help="A price book file; default: the built-in one.")]
OverridesOption = Annotated[Path | None, typer.Option(help="A file whose entries replace those of the same sku.")]


def _spec(book: Path | None, overrides: Path | None) -> PriceBookSpec:
    return PriceBookSpec(path=str(book) if book else None, overrides=str(overrides) if overrides else None)


@app.command("list")
def list_command(book: BookOption = None, overrides: OverridesOption = None, as_json: JsonFlag = False) -> None:
    """List every price with its validity and source."""
    entries = list_prices(_spec(book, overrides).build())
    columns = ("sku", "USD", "unit", "valid from", "valid to", "source")
    rows = [
        (
            e.sku,
            format(e.usd, "f"),
            e.unit,
            f"{e.valid_from:%Y-%m-%d}",
            f"{e.valid_to:%Y-%m-%d}" if e.valid_to else "",
            e.source,
        )
        for e in entries
    ]
    emit(as_json, [dict(zip(columns, row, strict=True)) for row in rows], lambda: table("Prices", columns, rows))


@app.command()
def check(book: BookOption = None, overrides: OverridesOption = None, as_json: JsonFlag = False) -> None:
    """Check a price book: gaps, overlaps, units, signs. Exits 2 naming the first fault."""
    found = _spec(book, overrides).build()
    document = {"skus": len(found.skus), "sha256": found.sha256}
    emit(as_json, document, lambda: console.print(f"{len(found.skus)} skus, sha256 {found.sha256}"))
