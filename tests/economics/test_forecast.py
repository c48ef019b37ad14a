"""What a load test will cost: measured where it can be, assumed where it is said, and never nothing."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from pointsman.dispatch import DriveSummary, Percentiles
from pointsman.economics import PriceBook, forecast_load, price_load_run
from pointsman.economics.forecast import JOB_UNIT
from pointsman.economics.hosting import Hosting
from pointsman.economics.plain import plain
from pointsman.ids import VariantId
from pointsman.model import Missing
from pointsman.safety import Forecast, spent_in_month
from pointsman.safety.spending import reserve
from pointsman.scenario import read_run
from pointsman.statistics import t_reach
from pointsman.storage import tables
from tests.economics.price_texts import EASY_PRICES, price
from tests.economics.test_experiment import SCHEMA
from tests.economics.worlds import NOW, A, B, Tried, World, book_of

C = VariantId("effect-1", "c", "lab", "demo", "cpu", "default")
JOB_PRICE = EASY_PRICES + price(f"cpu:{JOB_UNIT}", "0.25")


def forecast(
    world: World, book: PriceBook, *, variant: VariantId = A, dispatches: int = 100, inputs: int = 4
) -> Forecast:
    return forecast_load(world.ws, variant, dispatches=dispatches, inputs=inputs, book=book, at=NOW)


def close_load_run(world: World, run_id: str, rows: list[tuple[str, str, str | None]]) -> None:
    """A load test of `A` that has ended; rows are (input, outcome, vcpu-seconds or none)."""
    world.load_run(run_id, run_id)
    folder = world.ws.results.path(run_id)
    folder.mkdir(parents=True)
    none = Percentiles()
    summary = DriveSummary(
        outcome="completed", epoch=NOW, wall_s=1, counts={}, answered={}, achieved_per_s=1, queue_ms=none, run_ms=none,
        total_ms=none, raw_total_ms=none, lateness_ms=none, interruptions=(),
    )  # fmt: skip
    (folder / "summary.json").write_text(summary.model_dump_json())
    ids = [f"{run_id}-{n}" for n in range(len(rows))]
    pl.DataFrame({"dispatch_id": ids, "input_id": [row[0] for row in rows], "sent_ns": [1] * len(rows)}).write_parquet(
        folder / "dispatches-00000.parquet"
    )
    attempts: list[dict[str, Any]] = [
        {"dispatch_id": one, "number": 1, "provider": "cpu", "generation": None, "outcome": outcome, "started": NOW}
        | {"ended": NOW, "basis": None, "quantity": quantity}
        | {"sku": None if quantity is None else "cpu:vcpu-second"}
        | {"missing_reason": "the target reports no usage" if quantity is None and outcome != "refused" else None}
        for one, (_, outcome, quantity) in zip(ids, rows, strict=True)
    ]
    pl.DataFrame(attempts, schema=SCHEMA).write_parquet(folder / "attempts-00000.parquet")
    with world.ws.database.begin() as connection:
        connection.execute(
            sa.update(tables.load_test_runs)
            .where(tables.load_test_runs.c.id == run_id)
            .values(ended_at=NOW, submitted_count=len(rows))
        )


def test_inputs_count_alike_however_often_each_was_dispatched(world: World, book: PriceBook) -> None:
    close_load_run(world, "r", [("one", "completed", "1")] * 8 + [("two", "completed", "3")] * 2)
    found = forecast(world, book, inputs=4)
    assert (found.unit_usd, found.usd) == (Decimal("0.002"), Decimal("0.2"))
    half = t_reach(1) * 2**0.5 * 0.001 * (1 / 2 + 1 / 4) ** 0.5 * 100
    assert float(found.high) == pytest.approx(0.2 + half)
    assert found.low == 0, "an interval of money does not go below nothing"
    assert "10 past dispatches over 2 inputs" in found.method


def test_a_price_with_far_too_many_zeros_is_told_and_not_stumbled_over(world: World, tmp_path: Path) -> None:
    dear = book_of(tmp_path, EASY_PRICES + price(f"cpu:{JOB_UNIT}", "1" + "0" * 20))
    found = forecast(world, dear).usd
    assert found == Decimal(10) ** 22
    assert plain(found) == "1" + "0" * 22


def test_a_fleet_is_paid_for_while_it_idles_and_starts(world: World, book: PriceBook) -> None:
    """2 s of work at 25 %, and 4 s of a cold start for each job."""
    close_load_run(world, "r", [("one", "completed", "2"), ("two", "completed", "2")])
    world.cell(A, Tried(), output_bytes=10)
    fleet = Hosting("cpu", Decimal("0.25"), "made up", cold_start_s=Decimal(4))
    found = forecast(world, replace(book, hosting=(fleet,)))
    assert (found.unit_usd, found.usd) == (Decimal("0.012"), Decimal("1.2"))


def test_matrices_and_load_tests_are_both_past_and_failures_cost_too(world: World, book: PriceBook) -> None:
    world.cell(A, Tried(usage=[("cpu:vcpu-second", "2")]), Tried("lost", usage=[("cpu:vcpu-second", "2")]))
    close_load_run(world, "r", [("clip-0", "failed", "4"), ("clip-0", "refused", None)])
    found = forecast(world, book)
    assert found.unit_usd == Decimal("0.004")
    assert (found.low, found.high) == (Decimal("0.2"), Decimal("0.8"))
    assert "2 past dispatches over 1 inputs; with one input, half to double is assumed" in found.method


def test_prices_are_todays_and_not_those_of_the_past(world: World, tmp_path: Path) -> None:
    dearer = EASY_PRICES.replace('usd = "0.001"\nvalid_from = 2026-01-01', 'usd = "0.010"\nvalid_from = 2026-11-20', 1)
    world.cell(A, Tried(started=NOW.replace(month=2)))
    assert forecast(world, book_of(tmp_path, dearer)).unit_usd == Decimal("0.02")


def test_some_unknown_costs_are_taken_to_be_like_the_known_and_it_says_so(world: World, book: PriceBook) -> None:
    close_load_run(world, "r", [("one", "completed", "1"), ("two", "completed", "1"), ("two", "unknown", None)])
    found = forecast(world, book)
    assert found.unit_usd == Decimal("0.001")
    assert "1 more have no known cost and are taken to cost the same" in found.method


def test_mostly_unknown_costs_are_unknown_with_the_reason(world: World, book: PriceBook) -> None:
    close_load_run(world, "r", [("one", "completed", "1"), ("two", "completed", None), ("two", "completed", None)])
    found = forecast(world, book)
    assert found.usd == Missing("2 of 3 past dispatches of the variant have no known cost: the target reports no usage")
    assert {type(one) for one in (found.low, found.high, found.unit_usd)} == {Missing}


def test_without_a_past_the_price_of_a_job_counts(world: World, tmp_path: Path) -> None:
    found = forecast(world, book_of(tmp_path, JOB_PRICE))
    assert (found.low, found.usd, found.high) == (25, 25, 25)
    assert found.method == "the price book's cpu:job"


def test_without_either_the_providers_other_variants_are_an_assumption_that_is_called_one(
    world: World, book: PriceBook
) -> None:
    world.cell(A, Tried())
    world.cell(B, Tried(usage=[("cpu:vcpu-second", "9")]))
    for one in (A, B, C):
        with world.ws.database.begin() as connection:
            row = {"id": str(one), "route_key": str(one.route_key), "target": "lab", "params": {}, "enabled": True}
            connection.execute(sa.insert(tables.variants).values(**row, created_at=NOW))
    found = forecast(world, book, variant=C)
    assert (found.low, found.usd, found.high) == (Decimal("0.1"), Decimal("0.2"), Decimal("0.4"))
    assert found.method.startswith("assumed, because no dispatch of the variant was priced before: the mean of 1 other")


def test_what_nothing_is_known_of_is_unknown_and_not_free(world: World, book: PriceBook) -> None:
    assert forecast(world, book) == Forecast.unknown(100, "no dispatch of the variant was priced before")


def test_a_run_that_has_ended_is_priced_into_its_row_and_its_month(world: World, book: PriceBook) -> None:
    close_load_run(world, "r", [("one", "completed", "1"), ("two", "lost", "3")])
    with world.ws.database.begin() as connection:
        reserve(connection, "r", Decimal(10), at=NOW)
        connection.execute(
            sa.update(tables.load_test_runs).values(
                metrics_json={"cost": {"usd": None, "missing": {"usd": "not yet"}, "limit_usd": "50"}}
            )
        )
    assert price_load_run(world.ws, "r", book) == Decimal("0.004")
    cost = read_run(world.ws, "r").metrics_json["cost"]
    assert cost == {"usd": "0.004000000000", "limit_usd": "50", "price_book_sha256": book.sha256}
    assert spent_in_month(world.ws, "2026-11") == Decimal("0.004")


def test_a_run_of_unknown_cost_keeps_what_was_set_aside_for_it(world: World, book: PriceBook) -> None:
    close_load_run(world, "r", [("one", "completed", None)])
    with world.ws.database.begin() as connection:
        reserve(connection, "r", Decimal(10), at=NOW)
    assert price_load_run(world.ws, "r", book) == Missing("the target reports no usage")
    cost = read_run(world.ws, "r").metrics_json["cost"]
    assert (cost["usd"], cost["missing"]) == (None, {"usd": "the target reports no usage"})
    assert spent_in_month(world.ws, "2026-11") == 10


def test_a_run_without_a_closed_ledger_is_not_priced(world: World, book: PriceBook) -> None:
    world.load_run("r", "r")
    assert isinstance(price_load_run(world.ws, "r", book), Missing)
    assert read_run(world.ws, "r").metrics_json == {}
