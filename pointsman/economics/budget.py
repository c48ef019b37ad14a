"""The budget of a matrix: what its attempts have cost so far against what may be spent on it, and in the month."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from pointsman.actions import ActionLog
from pointsman.benchmark import cells_ahead, matrix_run, stop_variant
from pointsman.economics.cells import PricedCell, price_cells
from pointsman.economics.experiment import experiment_cost
from pointsman.economics.forecast import forecast_load
from pointsman.economics.price_book import PriceBook
from pointsman.economics.pricing import total
from pointsman.errors import GuardRefused
from pointsman.ids import VariantId
from pointsman.model import Missing, Number
from pointsman.safety import Limits, month_of, record_spending, spent_in_month
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
    ActionLog(ws).record(
        "budget_exceeded", run_id=benchmark_id, context=benchmark_id, spent_usd=spent, budget_usd=budget_usd
    )
    shown = str(spent) if isinstance(spent, Missing) else f"{spent:.6f} USD"
    raise GuardRefused(
        f"Spent {shown} of a budget of {budget_usd} USD; the matrix was stopped.",
        instruction=f"pointsman benchmark show {benchmark_id}",
        code="budget_exceeded",
    )


def hold_spending(ws: Workspace, benchmark_id: str, book: PriceBook, budget_usd: Decimal | None) -> None:
    """Stop the variants of a matrix whose next cells would take them over their own limits; raise as
    `ensure_within_budget` does for all. To be called before a round.

    A variant's next cells are those that run, in other processes too, and those of the next round: each is taken to
    cost what its cells have cost on average, and before there are any, what `forecast_load` says. What has been spent
    and is not known cannot be held, so it stops the variant. Cells that are under way are carried on.
    """
    limits = {one.id: one.limits.usd for one in matrix_run(ws, benchmark_id).variants if one.limits.usd is not None}
    if limits:
        cells = price_cells(ws, benchmark_id, book, deliveries_per_output=0)
        ahead = cells_ahead(ws, benchmark_id)
        for variant, limit in limits.items():
            own = [one for one in cells if one.variant == variant and one.was_tried]
            why = _over_limit(ws, variant, own, ahead.get(str(variant), 0), limit, book)
            if why is not None:
                with ws.database.begin() as connection:
                    stop_variant(connection, ws, benchmark_id, str(variant), why)
    if budget_usd is not None:
        ensure_within_budget(ws, benchmark_id, book, budget_usd)


def _over_limit(
    ws: Workspace, variant: VariantId, own: Sequence[PricedCell], ahead: int, limit: Decimal, book: PriceBook
) -> str | None:
    """Why the variant is stopped that has had its `own` cells and would have so many more, or None."""
    spent = total(one.paid for one in own)
    if isinstance(spent, Missing):
        return f"spend_limit: its cells have cost {spent}, and its limit in one matrix is {limit} USD"
    each: Number = spent / max(1, len(own))
    if ahead and not own:
        each = forecast_load(ws, variant, dispatches=1, inputs=1, book=book, at=ws.clock.now()).unit_usd
    more = Decimal(0) if isinstance(each, Missing) else ahead * each
    if spent + more <= limit:
        return None
    next_cells = f", its next {ahead} would cost about {more:.6f} USD," if ahead else ""
    return f"spend_limit: its cells have cost {spent:.6f} USD{next_cells} and its limit in one matrix is {limit} USD"


def ensure_month_not_spent(ws: Workspace, benchmark_id: str, limits: Limits) -> None:
    """Raises `GuardRefused`, after logging `budget_exceeded`, when the money of the calendar month (UTC) is spent."""
    month = month_of(ws.clock.now())
    spent = spent_in_month(ws, month)
    if spent < limits.month_usd:
        return
    ActionLog(ws).record(
        "budget_exceeded", run_id=benchmark_id, context=benchmark_id, spent_usd=spent, budget_usd=limits.month_usd
    )
    raise GuardRefused(
        f"Of {limits.month_usd} USD for {month}, {spent:.2f} are spent or set aside; no matrix is started.",
        instruction="Wait for the next month, or raise POINTSMAN_MAX_MONTH_USD where the run is executed.",
        code="over_month_budget",
    )


def record_matrix_spending(ws: Workspace, benchmark_id: str, book: PriceBook) -> Number:
    """Count what the matrix's attempts cost for the month in which that is first asked; returns it, in USD.

    What is not known counts nothing, with the reason beside it: nothing was set aside for a matrix.
    """
    cells = price_cells(ws, benchmark_id, book, deliveries_per_output=0)
    usd = experiment_cost(ws, benchmark_id, cells, book).matrix
    record_spending(ws, benchmark_id, usd)
    return usd
