"""The golden trace: one tiny choose-route, and what each step leaves behind, as DESIGN's table has it."""

from __future__ import annotations

import json
from collections import Counter

import polars as pl
import pytest

from flows.choose_route import choose_route
from flows.rollback_routing import RollbackRoutingRequest, rollback_routing
from pointsman.benchmark import ARTIFACT_TYPE, input_set
from pointsman.decision import declared_plans, document_path, read_document, verify
from pointsman.dispatch import check_conservation, read_counts, read_dispatches
from pointsman.ids import RouteKey
from pointsman.routing import history
from pointsman.scenario import read_run, run_folder
from pointsman.storage import local_path, tables
from pointsman.storage.results import sha256_file
from tests.flows.golden import CHALLENGER, INCUMBENT, PROBE_JOBS, RUN_ID, Golden, artifacts
from tests.world import FEW_INPUTS

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]


def test_prepare_fixes_the_ids_and_declares_the_plan(golden: Golden) -> None:
    prepared = golden.choice.preparation
    assert json.loads(golden.ws.results.read(f"choose-route/{RUN_ID}/plan.json")) == prepared.model_dump(mode="json")
    assert prepared.variants == (INCUMBENT, CHALLENGER)
    assert prepared.expected_generation == golden.flag_before["metadata"]["generation"]
    (plan,) = declared_plans(golden.ws, golden.benchmark_id)
    assert prepared.plan_sha256s == (plan.sha256,)
    assert [str(one) for one in plan.variants] == list(prepared.variants)
    assert (plan.quality_margin, plan.min_saving, plan.swaps) == (10.0, 0.0, 999)


def test_every_candidate_was_put_under_the_same_offered_load(golden: Golden) -> None:
    schedules = []
    for candidate, run_id in golden.choice.preparation.scenario_runs.items():
        record = read_run(golden.ws, run_id)
        assert (record.status, record.parent_run_id, record.variant_id) == ("completed", RUN_ID, candidate)
        folder = run_folder(golden.ws, record)
        for name in ("plan.json", "dispatches-00000.parquet", "attempts-00000.parquet", "summary.json", "results.json"):
            assert (folder / name).is_file(), name
        dispatches = read_dispatches(folder)
        assert set(dispatches["variant"]) == {candidate}
        assert set(dispatches["state"]) == {"completed"}
        counts = record.metrics_json["counts"]
        assert counts["planned"] == counts["sent"] == counts["completed"] == dispatches.height == 4
        check_conservation(*read_counts(folder), closed=True)
        assert record.metrics_json["stages"][0]["p95_ms"] > 0
        schedules.append((dispatches["planned_ns"] - dispatches["planned_ns"][0]).to_list())
    assert len(schedules) == 2
    assert schedules[0] == schedules[1]
    assert len(artifacts(golden.flow_run_id, "scenario-report")) == 2


def test_the_matrix_keeps_every_cell_its_attempts_and_its_output(golden: Golden) -> None:
    inputs = input_set(golden.ws, FEW_INPUTS)
    (run,) = golden.rows(tables.benchmark_matrix_runs, id=golden.benchmark_id)
    assert (run.status, run.parent_run_id) == ("ready", RUN_ID)
    items = golden.rows(tables.benchmark_matrix_run_items, benchmark_id=golden.benchmark_id)
    planned = {(candidate, member.input_id) for candidate in golden.request.variants for member in inputs.members}
    assert {(item.variant_id, item.input_id) for item in items} == planned
    assert len(items) == len(planned) == 16
    assert {item.status for item in items} == {"completed"}
    ids = {item.dispatch_id for item in items}
    attempts = golden.rows(tables.attempts, run_id=golden.benchmark_id, subject_kind="cell")
    at_the_lab = golden.world.lab("POST", "/v1/jobs/status", {"ids": sorted(ids)})["jobs"]
    assert Counter(one.subject_id for one in attempts) == {
        job["dispatch_id"]: len(job["attempts"]) for job in at_the_lab
    }
    usage = golden.rows(tables.usage, run_id=golden.benchmark_id)
    assert {one.subject_id for one in usage} == {one.id for one in attempts}
    kept = golden.rows(tables.run_artifacts, run_id=golden.benchmark_id, artifact_type=ARTIFACT_TYPE)
    assert {one.subject_id for one in kept} == ids
    for one in kept:
        assert sha256_file(local_path(one.uri)) == one.sha256
    assert len(artifacts(golden.flow_run_id, "benchmark-matrix")) == 1


