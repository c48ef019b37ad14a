"""What a matrix would be: its cells, its cost with an interval, its time, and whether its set is large enough."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.benchmark import register_environment, register_variants
from pointsman.economics import PriceBook
from pointsman.errors import InputRefused
from pointsman.matrix_preview import MatrixPreview, preview_matrix, preview_report
from pointsman.model import InputMember, InputSet, Missing, Variant, VariantLimits
from pointsman.reporting import to_markdown
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.benchmark.samples import VARIANTS
from tests.economics.price_texts import price
from tests.economics.worlds import book_of
from tests.routing.worlds import workspace

ONE, SPOT, OTHER = VARIANTS
RULES = {"alpha": 0.05, "success_margin": 0.02, "quality_margin": 2.0, "min_saving": 0.05, "swaps": 999}
PRICES = price("lab-cpu:vcpu-second", "0.01") + price("lab-spot:job", "0.02")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    ws = workspace(tmp_path)
    register_environment(ws, "lab", name="Lab", kind="local")
    register_variants(ws, VARIANTS)
    return ws


@pytest.fixture
def book(tmp_path: Path) -> PriceBook:
    return book_of(tmp_path, PRICES)


def inputs(count: int, classified: int = 0) -> InputSet:
    return InputSet(
        "set",
        tuple(
            InputMember(f"i{n}", f"file:///i{n}", "0" * 64, 1, f"c{n // 2}", ("faces",) if n < classified else ())
            for n in range(count)
        ),
        "0" * 64,
    )


def ran(ws: Workspace, variant: Variant, vcpu_seconds: list[str], *, total_ms: float = 2000.0) -> None:
    """Past cells of the variant, one on each of so many inputs."""
    runs = tables.benchmark_matrix_runs
    at = ws.clock.now() - timedelta(days=1)
    bm = f"bm_{variant.id.label}"
    run = {"id": bm, "status": "ready", "input_set_id": "s", "environment_id": "lab", "seed": 1, "plan": {}}
    with ws.database.begin() as connection:
        connection.execute(sa.insert(runs).values(**run, plan_sha256="0" * 64, results_path="x", created_at=at))
        for number, used in enumerate(vcpu_seconds):
            dispatch = f"{bm}_{number}"
            item = {"dispatch_id": dispatch, "benchmark_id": bm, "seq": number, "round": 0, "repeat": 0}
            item |= {"variant_id": str(variant.id), "input_id": f"i{number}", "cluster": "c", "status": "completed"}
            connection.execute(
                sa.insert(tables.benchmark_matrix_run_items).values(**item, total_ms=total_ms, ended_at=at)
            )
            attempt = {"id": f"{dispatch}#1", "run_id": bm, "subject_id": dispatch, "subject_kind": "cell", "number": 1}
            attempt |= {"provider": variant.id.provider, "outcome": "completed", "started_at": at, "detail": {}}
            connection.execute(sa.insert(tables.attempts).values(**attempt))
            usage = {"id": f"{dispatch}#1#u", "run_id": bm, "subject_id": f"{dispatch}#1", "basis": "measured"}
            usage |= {"sku": f"{variant.id.provider}:vcpu-second", "quantity": Decimal(used)}
            connection.execute(sa.insert(tables.usage).values(**usage))


def preview(ws: Workspace, book: PriceBook, variants: list[Variant], of: InputSet, **changes: Any) -> MatrixPreview:
    asked: dict[str, Any] = {"repeats": 1, "seed": 1, "round_cells": 6, "in_flight_per_provider": 2}
    asked |= {"rules": RULES, "assumed_saving": 0.3}
    return preview_matrix(ws, variants, of, book, **{**asked, **changes})


def rows(ws: Workspace) -> int:
    with ws.database.connect() as connection:
        kept = (tables.benchmark_matrix_runs, tables.benchmark_matrix_run_items, tables.action_logs)
        return sum(connection.execute(sa.select(sa.func.count()).select_from(one)).scalar_one() for one in kept)


def test_cost_and_time_are_forecast_from_what_was_measured(ws: Workspace, book: PriceBook) -> None:
    ran(ws, ONE, ["1", "2", "3", "2"])
    ran(ws, OTHER, ["4", "4", "4", "4"], total_ms=4000.0)
    before = rows(ws)
    found = preview(ws, book, [ONE, OTHER], inputs(8), repeats=2)
    assert rows(ws) == before, "nothing is written"
    assert (found.cells, found.skipped, found.inputs, found.clusters, found.rounds) == (32, 0, 8, 4, 6)
    assert found.usd == Decimal("0.96")
    one, other = found.variants[1], found.variants[0]
    assert (one.variant, other.variant) == (ONE.id, OTHER.id)
    # t(3 degrees, 90 %) = 2.3534, s = 0.8165 vcpu-seconds at a cent, sqrt(1/4 + 1/8) = 0.6124; 16 cells
    reach = 16 * Decimal("0.01") * Decimal("2.3534") * Decimal("0.81650") * Decimal("0.61237")
    assert isinstance(one.cost.low, Decimal)
    assert abs(one.cost.low - (Decimal("0.32") - reach)) < Decimal("0.0002")
    assert other.cost.low == other.cost.high == Decimal("0.64")
    assert found.low == one.cost.low + other.cost.low
    assert "90 % prediction interval" in one.cost.method
    assert isinstance(found.seconds, Decimal)
    assert 48 < found.seconds <= 60, "16 cells of 2 s and 16 of 4 s at one provider, two at a time, in 6 rounds"
    assert found.document()["cost_usd"]["usd"] == "0.960000000000"


def test_a_variant_that_may_see_no_input_costs_nothing_whatever_it_cost_before(ws: Workspace, book: PriceBook) -> None:
    ran(ws, ONE, ["1", "2"])
    ran(ws, OTHER, ["1", "2"])
    seeing = replace(ONE, data_classes=("faces",))
    found = preview(ws, book, [seeing, OTHER], inputs(4, classified=4))
    blind = next(one for one in found.variants if one.variant == OTHER.id)
    assert (blind.cells, blind.cost.usd, found.cells) == (0, 0, 4)


def test_a_comparison_that_may_be_looked_at_needs_more_inputs(ws: Workspace, book: PriceBook) -> None:
    fixed, looked_at = (
        preview(ws, book, [ONE, OTHER], inputs(4), rules={**RULES, "sequential": sequential}).needed
        for sequential in (False, True)
    )
    assert not isinstance(fixed, Missing)
    assert not isinstance(looked_at, Missing)
    assert looked_at.inputs > fixed.inputs


def test_inputs_are_counted_for_what_earlier_decisions_left_of_the_years_risk(ws: Workspace, book: PriceBook) -> None:
    rules = {**RULES, "alpha_per_year": 0.25}
    whole = preview(ws, book, [ONE, OTHER], inputs(4), rules=rules)
    row = {"route_key": str(ONE.id.route_key), "number": 1, "benchmark_id": "bm_1", "alpha": 0.05}
    with ws.database.begin() as connection:
        day = timedelta(days=7)
        connection.execute(sa.insert(tables.alpha_draws), [{**row, "at": ws.clock.now() - day}])
    left = preview(ws, book, [ONE, OTHER], inputs(4), rules=rules)
    assert (whole.alpha, round(left.alpha, 5)) == (0.05, round(7 * 0.2 / 365, 5))
    assert not isinstance(whole.needed, Missing)
    assert not isinstance(left.needed, Missing)
    assert left.needed.inputs > whole.needed.inputs
    assert "at alpha = 0.0038" in to_markdown(preview_report(left))


def test_limits_of_a_variant_make_a_matrix_longer(ws: Workspace, book: PriceBook) -> None:
    ran(ws, ONE, ["1", "1"])
    for limits, seconds in (
        (VariantLimits(), "8.0"),
        (VariantLimits(in_flight=1), "16.0"),
        (VariantLimits(in_flight=9), "8.0"),
        (VariantLimits(per_s=0.1), "84.0"),
    ):
        assert preview(ws, book, [replace(ONE, limits=limits)], inputs(8)).seconds == Decimal(seconds)


def test_every_round_lasts_as_long_as_its_slowest_provider(ws: Workspace, book: PriceBook) -> None:
    ran(ws, ONE, ["1", "1"], total_ms=1000.0)
    ran(ws, SPOT, ["1", "1"], total_ms=6000.0)
    for round_cells, seconds in ((16, "24.0"), (2, "48.0"), (4, "24.0"), (6, "30.0")):
        found = preview(ws, book, [ONE, SPOT], inputs(8), round_cells=round_cells)
        assert found.seconds == Decimal(seconds), round_cells


def test_a_variant_that_waits_for_its_own_limits_lets_others_pass(ws: Workspace, book: PriceBook) -> None:
    ran(ws, ONE, ["1", "1"], total_ms=4000.0)
    ran(ws, OTHER, ["1", "1"], total_ms=4000.0)
    limited = replace(ONE, limits=VariantLimits(in_flight=1))
    assert preview(ws, book, [limited, OTHER], inputs(8), round_cells=16).seconds == Decimal("32.0")


def test_what_was_never_run_is_not_known_and_never_nothing(ws: Workspace, book: PriceBook) -> None:
    found = preview(ws, book, [ONE, SPOT], inputs(4))
    assert isinstance(found.usd, Missing)
    assert isinstance(found.seconds, Missing)
    assert found.variants[1].cost.usd == Decimal("0.08"), "a job at a provider with a price for jobs"
    document = found.document()
    assert "missing" in document["cost_usd"]["usd"]
    assert "not measured" in to_markdown(preview_report(found))


def test_a_limit_that_is_below_the_forecast_is_said_before_it_stops_anything(ws: Workspace, book: PriceBook) -> None:
    for usd, told in (("0.07", True), ("0.08", False)):
        limited = replace(SPOT, limits=VariantLimits(usd=Decimal(usd)))
        found = preview(ws, book, [limited], inputs(4))
        assert found.document()["variants"][0]["over_limit"] == (
            "it may spend 0.07 USD in one matrix: it would be stopped on the way, and cannot win" if told else None
        )
        assert ("Would be stopped by their limits" in to_markdown(preview_report(found))) is told


def test_cells_that_would_not_be_sent_are_counted_with_the_reason_and_cost_nothing(
    ws: Workspace, book: PriceBook
) -> None:
    seeing = replace(SPOT, data_classes=("faces",))
    found = preview(ws, book, [ONE, seeing], inputs(4, classified=4))
    one, spot = found.variants
    assert (one.variant, one.cells, list(one.skipped.values())) == (ONE.id, 0, [4])
    assert (spot.cells, dict(spot.skipped)) == (4, {})
    assert found.usd == Decimal("0.08")
    assert "may not see" in to_markdown(preview_report(found))


def test_the_inputs_that_are_needed_are_those_of_the_planner_for_the_declared_margins(
    ws: Workspace, book: PriceBook
) -> None:
    found = preview(ws, book, [ONE, SPOT], inputs(8), assumed_saving=0.5)
    assert not isinstance(found.needed, Missing)
    assert (found.needed.inputs, found.needed.power >= 0.8) == (2 * found.needed.clusters, True)
    assert isinstance(preview(ws, book, [ONE], inputs(8)).needed, Missing)
    small = preview(ws, book, [ONE, SPOT], inputs(8), assumed_saving=0.01).needed
    assert isinstance(small, Missing)
    assert "min_saving" in small.reason
    with pytest.raises(InputRefused, match="each only once"):
        preview(ws, book, [ONE, ONE], inputs(8))
