"""Auditing a verdict: it is computed again from stored rows, and whatever was changed since is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pointsman.canonical import canonical_json
from pointsman.decision import audit, audit_document, declared_plans, document_path, read_document
from pointsman.errors import DataCheckFailed
from pointsman.storage import tables
from service.cli.hud import app as hud
from tests.decision.comparisons import Cell
from tests.decision.judged import BENCHMARK, JUDGE, PRICES, SET_ID, Judged


@pytest.fixture(scope="module")
def pattern(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    made = Judged(tmp_path_factory.mktemp("judged"), migrated=migrated)
    made.ws.database.dispose()
    return made


@pytest.fixture
def judged(pattern: Judged, tmp_path: Path) -> Judged:
    return pattern.copied(tmp_path)


def differing(judged: Judged, verdict_id: str) -> set[str]:
    return {check.name for check in audit(judged.ws, verdict_id).checks if not check.agrees}


def test_a_verdict_that_nobody_touched_is_computed_again_byte_by_byte(judged: Judged) -> None:
    stored = judged.conclude()
    assert stored.outcome == "WINNER"
    found = audit(judged.ws, stored.id)
    found.raise_unless_agreed()
    assert {check.name for check in found.checks} >= {"stored data", "stored evidence", "document computed again"}
    assert found.decided_by == judged.plan.code_version
    judged.ws.clock.sleep(1e6)
    assert judged.conclude() == stored, "later it is the same verdict"


def test_the_document_alone_says_what_the_verdict_rests_on(judged: Judged) -> None:
    stored = judged.conclude()
    document = judged.ws.results.read(document_path(stored.id))
    said = read_document(document)
    evidence: Any = said.evidence
    cells = 3 * 8
    assert len(evidence["inputs"]) == 8
    assert {"input_id", "sha256", "bytes", "cluster"} == set(evidence["inputs"][0])
    columns = evidence["attempts"]["columns"]
    attempts = [dict(zip(columns, row, strict=True)) for row in evidence["attempts"]["rows"]]
    assert len(attempts) == cells
    assert attempts[0]["usage"][0][0] == "lab-cpu:vcpu-second"
    assert len(evidence["outputs"]["rows"]) == len(evidence["judgements"]["rows"]) == cells
    assert all("transcript" in scores for *_, scores in evidence["judgements"]["rows"])
    assert {price["sku"] for price in evidence["prices"]} == {"lab-cpu:vcpu-second", "egress:gb", "storage:gb-month"}
    assert evidence["benchmark"]["seed"] == 7
    assert said.plan.judge == JUDGE.as_document()
    assert b"file://" not in document, "addresses change, what lies there does not"
    verdict, checks = audit_document(document)
    assert verdict.outcome == "WINNER"
    assert [check.name for check in checks] == ["plan", "measurements", "inputs", "qualities", "costs"]
    assert all(check.agrees for check in checks)


def a_cheaper_usage(judged: Judged) -> None:
    judged.change(tables.usage, {"quantity": Decimal(1)}, subject_id=f"{judged.dispatch_id((0, 0, 0))}#1")


def a_better_quality(judged: Judged) -> None:
    judged.change(tables.quality_evaluations, {"quality": Decimal(99)}, dispatch_id=judged.dispatch_id((1, 0, 0)))


def another_provider(judged: Judged) -> None:
    judged.change(tables.attempts, {"provider": "elsewhere"}, subject_id=judged.dispatch_id((0, 1, 0)))


def another_output(judged: Judged) -> None:
    judged.change(tables.run_artifacts, {"sha256": "f" * 64}, subject_id=judged.dispatch_id((2, 1, 0)))


def another_input(judged: Judged) -> None:
    judged.change(tables.input_sets, {"members": []})


def another_price(judged: Judged) -> None:
    judged.change(tables.price_book, {"usd": Decimal(7)}, sku="lab-cpu:vcpu-second")


def no_price(judged: Judged) -> None:
    judged.change(tables.price_book, {"book_sha256": "0" * 64})


def another_transcript(judged: Judged) -> None:
    judged.ws.results.write(f"judgements/{judged.dispatch_id((1, 1, 0))}.json", b"{}")


def no_transcript(judged: Judged) -> None:
    judged.ws.results.path(f"judgements/{judged.dispatch_id((1, 1, 0))}.json").unlink()


def output_of(judged: Judged, cell: Cell) -> Path:
    return judged.ws.results.path(f"outputs/{judged.dispatch_id(cell)}")


def an_output_overwritten(judged: Judged) -> None:
    output_of(judged, (1, 3, 0)).write_bytes(b"a nicer picture")


def an_output_gone(judged: Judged) -> None:
    output_of(judged, (1, 3, 0)).unlink()


def an_output_nobody_can_find(judged: Judged) -> None:
    judged.change(tables.run_artifacts, {"run_id": "bm_other"}, subject_id=judged.dispatch_id((1, 3, 0)))


def an_output_of_another_store(judged: Judged) -> None:
    judged.change(tables.run_artifacts, {"uri": "s3://elsewhere/x"}, subject_id=judged.dispatch_id((1, 3, 0)))


def another_plan(judged: Judged) -> None:
    (plan,) = declared_plans(judged.ws, BENCHMARK)
    easier = {**plan.as_document(), "min_saving": 0.01}
    judged.ws.results.write(f"verdict-plans/{BENCHMARK}.json", canonical_json([easier]))


def no_plan(judged: Judged) -> None:
    judged.ws.results.path(f"verdict-plans/{BENCHMARK}.json").unlink()


def another_outcome(judged: Judged) -> None:
    judged.change(tables.verdicts, {"outcome": "EQUIVALENT", "winner": None})


def another_route(judged: Judged) -> None:
    judged.change(tables.verdicts, {"route_key": "er:other:env:lab:stage:demo"})


def another_plan_named(judged: Judged) -> None:
    judged.change(tables.verdicts, {"plan_sha256": "f" * 64})


def another_judge(judged: Judged) -> None:
    identity = {**JUDGE.as_document(), "model": "a-kinder-one"}
    judged.change(tables.evaluation_sets, {"identity": identity}, id=SET_ID)


def no_judgements(judged: Judged) -> None:
    judged.change(tables.evaluation_sets, {"benchmark_id": "bm_other"}, id=SET_ID)


HELD = f"""{PRICES}
[[price]]
sku = "lab-cpu:gb-second"
unit = "gb-hour"
usd = "0.02"
valid_from = 2026-01-01
source = "made up"