def test_every_output_is_judged_once_by_one_judge(golden: Golden) -> None:
    (evaluation_set,) = golden.rows(tables.evaluation_sets, benchmark_id=golden.benchmark_id)
    assert (evaluation_set.judge, evaluation_set.status) == ("local", "complete")
    judged = golden.rows(tables.quality_evaluations, evaluation_set_id=evaluation_set.id)
    items = golden.rows(tables.benchmark_matrix_run_items, benchmark_id=golden.benchmark_id)
    assert sorted(one.dispatch_id for one in judged) == sorted(item.dispatch_id for item in items)
    assert all(50 < one.quality <= 100 for one in judged)
    assert len(artifacts(golden.flow_run_id, "quality-trust-card")) == 1


def test_the_verdict_holds_its_declared_plan_and_can_be_recomputed(golden: Golden) -> None:
    (row,) = golden.rows(tables.verdicts, benchmark_id=golden.benchmark_id)
    document = golden.ws.results.read(document_path(golden.verdict_id))
    said = read_document(document)
    plan, data, verdict = said.plan, said.data, said.verdict
    assert golden.choice.decided.outcome == verdict.outcome == row.outcome == "WINNER"
    assert str(verdict.winner) == row.winner == CHALLENGER
    assert (plan.sha256,) == golden.choice.preparation.plan_sha256s
    assert row.plan_sha256 == plan.sha256
    assert verify(document)
    kept = pl.read_parquet(golden.ws.results.path(f"verdicts/{golden.verdict_id}/measurements.parquet"))
    assert sorted(kept["dispatch_id"]) == sorted(one.dispatch_id for one in data)
    hud = json.loads(golden.ws.results.read(f"verdicts/{golden.verdict_id}/hud.json"))
    assert {one["variant"] for one in hud["rows"]} == set(golden.request.variants)
    money = json.loads(golden.ws.results.read(f"verdicts/{golden.verdict_id}/money.json"))
    assert {one["variant"] for one in money["variants"]} == set(golden.request.variants)
    (shown,) = artifacts(golden.flow_run_id, "money-hud")
    assert "WINNER" in shown
    assert "From list price to an accepted output" in shown


def test_the_route_moved_to_the_winner_and_routed_jobs_ran_on_it(golden: Golden) -> None:
    moved = golden.choice.moved
    winner = golden.choice.decided.winner
    assert moved is not None
    assert (moved.before, moved.after) == ({INCUMBENT: 100}, {winner: 100})
    assert moved.generation == moved.before_generation + 1
    newest = max(history(golden.ws, RouteKey.parse(golden.world.route_key)), key=lambda one: one.binding.generation)
    assert (newest.binding.generation, newest.status, newest.verdict_id) == (
        moved.generation,
        "active",
        golden.verdict_id,
    )
    assert golden.serving != golden.flag_before
    assert golden.serving["metadata"]["generation"] == moved.generation
    assert winner in golden.serving["variants"].values()
    assert INCUMBENT not in golden.serving["variants"].values()
    assert moved.probe is not None
    assert moved.probe.passed
    assert moved.probe.seen == {winner: PROBE_JOBS}
    assert moved.probe.generations == (moved.generation,)
    (shown,) = artifacts(golden.flow_run_id, "routing-change")
    assert winner in shown
    applied = golden.rows(tables.action_logs, event="routing_applied")
    assert applied[-1].data["verdict_id"] == golden.verdict_id


def test_the_same_run_id_again_continues_instead_of_repeating(golden: Golden) -> None:
    again = choose_route(golden.request)
    assert again == golden.choice
    assert golden.world.accepted() == golden.accepted


def test_a_rollback_puts_the_old_variant_back_and_routed_jobs_prove_it(golden: Golden) -> None:
    generation = golden.choice.moved.generation
    back = rollback_routing(
        RollbackRoutingRequest(
            route_key=golden.world.route_key,
            expected_generation=generation,
            input_set=FEW_INPUTS,
            probe_jobs=2,
            run_id="after-golden",
        )
    )
    assert (back.before, back.after) == ({golden.choice.decided.winner: 100}, {INCUMBENT: 100})
    assert back.probe.passed
    assert back.probe.seen == {INCUMBENT: 2}
    assert back.probe.generations == (generation + 1,)
    assert golden.serving["metadata"]["generation"] == generation + 1
