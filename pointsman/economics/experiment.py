"""What it cost to find out: the matrix, the judging and the load runs. Kept apart from what production would cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from pointsman.economics.cells import PricedCell, given_up_cost
from pointsman.economics.load import load_cost
from pointsman.economics.price_book import PriceBook
from pointsman.economics.pricing import attempt_cost, total
from pointsman.errors import NotFound
from pointsman.model import Missing, Number
from pointsman.safety import settle_spending
from pointsman.scenario import NOT_PRICED, read_run, scan_run_attempts, with_missing
from pointsman.storage import tables
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ExperimentCost:
    """USD spent on one comparison. The outputs are delivered to nobody, so egress and storage are not in it."""

    matrix: Number
    judging: Number
    load: Number

    @property
    def total(self) -> Number:
        return total((self.matrix, self.judging, self.load))


def experiment_cost(
    ws: Workspace, benchmark_id: str, cells: Iterable[PricedCell], book: PriceBook, *, load_run_ids: Sequence[str] = ()
) -> ExperimentCost:
    """Price everything that was run for a benchmark: its `cells`, what was cancelled and run again, all its judgements
    (abandoned sets too), load runs.

    Raises `NotFound` for an unknown load run.
    """
    return ExperimentCost(
        matrix=total(
            (
                *(cell.paid for cell in cells if cell.was_tried),
                given_up_cost(ws, benchmark_id, book),
            )
        ),
        judging=_judging_cost(ws, benchmark_id, book),
        load=total(_load_run_cost(ws, run_id, book) for run_id in load_run_ids),
    )


def price_load_run(ws: Workspace, run_id: str, book: PriceBook) -> Number:
    """Price a load test that has ended: into `metrics_json.cost`, and in place of what was set aside for it.

    A run that has not ended, or whose dispatches were not all accounted for, is left as it is. Raises `NotFound`.
    """
    record = read_run(ws, run_id)
    if not record.ended:
        return Missing(NOT_PRICED)
    try:
        usd = load_cost(scan_run_attempts(ws, record), book)
    except NotFound:
        return Missing(NOT_PRICED)
    known = with_missing({"usd": None}, usd.reason) if isinstance(usd, Missing) else {"usd": format(usd, "f")}
    kept = {name: value for name, value in record.metrics_json.get("cost", {}).items() if name != "missing"}
    runs = tables.load_test_runs
    metrics = {**record.metrics_json, "cost": {**kept, **known, "price_book_sha256": book.sha256}}
    with ws.database.begin() as connection:
        connection.execute(sa.update(runs).where(runs.c.id == run_id).values(metrics_json=metrics))
    settle_spending(ws, run_id, usd)
    return usd


def _load_run_cost(ws: Workspace, run_id: str, book: PriceBook) -> Number:
    record = read_run(ws, run_id)
    try:
        return load_cost(scan_run_attempts(ws, record), book)
    except NotFound:
        return Missing(f"the load test {run_id} has no closed ledger")


def _judging_cost(ws: Workspace, benchmark_id: str, book: PriceBook) -> Number:
    # A judgement without a usage row cost nothing outside this machine; one that may have been billed has a row.
    attempts, usage, sets = tables.attempts, tables.usage, tables.evaluation_sets
    own_sets = sa.select(sets.c.id).where(sets.c.benchmark_id == benchmark_id)
    query = (
        sa.select(
            attempts.c.provider,
            attempts.c.outcome,
            attempts.c.started_at.label("started"),
            usage.c.sku,
            usage.c.quantity,
            usage.c.missing_reason,
        )
        .join(usage, usage.c.subject_id == attempts.c.id)
        .where(
            attempts.c.subject_kind == "judgement",
            attempts.c.run_id.in_(own_sets),
        )
    )
    with ws.database.connect() as connection:
        return total(attempt_cost(book, dict(row), row["started"]) for row in connection.execute(query).mappings())
