"""What each cell costs by nothing but a document's evidence: its attempts, their usage, the outputs, and the prices."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from pointsman.decision.plan import VerdictPlan
from pointsman.economics import PriceBook
from pointsman.economics.attempts import PricedAttempt, priced_attempt
from pointsman.economics.cells import priced_cell
from pointsman.economics.entries import PriceEntry
from pointsman.economics.hosting import Hosting
from pointsman.ids import VariantId
from pointsman.model import Number


def costs_by_evidence(plan: VerdictPlan, evidence: Mapping[str, Any]) -> dict[str, Number]:
    """USD by dispatch id, by the same arithmetic that priced the rows. Raises `KeyError`, `ValueError` or `TypeError`
    for what is no evidence.
    """
    book = _book(evidence)
    attempts = _attempts(book, evidence)
    sizes = {dispatch_id: size for dispatch_id, _, size in evidence["outputs"]["rows"]}
    found = {}
    for dispatch_id, status, reason, priced_at in evidence["cells"]["rows"]:
        nothing = {"input_id": "", "cluster": "", "repeat": 0, "total_ms": None}
        item: Any = SimpleNamespace(dispatch_id=dispatch_id, status=status, reason=reason, **nothing)
        found[dispatch_id] = priced_cell(
            book,
            item,
            _ANY,
            attempts.get(dispatch_id, ()),
            sizes.get(dispatch_id),
            at=datetime.fromisoformat(priced_at),
            deliveries_per_output=plan.deliveries_per_output,
            storage_months=Decimal(1),
        ).cost
    return found


_ANY = VariantId("any", "any", "any", "any", "any", "any")


def _book(evidence: Mapping[str, Any]) -> PriceBook:
    entries = []
    for one in evidence["prices"]:
        if "usd_each" not in one:
            entries.append(PriceEntry.from_document(one))
        elif isinstance(one["usd_each"], str):  # a price that no book lists, of one day
            day = datetime.fromisoformat(f"{one['day']}T00:00:00+00:00")
            unit = one["sku"].rsplit(":", 1)[-1]
            usd = Decimal(one["usd_each"])
            entries.append(PriceEntry(one["sku"], unit, usd, day, day + timedelta(days=1), "the document"))
    return PriceBook(tuple(entries), tuple(Hosting.from_document(one) for one in evidence["hosting"]))


def _attempts(book: PriceBook, evidence: Mapping[str, Any]) -> dict[str, list[PricedAttempt]]:
    """Of cells, in their order."""
    found: dict[str, list[PricedAttempt]] = {}
    for attempt_id, kind, provider, outcome, started_at, _, no_usage, usage in evidence["attempts"]["rows"]:
        if kind != "cell":
            continue
        subject, _, number = attempt_id.rpartition("#")
        first = {"number": int(number), "outcome": outcome, "provider": provider}
        unknown = {"sku": None, "quantity": None, "missing_reason": no_usage, "basis": None}
        rows = [
            {**first, "sku": sku, "quantity": _decimal(quantity), "missing_reason": why or no_usage, "basis": basis}
            for sku, quantity, why, basis in usage
        ] or [{**first, **unknown}]
        found.setdefault(subject, []).append(priced_attempt(book, rows, datetime.fromisoformat(started_at)))
    return {subject: sorted(tried, key=lambda one: one.number) for subject, tried in found.items()}


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
