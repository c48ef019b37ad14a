"""Gates besides success, quality and cost: refusals, single scores, latency, capacity; and EQUIVALENT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pointsman.decision import VerdictPlan, audit, decide, document_path, read_document, read_hud
from pointsman.decision.hud_report import hud_table
from pointsman.decision.service import Service, p95_of_all
from pointsman.dispatch.attempts import ATTEMPTS_SCHEMA
from pointsman.errors import InputRefused
from pointsman.model import Gate, Measurement, Missing, Variant, Verdict
from pointsman.scenario import Scenario, Stage, read_run, run_folder
from pointsman.storage import tables
from tests.decision.comparisons import measured, plan, variant, wobble
from tests.decision.judged import Judged
from tests.decision.test_hud import hud_of
from tests.economics.test_experiment import attempts
from tests.scenario.ledgers import ended_run


def gates(verdict: Verdict, number: int = 1) -> dict[str, Gate]:
    return {gate.name: gate for gate in verdict.gates if gate.challenger == variant(number)}


def half_price(declared: VerdictPlan, **changes: Any) -> list[Measurement]:
    return measured(declared, cost=lambda cell: "0.005" if cell[0] == 1 else "0.01", **changes)


def with_scores(data: list[Measurement], ssim: Mapping[int, str]) -> list[Measurement]:
    by_way = {variant(number): Decimal(score) for number, score in ssim.items()}
    return [replace(cell, scores=(("ssim", by_way[cell.variant]),)) for cell in data]


def test_the_declared_order_is_the_order_of_the_gates() -> None:
    every = {"refusal_margin": 0.1, "scores": {"ssim": 0.01}, "p95_limit_ms": 5000, "peak_per_s": 2}
    declared = plan(challengers=1, **every)
    assert declared.order == ("success", "refusals", "quality", "ssim", "latency", "capacity", "cost")
    services = {variant(1): Service(capacity_per_s=Decimal(3))}
    data = with_scores(half_price(declared), {0: "0.98", 1: "0.98"})
    verdict = decide(declared, data, services)
    assert verdict.winner == variant(1)
    assert tuple(gates(verdict)) == declared.order
    turned = replace(declared, order=declared.order[::-1])
    assert tuple(gates(decide(turned, data, services))) == declared.order[::-1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("order", ("success", "cost")),
        ("order", ("success", "quality", "cost", "latency")),
        ("scores", {"cost": 1.0}),
        ("scores", {"a b": 1.0}),
        ("scores", {"ssim": -1.0}),
        ("scores", 3),
        ("refusal_margin", 2),
        ("p95_limit_ms", 0),
        ("peak_per_s", 0),
        ("headroom", 0.5),
    ],
)
def test_nonsense_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    with pytest.raises(InputRefused) as refused:
        plan(**{field: value})
    assert field in refused.value.field


def test_a_challenger_that_is_refused_more_often_fails_even_when_its_success_rate_would_do() -> None:
    declared = plan(challengers=1, clusters=20, success_margin=0.5, quality_margin=60, refusal_margin=0.05)
    failing = half_price(declared, failed=lambda cell: cell[0] == 1 and cell[1] < 3)
    assert decide(declared, failing).outcome == "WINNER", "failures are not refusals"
    refused = [replace(cell, outcome="refused") if cell.outcome == "failure" else cell for cell in failing]
    verdict = decide(declared, refused)
    assert verdict.outcome == "NO_SIGNIFICANT_WINNER"
    gate = gates(verdict)["refusals"]
    assert gate.estimate == pytest.approx(0.15)
    assert "refused jobs +15.00 points of a hundred" in gate.why
    assert not gates(verdict)["cost"].asked


def test_a_single_score_that_is_lower_by_more_than_its_margin_fails() -> None:
    declared = plan(challengers=1, scores={"ssim": 0.01})
    data = half_price(declared)
    assert decide(declared, with_scores(data, {0: "0.98", 1: "0.975"})).outcome == "WINNER"
    worse = decide(declared, with_scores(data, {0: "0.98", 1: "0.95"}))
    assert "fails the ssim gate: mean ssim -0.03 against the incumbent" in worse.why
    absent = decide(declared, data)
    assert absent.outcome == "INSUFFICIENT_DATA"
    assert "not each of ssim" in absent.why
    nonsense = [replace(cell, scores=(("ssim", Decimal("NaN")),)) for cell in data]
    assert decide(declared, nonsense).outcome == "INVALID"


def test_a_p95_above_the_slo_fails_and_what_is_not_known_does_not_pass() -> None:
    declared = plan(challengers=1, p95_limit_ms=1000)
    data = half_price(declared)
    run = ("run",)

    def under_load(p95: Decimal | Missing) -> Verdict:
        services = {variant(0): Service(Decimal(1), load_runs=run), variant(1): Service(p95, load_runs=run)}
        return decide(declared, data, services)

    assert under_load(Decimal(1000)).outcome == "WINNER"
    slow = under_load(Decimal(1001))
    assert "fails the latency gate: p95 under load 1001 ms; at most 1000 ms: it does not hold" in slow.why
    assert "not measured (the run failed)" in under_load(Missing("the run failed")).why
    missing = decide(declared, data, {variant(0): Service(Decimal(1), load_runs=run)})
    assert "cannot pass the latency gate: p95 under load not measured (no load test)" in missing.why


def test_without_any_load_test_the_p95_is_that_of_the_cells_and_one_without_output_took_longest() -> None:
    declared = plan(challengers=1, clusters=20, p95_limit_ms=1000, success_margin=0.5, quality_margin=60)
    slow = {(1, at, 0): {"total_ms": Decimal(1001)} for at in range(2)}
    assert decide(declared, half_price(declared, changed={(1, 0, 0): slow[1, 0, 0]})).outcome == "WINNER"
    verdict = decide(declared, half_price(declared, changed=slow))
    assert "p95 of its cells 1001 ms" in gates(verdict)["latency"].why
    failing = decide(declared, half_price(declared, failed=lambda cell: cell[0] == 1 and cell[1] < 2))
    assert "18 of 20 completed; 95 % are needed" in gates(failing)["latency"].why


def test_the_p95_of_nothing_is_not_known() -> None:
    assert isinstance(p95_of_all([], 0), Missing)
    assert p95_of_all([Decimal(at) for at in range(1, 101)], 100) == 95


def test_a_capacity_below_the_peak_with_headroom_fails_and_one_that_was_never_searched_too() -> None:
    declared = plan(challengers=2, peak_per_s=10, headroom=1.5)
    data = measured(declared, cost=lambda cell: "0.005" if cell[0] else "0.01")
    services = {variant(1): Service(capacity_per_s=Decimal(15)), variant(2): Service(capacity_per_s=Decimal("14.9"))}
    verdict = decide(declared, data, services)
    assert verdict.winner == variant(1)
    assert "at least 10 x 1.5 = 15 per second: it does not hold" in gates(verdict, 2)["capacity"].why
    unknown = decide(declared, data)
    assert unknown.outcome == "NO_SIGNIFICANT_WINNER"
    assert gates(unknown)["capacity"].estimate is None
    assert "no capacity search" in unknown.why


def test_equal_within_the_margins_is_equivalent_and_says_by_what() -> None:
    declared = plan(challengers=2, clusters=12, refusal_margin=0.1)
    noise = lambda cell: wobble(cell, 0.01)  # noqa: E731
    data = measured(declared, cost=lambda cell: 0.01 * noise(cell), quality=lambda cell: 90 * noise(cell))
    verdict = decide(declared, data)
    assert (verdict.outcome, verdict.winner) == ("EQUIVALENT", None)
    assert "2 challengers are shown to differ from the incumbent by less than" in verdict.why
    assert "cost by 5 %, quality by 2 points, success by 2 points of a hundred, refusals by 0.1" in verdict.why


@pytest.mark.parametrize(
    "worse",
    [
        {"cost": lambda cell: "0.0106" if cell[0] == 2 else "0.01"},
        {"quality": lambda cell: "87" if cell[0] == 2 else "90"},
        {"quality": lambda cell: "93" if cell[0] == 2 else "90"},
        {"failed": lambda cell: cell == (2, 3, 0)},
        {"cost": lambda cell: 0.01 * wobble(cell, 0.5)},
        {"changed": {(2, 0, 0): {"cost_usd": Missing("no price")}}},
    ],
)
def test_one_challenger_that_differs_or_may_differ_is_enough_not_to_be_equivalent(worse: Any) -> None:
    declared = plan(challengers=2, clusters=12)
    verdict = decide(declared, measured(declared, **worse))
    assert verdict.outcome == "NO_SIGNIFICANT_WINNER"


def test_without_margins_nothing_is_equivalent() -> None:
    declared = plan(clusters=12, min_saving=0.0)
    assert decide(declared, measured(declared)).outcome == "NO_SIGNIFICANT_WINNER"


def test_a_stored_verdict_names_the_searches_and_scores_it_was_drawn_from(migrated: Path, tmp_path: Path) -> None:
    rules = {"peak_per_s": 2.0, "scores": {"criteria.identity": 0.5}, "p95_limit_ms": 300.0}
    judged = Judged(tmp_path, rules=rules, scores=lambda cell: {"criteria": {"identity": 4}}, migrated=migrated)
    search(judged, "search-1", "3.5")
    stored = judged.conclude()
    assert stored.outcome == "WINNER"
    said = read_document(judged.ws.results.read(document_path(stored.id)))
    assert said.services[variant(1)] == Service(capacity_per_s=Decimal("3.5"), capacity_id="search-1")
    assert {cell.scores for cell in said.data} == {(("criteria.identity", Decimal(4)),)}
    search(judged, "search-2", "1")
    assert judged.conclude() == stored, "a later search does not change what was decided"
    audit(judged.ws, stored.id).raise_unless_agreed()
    judged.change(tables.capacities, {"per_s": Decimal(9)}, id="search-1")
    differing = {check.name for check in audit(judged.ws, stored.id).checks if not check.agrees}
    assert differing == {"stored data", "document computed again"}


def search(judged: Judged, search_id: str, per_s: str) -> None:
    judged.ws.clock.sleep(60)
    now = judged.ws.clock.now()
    judged.insert(
        tables.capacities,
        [
            {"id": search_id, "variant_id": str(variant(1)), "settings": {"slos": []}, "steps": [], "why": "found"}
            | {"per_s": Decimal(per_s), "high_per_s": None, "created_at": now, "ended_at": now}
        ],
    )


def test_an_output_that_is_worth_nothing_has_no_single_score_and_is_no_lack_of_data(
    migrated: Path, tmp_path: Path
) -> None:
    broken = (2, 3, 0)
    judged = Judged(
        tmp_path,
        rules={"scores": {"ssim": 0.01}},
        quality=lambda cell: "0" if cell == broken else "90",
        scores=lambda cell: {"decodable": False} if cell == broken else {"ssim": 0.98},
        migrated=migrated,
    )
    stored = judged.conclude()
    assert (stored.outcome, stored.winner) == ("WINNER", judged.ways[1])
    said = read_document(judged.ws.results.read(document_path(stored.id)))
    (own,) = (cell for cell in said.data if cell.dispatch_id == judged.dispatch_id(broken))
    assert own.scores == (("ssim", Decimal(0)),)


def test_a_provider_that_queues_without_errors_is_caught_by_the_latency_gate(migrated: Path, tmp_path: Path) -> None:
    """It answers 2 jobs a second at half the price and is offered 4: no job fails, each waits longer than the last."""
    declared = {"p95_limit_ms": 2_000.0}
    judged = Judged(tmp_path, challengers=1, rules=declared, migrated=migrated)
    steady = Scenario(name="steady", stages=(Stage(name="all", rate=4, duration_s=30),))
    arrived = np.arange(120) / 4.0
    left = np.maximum.accumulate(arrived - 0.5 * np.arange(120)) + 0.5 * (np.arange(120) + 1)
    for number, took_ms in ((0, np.full(120, 400.0)), (1, 1000 * (left - arrived))):
        way = Variant(variant(number), "lab")
        ended_run(judged.ws, steady, run_id=f"load-{number}", variant=way, took_ms=took_ms)
        folder = run_folder(judged.ws, read_run(judged.ws, f"load-{number}"))
        pl.DataFrame(schema=ATTEMPTS_SCHEMA).write_parquet(folder / "attempts-00000.parquet")
        judged.change(tables.load_test_runs, {"parent_run_id": "run-1"}, id=f"load-{number}")
    stored = judged.conclude()
    said = read_document(judged.ws.results.read(document_path(stored.id)))
    assert stored.outcome == "NO_SIGNIFICANT_WINNER"
    assert {cell.outcome for cell in said.data} == {"success"}
    assert 400 <= said.services[variant(0)].p95_ms < 402
    assert said.services[variant(1)].p95_ms > 20_000
    assert "fails the latency gate: p95 under load" in said.verdict.why
    audit(judged.ws, stored.id).raise_unless_agreed()


def test_a_load_test_that_was_stopped_is_paid_for_and_makes_no_latency_known(migrated: Path, tmp_path: Path) -> None:
    judged = Judged(tmp_path, challengers=1, rules={"p95_limit_ms": 2_000.0}, migrated=migrated)
    steady = Scenario(name="steady", stages=(Stage(name="all", rate=4, duration_s=30),))
    ended_run(judged.ws, steady, run_id="load-1", variant=Variant(variant(1), "lab"), took_ms=np.full(120, 400.0))
    folder = run_folder(judged.ws, read_run(judged.ws, "load-1"))
    attempts(("completed", "lab-cpu:vcpu-second", "3000", None)).write_parquet(folder / "attempts-00000.parquet")
    judged.change(tables.load_test_runs, {"parent_run_id": "run-1", "status": "failed"}, id="load-1")
    stored = judged.conclude()
    why = read_document(judged.ws.results.read(document_path(stored.id))).verdict.why
    assert "cannot pass the latency gate" in why
    assert "load-test run load-1 is failed" in why
    assert read_hud(judged.ws, stored.id)["experiment_cost_usd"]["load"] == "3"
    audit(judged.ws, stored.id).raise_unless_agreed()


def test_a_challenger_that_only_lacks_a_capacity_search_is_recommended_one() -> None:
    declared = plan(challengers=1, peak_per_s=10)
    data = half_price(declared)
    commands = [one["command"] for one in hud_of(declared, data)["recommendations"]]
    assert f"pointsman scenario capacity --variant {variant(1)}" in commands
    (shown,) = (one for one in hud_of(declared, data)["rows"] if one["role"] == "candidate")
    assert shown["gates"]["capacity"] == "not known"
    assert hud_table(hud_of(declared, data)).rows[-1][-1] == "capacity not known"
