"""`pointsman prices export` and `pointsman prices reconcile`: a month's charges, and whether an invoice agrees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pointsman.economics import (
    USD,
    Charge,
    Month,
    PriceBook,
    Reconciliation,
    Uncharged,
    billing_client,
    charges_of,
    cost_explorer_lines,
    focus_csv,
    read_invoice,
    reconcile,
)
from pointsman.errors import DataCheckFailed, InputRefused
from pointsman.storage import write_atomically
from pointsman.workspace import Workspace
from service.cli.output import console, table


def export(ws: Workspace, book: PriceBook, month: str, out: Path) -> dict[str, Any]:
    """Write the month's charges as FOCUS 1.2. What has no amount is in no file; the answer says what and why."""
    period = Month.parse(month)
    charges, uncharged = charges_of(ws, book, period)
    write_atomically(out, focus_csv(charges, period).encode())
    return {
        "file": str(out),
        "month": month,
        "rows": len(charges),
        "usd": format(_sum(charges), "f"),
        "left_out": [_left_out(one) for one in uncharged],
    }


def show_export(done: dict[str, Any]) -> None:
    console.print(f"{done['file']}: {done['rows']} charges of {done['month']}, {done['usd']} USD", soft_wrap=True)
    _show_left_out(done["left_out"])


def compare_with_invoice(
    ws: Workspace, book: PriceBook, month: str, invoice: Path | None, tag: str | None
) -> tuple[Reconciliation, dict[str, Any]]:
    """The month's charges against the file, or against what Cost Explorer says of the tag."""
    period = Month.parse(month)
    named = None if tag is None else _tag(tag)
    quoted = book.rates(period.start, period.end)
    rates = {currency: one.rate for currency, one in quoted.items()}
    if invoice is not None:
        lines = read_invoice(invoice, period, named, rates)
    elif named is not None:
        lines = cost_explorer_lines(billing_client("ce"), period, named, rates)
    else:
        raise InputRefused("--invoice", None, "a file, or --tag KEY=VALUE for AWS Cost Explorer")
    charges, uncharged = charges_of(ws, book, period)
    found = reconcile(charges, uncharged, lines, book)
    billed_in = sorted({line.currency for line in lines if line.currency != USD})
    at = {one: {"usd": _text(quoted[one].rate), "date": quoted[one].rate_date.isoformat()} for one in billed_in}
    estimated = any(line.estimated for line in lines)
    return found, {**_document(month, found), "rates": at, "estimated": estimated}


def fail_unless_agreed(found: Reconciliation, month: str) -> None:
    """Raises `DataCheckFailed` when ledger and invoice are more than 1 % apart."""
    if not found.agrees:
        raise DataCheckFailed(
            f"Ledger and invoice of {month} are {found.usd:+.4f} USD apart, more than 1 %.",
            instruction="pointsman prices list",
            code="invoice_differs",
        )


def show_reconciliation(document: dict[str, Any]) -> None:
    money = ("work USD", "idle, cold USD", "invoice USD", "difference", "by quantity", "by price")
    amounts = ("ledger_usd", "beside_usd", "invoiced_usd", "usd", "by_quantity", "by_price")
    rows = [[item["name"], item["kind"], *(_short(item[name]) for name in amounts)] for item in document["items"]]
    in_all = (_short(document[name]) for name in ("ledger_usd", "beside_usd", "invoiced_usd", "usd"))
    rows.append(["in all", "", *in_all, "", ""])
    table(f"Ledger and invoice of {document['month']}", ("paid for", "found in", *money), rows)
    for currency, rate in document["rates"].items():
        console.print(f"Billed in {currency}, at the price book's rate of {rate['date']}: {rate['usd']} USD for one.")
    if document["estimated"]:
        console.print(f"{document['month']} is not billed yet: AWS calls its figures estimates.")
    if document["not_usage"]:
        table("On the invoice, and no usage", ("what", "USD"), list(document["not_usage"].items()))
    _show_left_out(document["uncharged"])
    share = document["share"]
    apart = "nothing was invoiced" if share is None else f"{100 * float(share):+.2f} % of the invoice"
    console.print(f"{'They agree' if document['agrees'] else 'They do not agree'} within 1 %: {apart}.")


def _document(month: str, found: Reconciliation) -> dict[str, Any]:
    return {
        "month": month,
        "ledger_usd": _text(found.ledger_usd),
        "beside_usd": _text(found.beside_usd),
        "invoiced_usd": _text(found.invoiced_usd),
        "usd": _text(found.usd),
        "share": None if found.share is None else _text(found.share),
        "agrees": found.agrees,
        "items": [
            {
                "name": one.name,
                "kind": one.kind,
                "ledger_usd": _text(one.ledger_usd),
                "beside_usd": _text(one.beside_usd),
                "invoiced_usd": _text(one.invoiced_usd),
                "usd": _text(one.usd),
                "agrees": one.agrees,
                "expected_quantity": None if one.quantities is None else _text(one.quantities[0]),
                "invoiced_quantity": None if one.quantities is None else _text(one.quantities[1]),
                "by_quantity": None if one.by_quantity is None else _text(one.by_quantity),
                "by_price": None if one.by_price is None else _text(one.by_price),
            }
            for one in found.items
        ],
        "not_usage": {category: _text(usd) for category, usd in found.not_usage},
        "uncharged": [_left_out(one) for one in found.uncharged],
    }


def _show_left_out(left_out: Sequence[dict[str, Any]]) -> None:
    if left_out:
        columns = ("run", "for", "provider", "rows", "has no amount because")
        names = ("run_id", "purpose", "provider", "rows", "reason")
        table("Not in it", columns, [[one[name] for name in names] for one in left_out])


def _left_out(one: Uncharged) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("run_id", "purpose", "provider", "reason", "rows")}


def _sum(charges: Sequence[Charge]) -> Any:
    return sum((one.usd for one in charges), start=0)


def _text(number: Any) -> str:
    return format(round(number, 12).normalize(), "f")


def _short(amount: str | None) -> str:
    """Six significant digits, but never less than cents."""
    if amount is None:
        return ""
    usd = float(amount)
    return f"{usd:,.2f}" if abs(usd) >= 1000 else f"{usd:.6g}"


def _tag(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    if not key or not value:
        raise InputRefused("--tag", text, "KEY=VALUE, as team=media")
    return key, value
