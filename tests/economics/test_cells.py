"""What a cell costs: every attempt, delivery and storage, to the last digit; and what is not known stays unknown."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.economics import (
    PriceBook,
    PricedCell,
    margin,
    measurements,
    per_delivered_view,
    per_success,
    price_cells,
    price_missing,
    total,
    waterfalls,
)
from pointsman.economics.cells import outcome_of
from pointsman.errors import InputRefused, NotFound
from pointsman.model import Missing
from pointsman.quality import NO_REFERENCE
from tests.economics.price_texts import EASY_PRICES
from tests.economics.worlds import BENCHMARK, JUDGED, NOW, A, B, Tried, World, book_of

LOST = Tried("lost", [("cpu:vcpu-second", "3")])


def cells(world: World, book: PriceBook, deliveries: int = 100, months: str = "1") -> list[PricedCell]:
    return price_cells(world.ws, BENCHMARK, book, deliveries_per_output=deliveries, storage_months=Decimal(months))


def test_a_cell_costs_every_attempt_its_deliveries_and_its_storage(world: World, book: PriceBook):
    world.cell(A, LOST, Tried("completed", [("cpu:vcpu-second", "2")]), output_bytes=5_000_000)
    (cell,) = cells(world, book, deliveries=100, months="3")
    assert cell.output_compute == Decimal("0.002")
    assert (cell.other_compute, cell.lost_compute) == (0, Decimal("0.003"))
    assert cell.egress == Decimal("0.045")  # 0.005 GB x 100 x 0.09 USD
    assert cell.storage == Decimal("0.0003")  # 0.005 GB x 3 months x 0.02 USD
    assert cell.cost == Decimal("0.0503")
    assert cell.attempts == 2
    assert cell.outcome == "success"


def test_the_same_matrix_at_the_public_fargate_rate(world: World):
    used = [("lab-cpu:vcpu-second", "4"), ("lab-cpu:gb-second", "8")]
    world.cell(A, Tried("completed", used), output_bytes=40_000)
    (cell,) = cells(world, PriceBook.load())
    assert cell.output_compute == Decimal("0.000054855556")
    assert cell.egress == Decimal("0.00036")
    assert cell.storage == Decimal("0.00000092")
    assert cell.cost == Decimal("0.000415775556")


def test_only_the_last_completed_attempt_made_the_output(world: World, book: PriceBook):
    world.cell(A, Tried(), Tried("completed", [("cpu:vcpu-second", "7")]), output_bytes=0)
    (cell,) = cells(world, book)
    assert (cell.output_compute, cell.other_compute) == (Decimal("0.007"), Decimal("0.002"))


def test_a_failed_cell_costs_its_attempts_but_nothing_is_delivered(world: World, book: PriceBook):
    world.cell(A, LOST, LOST, status="failed", reason="encoder exited with 1")
    (cell,) = cells(world, book)
    assert (cell.output_compute, cell.other_compute, cell.lost_compute) == (0, 0, Decimal("0.006"))
    assert (cell.egress, cell.storage) == (0, 0)
    assert cell.outcome == "failure"


def test_each_attempt_is_priced_as_of_its_start(world: World, tmp_path: Path):
    change = NOW - timedelta(days=10)
    since, until = "valid_from = 2026-01-01", f"valid_to = {change:%Y-%m-%d}"
    dearer = EASY_PRICES.replace(f'"0.001"\n{since}', f'"0.001"\n{since}\n{until}')
    dearer += '[[price]]\nsku = "cpu:vcpu-second"\nunit = "vcpu-second"\nusd = "0.01"\nsource = "s"\n'
    dearer += f"valid_from = {change:%Y-%m-%d}\n"
    world.cell(A, Tried("lost", started=change - timedelta(seconds=1)), Tried(started=change), output_bytes=0)
    (cell,) = cells(world, book_of(tmp_path, dearer))
    assert (cell.lost_compute, cell.output_compute) == (Decimal("0.002"), Decimal("0.02"))


@pytest.mark.parametrize(
    ("attempts", "more", "reason"),
    [
        ([Tried("completed", [("gpu:second", "2")])], {}, "no price for gpu:second on 2026-11-21"),
        ([Tried("completed", [("cpu:vcpu-second", "worker died")])], {}, "cpu:vcpu-second: worker died"),
        ([Tried("completed", [])], {}, "cpu reports no usage"),
        ([], {}, "no attempt was reported"),
        ([Tried()], {"output_bytes": None}, "the output's size was not recorded"),
        ([], {"status": "pending"}, "the cell was not run"),
        ([], {"status": "failed", "reason": "boom"}, "no attempt was reported"),
    ],
)
def test_a_cost_that_is_not_known_is_missing_with_its_reason(world, book, attempts, more, reason):
    world.cell(A, *attempts, **({"output_bytes": 10} | more))
    (cell,) = cells(world, book)
    assert isinstance(cell.cost, Missing)
    assert reason in cell.cost.reason


def test_one_unpriced_attempt_makes_the_cell_unpriced_however_much_else_is_known(world: World, book: PriceBook):
    world.cell(A, Tried("lost", [("gpu:second", "1")]), Tried(), output_bytes=10)
    (cell,) = cells(world, book)
    assert cell.output_compute == Decimal("0.002")
    assert cell.cost == Missing("no price for gpu:second on 2026-11-21")


@pytest.mark.parametrize("attempts", [[], [Tried("refused", [])]])
def test_a_job_that_was_not_taken_was_never_run_and_costs_nothing(world: World, book: PriceBook, attempts: list[Tried]):
    world.cell(A, *attempts, status="failed", reason="refused: unreadable input")
    (cell,) = cells(world, book)
    assert (cell.outcome, cell.cost) == ("refused", Decimal(0))


def test_what_moderation_turned_down_costs_what_is_said_of_it_and_is_unknown_when_nothing_is(
    world: World, book: PriceBook
):
    silent = Tried("refused", [], no_usage="the target reports no usage")
    world.cell(A, Tried("refused"), status="failed", reason="refused: moderation")
    world.cell(A, silent, status="failed", reason="refused: moderation")
    billed, unknown = cells(world, book)
    assert billed.cost == Decimal("0.002")
    assert unknown.cost == Missing("the target reports no usage")


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        ("completed", None, "success"),
        ("failed", "encoder exited with 1", "failure"),
        ("failed", None, "failure"),
        ("invalid", "output is not decodable", "failure"),
        ("failed", "refused: 422", "refused"),
        ("failed", "unknown: not learnt before the drain limit", "infrastructure"),
        ("failed", "target_lost", "infrastructure"),
        ("failed", "output_fetch: 500", "infrastructure"),
        ("failed", "unauthorised: http_401: no such key", "infrastructure"),
        ("failed", "refused: moderation: http_403: not this", "refused"),
        ("pending", None, "infrastructure"),
        ("running", None, "infrastructure"),
        ("skipped", "skipped: decided", "infrastructure"),
        ("skipped", "early_stop: 3 of 5", "refused"),
        ("cancelled", "asked to stop", "infrastructure"),
    ],
)
def test_what_a_cells_end_says_about_its_variant(status, reason, outcome):
    assert outcome_of(status, reason) == outcome


def test_measurements_join_money_with_the_qualities_of_one_evaluation_set(world: World, book: PriceBook):
    world.evaluation_set("es_2")
    judged = world.cell(A, Tried(), output_bytes=0, quality="91.25")
    world.evaluation("es_2", judged, "10")
    world.cell(A, Tried(), output_bytes=0, quality="judge gave up", total_ms=None)
    world.cell(B, Tried(), output_bytes=0)
    world.cell(B, LOST, status="failed", reason="boom")
    first, second, third, fourth = measurements(world.ws, BENCHMARK, JUDGED, book, deliveries_per_output=1)
    assert (first.quality, first.cost_usd, first.total_ms) == (Decimal("91.25"), Decimal("0.002"), Decimal(500))
    assert (first.variant, first.input_id, first.cluster, first.repeat) == (A, "clip-0", "photo-0", 0)
    assert second.quality == Missing("judge gave up")
    assert second.total_ms == Missing("no time was recorded")
    assert third.quality == Missing("not judged")
    assert (fourth.outcome, fourth.quality) == ("failure", Missing("no output: boom"))
    assert fourth.cost_usd == Decimal("0.003")


def test_checks_without_a_source_are_no_quality_whoever_wrote_a_number_there(world: World, book: PriceBook):
    judged = world.cell(A, Tried(), output_bytes=0)
    world.evaluation(JUDGED, judged, "100", basis=NO_REFERENCE)
    (only,) = measurements(world.ws, BENCHMARK, JUDGED, book, deliveries_per_output=1)
    assert (only.outcome, only.quality) == ("success", Missing("checks without a source make no quality"))


def test_unknown_benchmarks_sets_and_impossible_numbers_are_refused(world: World, book: PriceBook):
    world.evaluation_set("es_other", benchmark_id="bm_other")
    with pytest.raises(NotFound, match="bm_none"):
        price_cells(world.ws, "bm_none", book, deliveries_per_output=1)
    with pytest.raises(NotFound, match="es_other"):
        measurements(world.ws, BENCHMARK, "es_other", book, deliveries_per_output=1)
    with pytest.raises(InputRefused, match="deliveries_per_output"):
        cells(world, book, deliveries=-1)
    for months in ("-1", "NaN"):
        with pytest.raises(InputRefused, match="storage_months"):
            cells(world, book, months=months)


def test_missing_prices_are_reported_once_per_variant_and_reason(world: World, book: PriceBook):
    for _ in range(3):
        world.cell(A, Tried("completed", [("gpu:second", "2")]), output_bytes=1)
    world.cell(B, Tried(), output_bytes=1)
    world.cell(B, status="cancelled")
    assert price_missing(cells(world, book)) == [
        {"variant": str(A), "reason": "no price for gpu:second on 2026-11-21", "cells": 3}
    ]


def test_the_waterfall_leads_from_the_list_price_to_what_is_paid(world: World, book: PriceBook):
    world.cell(A, Tried(), output_bytes=5_000_000)
    world.cell(A, LOST, Tried(), output_bytes=5_000_000)
    world.cell(A, LOST, status="failed", reason="boom")
    world.cell(B, Tried("completed", [("gpu:second", "2")]), output_bytes=5_000_000)
    own, other = waterfalls(cells(world, book))
    assert (own.variant, own.cells, own.successes, own.attempts) == (A, 3, 2, 4)
    assert [amount for _, amount in own.steps] == [
        Decimal("0.004"),
        Decimal("0.006"),
        Decimal("0.09"),
        Decimal("0.0002"),
    ]
    assert own.total == Decimal("0.1002")
    assert other.egress == Decimal("0.045")
    assert isinstance(other.total, Missing)


def test_cells_that_a_comparison_was_decided_without_cost_nothing(world: World, book: PriceBook):
    world.cell(A, Tried(), output_bytes=0)
    world.cell(A, status="skipped", reason="skipped: decided")
    world.cell(B, status="skipped", reason="skipped: decided")
    own, other = waterfalls(cells(world, book))
    assert (own.cells, own.total) == (2, Decimal("0.002"))
    assert other.total == Missing("no cell was run")


amounts = st.one_of(
    st.decimals(min_value=0, max_value=10**9, places=12),
    st.sampled_from([Missing("no price for x"), Missing("worker died")]),
)
priced_cells = st.lists(
    st.builds(
        PricedCell,
        dispatch_id=st.just("d"),
        variant=st.sampled_from([A, B]),
        input_id=st.just("i"),
        cluster=st.just("c"),
        repeat=st.just(0),
        status=st.just("completed"),
        outcome=st.sampled_from(["success", "failure"]),
        reason=st.none(),
        total_ms=st.just(Decimal(1)),
        attempts=st.integers(0, 3),
        output_compute=amounts,
        other_compute=amounts,
        egress=amounts,
        storage=amounts,
    ),
    max_size=12,
)


@given(priced_cells)
def test_the_steps_of_a_waterfall_are_the_costs_of_its_cells_to_the_last_digit(priced: list[PricedCell]):
    for waterfall in waterfalls(priced):
        own = [cell for cell in priced if cell.variant == waterfall.variant]
        whole = total(cell.cost for cell in own)
        if isinstance(whole, Missing):
            assert isinstance(waterfall.total, Missing)
        else:
            assert waterfall.total == whole == total(amount for _, amount in waterfall.steps)


@given(st.lists(amounts, max_size=8))
def test_a_sum_with_an_unknown_part_is_unknown_and_names_every_reason(parts):
    whole = total(parts)
    reasons = {part.reason for part in parts if isinstance(part, Missing)}
    if reasons:
        assert isinstance(whole, Missing)
        assert all(reason in whole.reason for reason in reasons)
    else:
        assert whole == sum(parts)


def test_of_many_reasons_the_first_are_named_and_the_rest_counted():
    assert total(Missing(f"reason {n}") for n in range(5)) == Missing("reason 0; reason 1; reason 2; and 2 more")


def test_ratios_people_ask_for():
    assert per_success(Decimal("0.30"), 3) == Decimal("0.1")
    assert per_success(Decimal("0.300000000000"), 0) == Missing("no success; more than 0.3 USD each")
    assert per_success(Missing("no price"), 3) == Missing("no price")
    assert per_delivered_view(Decimal("0.1"), 100) == Decimal("0.001")
    assert per_delivered_view(Decimal("0.1"), 0) == Missing("the outputs are not delivered")
    assert per_delivered_view(Missing("no price"), 100) == Missing("no price")
    assert margin(Decimal("0.004"), Decimal("0.001")) == Decimal("0.75")
    assert margin(Decimal("0.001"), Decimal("0.002")) == -1
    assert margin(Decimal("0.004"), Missing("no price")) == Missing("no price")
    with pytest.raises(InputRefused, match="price_per_view_usd"):
        margin(Decimal(0), Decimal("0.001"))
