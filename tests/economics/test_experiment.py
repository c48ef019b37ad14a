"""What finding out cost: the matrix, the judging and the load runs, each from its own records."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman.actions import ActionLog
from pointsman.dispatch import DriveSummary, Percentiles
from pointsman.economics import (
    ExperimentCost,
    PriceBook,
    ensure_month_not_spent,
    experiment_cost,
    load_cost,
    price_cells,
    record_matrix_spending,
)
from pointsman.economics.budget import ensure_within_budget
from pointsman.economics.entries import PriceEntry
from pointsman.economics.hosting import Hosting
from pointsman.errors import GuardRefused, NotFound
from pointsman.model import Missing
from pointsman.safety import Limits
from pointsman.settings import load_settings
from tests.economics.worlds import BENCHMARK, JUDGED, NOW, A, Tried, World

SCHEMA = {
    "dispatch_id": pl.String,
    "number": pl.Int64,
    "provider": pl.String,
    "generation": pl.Int64,
    "outcome": pl.String,
    "started": pl.Datetime("us", "UTC"),
    "ended": pl.Datetime("us", "UTC"),
    "sku": pl.String,
    "quantity": pl.String,
    "missing_reason": pl.String,
    "basis": pl.String,
}


def attempts(*rows: tuple[str, str | None, str | None, str | None], started: datetime = NOW) -> pl.DataFrame:
    """Rows of (outcome, sku, quantity, missing reason)."""
    full: list[dict[str, Any]] = [
        {"dispatch_id": f"d-{n}", "number": 1, "provider": "cpu", "generation": None, "outcome": outcome}
        | {"started": started, "ended": None, "sku": sku, "quantity": quantity, "missing_reason": why, "basis": None}
        for n, (outcome, sku, quantity, why) in enumerate(rows)
    ]
    return pl.DataFrame(full, schema=SCHEMA)


def cost_of(world: World, book: PriceBook, **more: Any) -> ExperimentCost:
    cells = price_cells(world.ws, BENCHMARK, book, deliveries_per_output=100)
    return experiment_cost(world.ws, BENCHMARK, cells, book, **more)


def test_a_load_run_costs_the_sum_of_its_usage_lost_attempts_too(book: PriceBook):
    frame = attempts(
        ("completed", "cpu:vcpu-second", "1.5", None),
        ("lost", "cpu:vcpu-second", "0.25", None),
        ("refused", None, None, None),
    )
    assert load_cost(frame.lazy(), book) == Decimal("0.00175")
    assert load_cost(attempts().lazy(), book) == 0


def test_what_moderation_turned_down_costs_what_its_usage_says(book: PriceBook):
    frame = attempts(("refused", "cpu:vcpu-second", "1.5", None), ("refused", None, None, None))
    assert load_cost(frame.lazy(), book) == Decimal("0.0015")


TOLD = st.decimals(0, 10**6, places=6).map(str) | st.sampled_from(
    ["7", "0.30000000000000004", "1E-7", "2.5E+3", f"1.{'3' * 25}", f"{10**20}", "9999999999999.999999999999999999"]
)


@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["cpu:vcpu-second", "gpu:second"]), TOLD, st.integers(-48, 48)), max_size=30
    )
)
@settings(max_examples=60)
def test_usage_is_added_up_without_rounding_and_priced_as_of_its_time(rows: list[tuple[str, str, int]]):
    def entry(sku: str, usd: str, since: datetime, until: datetime | None) -> PriceEntry:
        return PriceEntry(sku, sku.split(":")[1], Decimal(usd), since, until, "made up")

    begin, change = NOW - timedelta(days=9), NOW.replace(hour=13, minute=7)
    book = PriceBook(
        (
            entry("cpu:vcpu-second", "0.0125", begin, change),
            entry("cpu:vcpu-second", "0.5", change, None),
            entry("gpu:second", "2", begin, None),
        )
    )
    told = [(sku, text, NOW + timedelta(hours=hours)) for sku, text, hours in rows]
    frames = [attempts(("completed", sku, text, None), started=at) for sku, text, at in told]
    with localcontext(prec=100):
        spent = sum(
            (Decimal(text) * (2 if sku == "gpu:second" else Decimal("0.0125" if at < change else "0.5")))
            for sku, text, at in told
        )
        found = load_cost(pl.concat([attempts(), *frames]).lazy(), book)
        assert isinstance(found, Decimal)
        assert abs(found - spent) <= len(told) * Decimal("5e-13")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("completed", None, None, "the target reports no usage"), "the target reports no usage"),
        (("unknown", None, None, None), "cpu reports no usage"),
        (("refused", None, None, "nothing is said of what was moderated"), "nothing is said of what was moderated"),
        (("lost", "cpu:vcpu-second", None, "worker died"), "cpu:vcpu-second: worker died"),
        (("completed", "gpu:second", "1", None), "no price for gpu:second on 2026-11-21"),
    ],
)
def test_a_load_run_with_usage_that_is_not_known_has_no_cost(book: PriceBook, row, reason):
    frame = attempts(("completed", "cpu:vcpu-second", "1", None), row)
    assert load_cost(frame.lazy(), book) == Missing(reason)


def test_the_experiment_is_compute_of_every_attempt_and_of_every_judgement(world: World, book: PriceBook):
    world.cell(A, Tried("lost"), Tried(), output_bytes=10**9, quality="90")
    world.cell(A, status="pending")
    world.evaluation_set("es_abandoned")
    world.evaluation_set("es_elsewhere", benchmark_id="bm_2")
    tokens = [("judge:token", "1000")]
    for set_id in (JUDGED, "es_abandoned", "es_elsewhere"):
        world.attempt(f"{set_id}/d", Tried("completed", tokens), provider="judge", kind="judgement", run_id=set_id)
    world.attempt("es_1/free", Tried("failed", []), provider="local", kind="judgement", run_id=JUDGED)
    token = replace(book.entries[0], sku="judge:token", unit="token", usd=Decimal("0.00001"))
    found = cost_of(world, PriceBook((*book.entries, token)))
    assert found.matrix == Decimal("0.004")  # two attempts of 2 s; no egress, no storage
    assert found.judging == Decimal("0.02")  # two sets of this benchmark, 1,000 tokens each at 0.00001
    assert found.load == 0
    assert found.total == Decimal("0.024")


def test_on_capacity_of_ones_own_an_experiment_costs_its_idle_time_too(world: World, book: PriceBook):
    """As do the budgets that hold it: what is paid, not only what is busy."""
    world.cell(A, Tried("lost"), Tried(), output_bytes=10, quality="90")
    hosted = replace(book, hosting=(Hosting("cpu", Decimal("0.25"), "made up"),))
    assert cost_of(world, hosted).matrix == Decimal("0.016")
    assert record_matrix_spending(world.ws, BENCHMARK, hosted) == Decimal("0.016")
    frame = attempts(("completed", "cpu:vcpu-second", "1.5", None), ("refused", None, None, None))
    assert load_cost(frame.lazy(), hosted) == Decimal("0.006")


def test_what_runs_or_was_cancelled_before_it_was_sent_has_cost_nothing_yet(world: World, book: PriceBook):
    world.cell(A, Tried(), output_bytes=1, quality="90")
    world.cell(A, status="running")
    world.cell(A, status="cancelled", reason="cancelled: before it was sent")
    assert ensure_within_budget(world.ws, BENCHMARK, book, Decimal("0.002")) == Decimal("0.002")
    world.cell(A, Tried(), status="cancelled", reason="cancelled: after it was sent")
    with pytest.raises(GuardRefused, match=r"Spent 0\.004000 USD of a budget of 0\.002 USD"):
        ensure_within_budget(world.ws, BENCHMARK, book, Decimal("0.002"))


def test_what_was_cancelled_on_the_way_and_run_again_was_paid_for_as_well(world: World, book: PriceBook):
    world.cell(A, Tried(), output_bytes=1, quality="90")
    world.attempt("d-cancelled", Tried("lost"), provider="cpu")
    assert cost_of(world, book).matrix == Decimal("0.004")
    world.attempt("d-another", Tried("unknown", [("cpu:vcpu-second", "cancelled")]), provider="cpu")
    assert cost_of(world, book).matrix == Missing("cpu:vcpu-second: cancelled")


def test_an_unpriced_judgement_leaves_the_experiments_cost_unknown(world: World, book: PriceBook):
    world.cell(A, Tried(), output_bytes=1, quality="90")
    world.attempt(
        "d", Tried("unknown", [("judge:token", "timed out")]), provider="judge", kind="judgement", run_id=JUDGED
    )
    found = cost_of(world, book)
    assert found.matrix == Decimal("0.002")
    assert found.judging == Missing("judge:token: timed out")
    assert found.total == Missing("judge:token: timed out")


def test_load_runs_are_read_from_where_they_were_kept(world: World, book: PriceBook):
    none = Percentiles()
    closed = DriveSummary(
        outcome="completed",
        epoch=NOW,
        wall_s=1.0,
        counts={},
        answered={},
        achieved_per_s=1.0,
        queue_ms=none,
        run_ms=none,
        total_ms=none,
        raw_total_ms=none,
        lateness_ms=none,
        interruptions=(),
    )
    for n in (1, 2):
        world.load_run(f"run-{n}", f"lab/steady/t/run-{n}")
        folder = world.ws.results.path(f"lab/steady/t/run-{n}")
        folder.mkdir(parents=True)
        attempts(("completed", "cpu:vcpu-second", str(n), None)).write_parquet(folder / "attempts-00000.parquet")
        (folder / "summary.json").write_text(closed.model_dump_json())
    assert cost_of(world, book, load_run_ids=["run-1", "run-2"]).load == Decimal("0.003")
    assert cost_of(world, book, load_run_ids=["run-2"]).load == Decimal("0.002")
    world.load_run("run-0", "lab/steady/t/run-0")
    unknown = cost_of(world, book, load_run_ids=["run-0", "run-1"]).load
    assert unknown == Missing("the load test run-0 has no closed ledger")
    with pytest.raises(NotFound, match="run-3"):
        cost_of(world, book, load_run_ids=["run-3"])


def test_a_matrix_counts_for_its_month_and_none_is_started_when_that_is_spent(world: World, book: PriceBook):
    limits = Limits.of(load_settings({"POINTSMAN_MAX_MONTH_USD": "0.005"}))
    world.cell(A, Tried(), Tried("lost"))
    assert record_matrix_spending(world.ws, BENCHMARK, book) == Decimal("0.004")
    assert record_matrix_spending(world.ws, BENCHMARK, book) == Decimal("0.004")
    ensure_month_not_spent(world.ws, BENCHMARK, limits)
    world.cell(A, Tried())
    record_matrix_spending(world.ws, BENCHMARK, book)
    with pytest.raises(GuardRefused, match=r"for 2026-11, 0\.01 are spent") as refused:
        ensure_month_not_spent(world.ws, BENCHMARK, limits)
    assert refused.value.code == "over_month_budget"
    (entry,) = ActionLog(world.ws).read()
    assert (entry.event, entry.instruction) == ("budget_exceeded", f"pointsman logs --run {BENCHMARK}")
    world.cell(A, Tried(usage=[("cpu:vcpu-second", "not reported")]))
    assert isinstance(record_matrix_spending(world.ws, BENCHMARK, book), Missing)
    ensure_month_not_spent(world.ws, BENCHMARK, limits)
