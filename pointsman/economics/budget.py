"""The budget of a measurement: what its attempts have cost so far against what may be spent."""

from __future__ import annotations

from decimal import Decimal

from pointsman.actions import ActionLog
from pointsman.economics.cells import price_cells
from pointsman.economics.experiment import experiment_cost
from pointsman.economics.price_book import PriceBook
from pointsman.errors import GuardRefused
from pointsman.model import Missing
from pointsman.workspace import Workspace


def ensure_within_budget(ws: Workspace, benchmark_id: str, book: PriceBook, budget_usd: Decimal) -> Decimal:
    """The USD that the matrix's attempts and judgements cost so far.

    Raises `GuardRefused`, after logging `budget_exceeded`, when that is more than `budget_usd`, and when it is not
    known: a budget that cannot be held must stop, too.
    """
    cells = price_cells(ws, benchmark_id, book, deliveries_per_output=0)
    spent = experiment_cost(ws, benchmark_id, cells, book).total
    if not isinstance(spent, Missing) and spent <= budget_usd:
        return spent
    ActionLog(ws).record("budget_exceeded", context=benchmark_id, spent_usd=spent, budget_usd=budget_usd)
    shown = str(spent) if isinstance(spent, Missing) else f"{spent:.6f} USD"
    raise GuardRefused(
        f"Spent {shown} of a budget of {budget_usd} USD; the matrix was stopped.",
        instruction=f"pointsman benchmark show {benchmark_id}",
        code="budget_exceeded",
    )
