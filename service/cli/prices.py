"""`pointsman prices`: the price book that applies, what it makes of a month, and what others say that cost."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from pointsman.economics import (
    USD,
    PriceBookSpec,
    PriceEntry,
    billing_client,
    list_prices,
    moment,
    price_file_text,
    refreshed,
)
from pointsman.storage import write_atomically
from service.cli.billing import (
    compare_with_invoice,
    export,
    fail_unless_agreed,
    show_export,
    show_reconciliation,
)
from service.cli.output import JsonFlag, console, emit, open_workspace, table

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="The price book that applies, AWS's prices of today, a month's charges, and an invoice against them.",
)
BookOption = Annotated[Path | None, typer.Option(help="A price book file; default: the built-in one.")]
OverridesOption = Annotated[Path | None, typer.Option(help="A file whose entries replace those of the same sku.")]

MonthOption = Annotated[str | None, typer.Option(help="A month (UTC), as 2026-11; default: the running one.")]


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
    return moment(value) if isinstance(value, datetime) else format(value, "f" if isinstance(value, Decimal) else "")


def _show(entries: list[dict[str, Any]], hosting: list[dict[str, Any]]) -> None:
    kept = [name for name in _COLUMNS if any(entry[name] for entry in entries) and not _only_dollars(name, entries)]
    rows = [[entry[name] for name in kept] for entry in entries]
    table("Prices", [_COLUMNS[name] for name in kept], rows)
    if hosting:
        columns = [name for name in hosting[0] if name not in ("instance", "commitment")]
        table("Self-hosted capacity", columns, [[one[name] for name in columns] for one in hosting])
    for one in hosting:
        if (committed := one.get("commitment")) is not None:
            cheaper = f"{100 * float(committed['discount']):g} %"
            said = f"{committed['usd_per_hour']} USD an hour are paid, used or not, and buy capacity {cheaper} cheaper."
            console.print(f"{one['provider']}: {said}", markup=False)


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


@app.command("refresh")
def refresh_command(
    out: Annotated[Path, typer.Option(help="The file to write; use it with --overrides, or as your own prices.")],
    book: BookOption = None,
    overrides: OverridesOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask AWS's Pricing API for every price that says where it is to be found there; write what it says.

    While AWS is out of reach nothing is written, and the dated file goes on to apply.
    """
    now = datetime.now(UTC)
    changes, entries = refreshed(billing_client("pricing"), _spec(book, overrides).build(), now)
    write_atomically(out, price_file_text(entries).encode())
    rows = [(one.sku, one.unit, _text(one.was_usd), _text(one.is_usd)) for one in changes]
    names, columns = ("sku", "unit", "was_usd", "is_usd"), ("sku", "unit", "was USD", "is USD")
    document = {"file": str(out), "prices": [dict(zip(names, row, strict=True)) for row in rows]}
    emit(as_json, document, lambda: table(f"Prices of AWS, written to {out}", columns, rows))


@app.command("export")
def export_command(
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
    month: MonthOption = None,
    book: BookOption = None,
    overrides: OverridesOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a month's charges as a FOCUS 1.2 file, checked against its schema."""
    ws = open_workspace()
    done = export(ws, _spec(book, overrides).build(), month or f"{ws.clock.now():%Y-%m}", out)
    emit(as_json, done, lambda: show_export(done))


@app.command("reconcile")
def reconcile_command(
    invoice: Annotated[
        Path | None, typer.Option(help="A CSV file: FOCUS, or with the columns sku, usd and maybe quantity.")
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(help="KEY=VALUE. Of a FOCUS file the lines that carry it; without a file, AWS Cost Explorer's."),
    ] = None,
    month: MonthOption = None,
    book: BookOption = None,
    overrides: OverridesOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare a month's charges with an invoice, and itemise the differences. Exits 1 when they are over 1 %."""
    ws = open_workspace()
    asked = month or f"{ws.clock.now():%Y-%m}"
    found, document = compare_with_invoice(ws, _spec(book, overrides).build(), asked, invoice, tag)
    emit(as_json, document, lambda: show_reconciliation(document))
    fail_unless_agreed(found, asked)
