"""The hard limits: every guard refuses one step above its limit and says what to do."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from pointsman.errors import InputRefused
from pointsman.model import Missing
from pointsman.safety import Forecast, Intent, Limits, first_refusal, guards, settle_spending, spent_in_month
from pointsman.safety.spending import month_of, reserve, spent_in
from pointsman.settings import load_settings
from pointsman.storage import tables
from pointsman.workspace import Workspace

LIMITS = Limits(dispatches=100, in_flight=10, run_usd=Decimal(500), month_usd=Decimal(2000), approval_usd=Decimal(50))
ALLOWED = Intent("A load test", dispatches=100, in_flight=10, usd=Decimal(500))
MONTH = "2026-01"


def test_an_intent_at_every_limit_is_allowed() -> None:
    assert first_refusal(guards(LIMITS, month=MONTH, spent=Decimal(1500)), ALLOWED) is None


@pytest.mark.parametrize(
    ("intent", "spent", "code", "setting"),
    [
        (replace(ALLOWED, dispatches=101), "0", "too_many_dispatches", "POINTSMAN_MAX_DISPATCHES"),
        (replace(ALLOWED, in_flight=11), "0", "too_many_in_flight", "POINTSMAN_MAX_IN_FLIGHT"),
        (replace(ALLOWED, usd=Decimal("500.01")), "0", "over_run_budget", "POINTSMAN_MAX_RUN_USD"),
        (ALLOWED, "1500.01", "over_month_budget", "POINTSMAN_MAX_MONTH_USD"),
    ],
)
def test_one_step_above_a_limit_is_refused_by_name_with_what_to_do(
    intent: Intent, spent: str, code: str, setting: str
) -> None:
    refusal = first_refusal(guards(LIMITS, month=MONTH, spent=Decimal(spent)), intent)
    assert refusal is not None
    assert refusal.code == code
    assert refusal.message.startswith("A load test may ")
    assert setting in refusal.instruction
    error = refusal.error()
    assert (error.exit_code, error.as_failure()["code"]) == (3, code)


def test_limits_come_from_the_settings_and_are_safe_by_default(tmp_path: Path) -> None:
    assert Limits.of(load_settings({}, home=tmp_path)) == Limits(
        dispatches=100_000, in_flight=10_000, run_usd=Decimal(500), month_usd=Decimal(2000), approval_usd=Decimal(50)
    )
    environ = {"POINTSMAN_MAX_RUN_USD": "12.50", "POINTSMAN_MAX_DISPATCHES": "7"}
    given = Limits.of(load_settings(environ, home=tmp_path))
    assert (given.run_usd, given.dispatches) == (Decimal("12.50"), 7)


@pytest.mark.parametrize("text", ["-1", "NaN", "Infinity", "much", "1e10"])
@pytest.mark.parametrize("name", ["POINTSMAN_MAX_DISPATCHES", "POINTSMAN_MAX_RUN_USD", "POINTSMAN_APPROVAL_LIMIT_USD"])
def test_a_limit_that_limits_nothing_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(InputRefused, match=name):
        load_settings({name: text}, home=tmp_path)


def test_half_a_dispatch_is_no_limit(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="whole number"):
        load_settings({"POINTSMAN_MAX_IN_FLIGHT": "1.5"}, home=tmp_path)


def set_aside(ws: Workspace, run_id: str, usd: str) -> None:
    with ws.database.begin() as connection:
        reserve(connection, run_id, Decimal(usd), at=ws.clock.now())


def test_a_month_counts_what_is_set_aside_until_it_is_known_what_was_spent(ws: Workspace) -> None:
    set_aside(ws, "a", "10")
    set_aside(ws, "a", "99")
    set_aside(ws, "b", "5")
    assert spent_in_month(ws, MONTH) == 15
    settle_spending(ws, "a", Decimal("2.5"))
    settle_spending(ws, "b", Missing("the target reports no usage"))
    assert spent_in_month(ws, MONTH) == Decimal("7.5")
    with ws.database.connect() as connection:
        assert spent_in(connection, MONTH, now=ws.clock.now(), without="a") == 5
        kept = connection.execute(sa.select(tables.spending.c.missing_reason).order_by(tables.spending.c.run_id))
        assert kept.scalars().all() == [None, "the target reports no usage"]


def test_another_month_starts_at_nothing(ws: Workspace) -> None:
    set_aside(ws, "a", "10")
    ws.clock.sleep(31 * 86400)
    assert month_of(ws.clock.now()) == "2026-02"
    assert spent_in_month(ws, "2026-02") == 0


def test_a_run_that_ended_before_it_sent_anything_spent_nothing(ws: Workspace) -> None:
    set_aside(ws, "a", "10")
    row = {"id": "a", "context": "c", "scenario_id": "s", "environment_id": "lab", "variant_id": "v", "seed": 1}
    row |= {"status": "cancelled", "results_path": "r", "metrics_json": {}, "created_at": ws.clock.now()}
    with ws.database.begin() as connection:
        connection.execute(sa.insert(tables.load_test_runs).values(**row, ended_at=ws.clock.now(), submitted_count=0))
    assert spent_in_month(ws, MONTH) == 0
    with ws.database.begin() as connection:
        connection.execute(sa.update(tables.load_test_runs).values(submitted_count=1))
    assert spent_in_month(ws, MONTH) == 10


def test_a_forecast_is_kept_with_what_is_missing() -> None:
    known = Forecast(10, Decimal("1.0"), Decimal("0.5"), Decimal("2E+1"), Decimal("0.1"), "a guess").document()
    assert known == {"dispatches": 10, "usd": "1.0", "low": "0.5", "high": "20", "unit_usd": "0.1", "method": "a guess"}
    unknown = Forecast.unknown(10, "no idea").document()
    assert (unknown["usd"], unknown["missing"]["high"]) == (None, "no idea")