[[hosting]]
provider = "lab-cpu"
utilisation = "0.4"
cold_start_s = "20"
jobs_per_start = "10"
minimum_billing_s = "60"
source = "made up"
instance = {{ vcpu-second = "4", gb-second = "16" }}
"""
DATA = {"stored data", "stored evidence", "document computed again"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (a_cheaper_usage, DATA),
        (a_better_quality, DATA),
        (another_provider, DATA - {"stored data"}),
        (another_output, DATA - {"stored data"}),
        (another_input, DATA - {"stored data"}),
        (another_price, {"prices", *DATA}),
        (no_price, {"prices"}),
        (an_output_overwritten, {"outputs"}),
        (an_output_gone, {"outputs"}),
        (an_output_nobody_can_find, {"outputs", *DATA - {"stored data"}}),
        (an_output_of_another_store, {"outputs"}),
        (another_transcript, {"judge's transcripts"}),
        (no_transcript, {"judge's transcripts"}),
        (another_plan, {"plan as declared"}),
        (no_plan, {"plan as declared"}),
        (another_outcome, {"outcome as stored"}),
        (another_route, {"route as stored"}),
        (another_plan_named, {"plan as stored"}),
        (another_judge, {"judge as stored"}),
        (no_judgements, {"stored data"}),
    ],
)
def test_what_was_changed_afterwards_is_named(
    judged: Judged, change: Callable[[Judged], None], named: set[str]
) -> None:
    stored = judged.conclude()
    change(judged)
    assert differing(judged, stored.id) == named
    with pytest.raises(DataCheckFailed, match=next(iter(named))):
        audit(judged.ws, stored.id).raise_unless_agreed()


def test_outputs_that_are_gone_and_those_that_were_changed_are_counted_and_named(judged: Judged) -> None:
    stored = judged.conclude()
    an_output_overwritten(judged)
    for at in range(4):
        output_of(judged, (0, at, 0)).unlink()
    (found,) = (check for check in audit(judged.ws, stored.id).checks if check.name == "outputs")
    assert (found.said, found.found) == ("24 of 24", "19 of 24, 4 gone, 1 changed")
    assert f"changed: {judged.dispatch_id((1, 3, 0))}" in found.why
    assert found.why.startswith("gone: studio_load_test_")


def test_another_document_that_follows_from_itself_is_not_the_one_stored(
    judged: Judged, migrated: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = Judged(tmp_path / "other", seconds=lambda cell: "10", migrated=migrated)
    stored = judged.conclude()
    forged = other.ws.results.read(document_path(other.conclude().id))
    judged.ws.results.write(document_path(stored.id), forged)
    assert {"document as stored", "outcome as stored", "document computed again"} <= differing(judged, stored.id)


def test_a_verdict_of_before_hashes_were_kept_can_still_be_audited(judged: Judged) -> None:
    stored = judged.conclude()
    judged.change(tables.verdicts, {"document_sha256": None})
    assert differing(judged, stored.id) == set()


def test_evidence_whose_qualities_are_not_those_that_were_measured_is_found_out_by_the_document_alone(
    judged: Judged,
) -> None:
    document = json.loads(judged.ws.results.read(document_path(judged.conclude().id)))
    document["evidence"]["judgements"]["rows"][0][1] = "12"
    document["evidence"]["inputs"][0]["bytes"] = 1
    _, checks = audit_document(canonical_json(document) + b"\n")
    assert {check.name for check in checks if not check.agrees} == {"qualities", "inputs"}


@pytest.mark.parametrize(
    "change",
    [
        lambda evidence: evidence["attempts"]["rows"][0][7][0].__setitem__(1, "1"),
        lambda evidence: evidence["attempts"]["rows"].pop(),
        lambda evidence: evidence["prices"][-1].update(usd="9"),
        lambda evidence: evidence["cells"]["rows"].pop(),
        lambda evidence: evidence["cells"]["rows"][0].__setitem__(1, "failed"),
        lambda evidence: evidence["prices"].clear(),
        lambda evidence: evidence["attempts"]["rows"][0].pop(),
    ],
)
def test_costs_that_do_not_follow_from_attempts_and_prices_are_found_out_by_the_document_alone(
    judged: Judged, change: Callable[[Any], None]
) -> None:
    document = json.loads(judged.ws.results.read(document_path(judged.conclude().id)))
    change(document["evidence"])
    _, checks = audit_document(canonical_json(document) + b"\n")
    assert {check.name for check in checks if not check.agrees} == {"costs"}


def test_costs_of_held_instances_lost_attempts_and_unknown_usage_follow_from_the_document(
    migrated: Path, tmp_path: Path
) -> None:
    judged = Judged(tmp_path, migrated=migrated, prices=HELD, rules={"deliveries_per_output": 50})
    again = judged.dispatch_id((1, 2, 0))
    lost = {"id": f"{again}#2", "run_id": BENCHMARK, "subject_id": again, "subject_kind": "cell", "number": 2}
    lost |= {"provider": "lab-cpu", "outcome": "lost", "detail": {"no_usage": "the machine went away"}}
    judged.insert(tables.attempts, [{**lost, "started_at": judged.ws.clock.now()}])
    tokens = {"sku": "gemini:gemini-2.5-flash:output-token"}
    assert judged.change(tables.usage, tokens, subject_id=f"{judged.dispatch_id((2, 3, 0))}#1")
    verdict, checks = audit_document(judged.ws.results.read(document_path(judged.conclude().id)))
    assert all(check.agrees for check in checks), checks
    assert verdict.outcome == "NO_SIGNIFICANT_WINNER", "what is not known has no price"
    audit(judged.ws, judged.conclude().id).raise_unless_agreed()


def test_the_command_prints_each_check_and_fails_when_one_differs(
    judged: Judged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    monkeypatch.setattr("service.cli.hud.open_workspace", lambda: judged.ws)
    run = CliRunner().invoke
    stored = judged.conclude()
    shown = run(hud, ["verify", stored.id])
    assert shown.exit_code == 0
    assert "WINNER: 17 of 17 checks agree" in shown.output
    (tmp_path / "copy.json").write_bytes(judged.ws.results.read(document_path(stored.id)))
    alone = json.loads(run(hud, ["verify", str(tmp_path / "copy.json"), "--json"]).output)
    assert (alone["verified"], len(alone["checks"])) == (True, 5)
    a_cheaper_usage(judged)
    failed = run(hud, ["verify", BENCHMARK, "--json"])
    assert isinstance(failed.exception, DataCheckFailed)
    assert json.loads(failed.output)["verified"] is False
