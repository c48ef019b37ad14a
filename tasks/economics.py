"""Tasks of money: prices, the declared plan, the decision, the HUD, and the budget."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from prefect import task
from pydantic import BaseModel, ConfigDict

from pointsman import economics
from pointsman.decision import conclude, hud_report, plans_for_benchmark, read_hud
from pointsman.economics import (
    Production,
    ensure_month_not_spent,
    hold_spending,
    read_money,
    record_matrix_spending,
    record_money,
    with_money,
)
from pointsman.safety import Limits
from pointsman.settings import load_settings
from tasks.opening import open_price_book, open_workspace
from tasks.policies import ONCE, RECORD
from tasks.quality import judge_identities
from tasks.recording import record_report


class Decided(BaseModel):
    """What a decision came to; the document and the HUD are found by its id."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict_id: str
    outcome: str
    winner: str | None


@task(name="register-prices", **RECORD)
def register_prices(price_book: str) -> str:
    """Put the book's entries into the state of record; returns the book's hash."""
    book = open_price_book(price_book)
    economics.register(open_workspace(), book)
    return book.sha256


@task(name="declare-plans", **RECORD)
def declare_plans(
    bm_id: str, *, incumbent: str, rules: Mapping[str, Any], judge: str, price_book: str
) -> tuple[str, ...]:
    """Declare how the benchmark will be decided, unless that was declared before; returns the plans' hashes."""
    plans = plans_for_benchmark(
        open_workspace(),
        bm_id,
        incumbent=incumbent,
        rules=rules,
        judges=judge_identities(judge, price_book),
        price_book_sha256=open_price_book(price_book).sha256,
    )
    return tuple(plan.sha256 for plan in plans)


@task(name="decide", **ONCE)
def decide(bm_id: str, evaluation_set_id: str, price_book: str, price_per_view_usd: float | None) -> Decided:
    stored = conclude(
        open_workspace(),
        bm_id,
        evaluation_set_id,
        open_price_book(price_book),
        price_per_view_usd=None if price_per_view_usd is None else Decimal(str(price_per_view_usd)),
    )
    return Decided(
        verdict_id=stored.id, outcome=stored.outcome, winner=str(stored.winner) if stored.winner is not None else None
    )


@task(name="weigh-money", **RECORD)
def weigh_money(verdict_id: str, price_book: str, production: Production) -> None:
    """Put the waterfall, the saving and the levers of a verdict together for the production that is planned."""
    ws = open_workspace()
    record_money(ws, read_hud(ws, verdict_id), open_price_book(price_book), production)


@task(name="report-hud", **RECORD)
def report_hud(verdict_id: str) -> None:
    ws = open_workspace()
    record_report("money-hud", with_money(hud_report(read_hud(ws, verdict_id)), read_money(ws, verdict_id)))


@task(name="check-budget", **ONCE)
def check_budget(bm_id: str, price_book: str, budget_usd: float | None) -> None:
    """Stop variants that have spent their limits; refuse to go on when all attempts cost more than the budget."""
    budget = None if budget_usd is None else Decimal(str(budget_usd))
    hold_spending(open_workspace(), bm_id, open_price_book(price_book), budget)


@task(name="check-month", **ONCE)
def check_month(bm_id: str) -> None:
    """Refuse to start when the money of the month is spent."""
    ensure_month_not_spent(open_workspace(), bm_id, Limits.of(load_settings()))


@task(name="record-spending", **RECORD)
def record_spending(bm_id: str, price_book: str) -> None:
    record_matrix_spending(open_workspace(), bm_id, open_price_book(price_book))
