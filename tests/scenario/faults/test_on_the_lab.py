"""A smoke and a fault file as a person runs them: against the lab, whose AWS really takes its workers away."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pointsman.scenario import read_run
from pointsman.scenario.faults.effect import fault_effect
from pointsman.scenario.faults.evidence import served
from tests.scenario.ledgers import dispatches_of
from tests.world import FEW_INPUTS, LabWorld

pytestmark = [pytest.mark.e2e, pytest.mark.prove, pytest.mark.xdist_group("world")]
CHECKOUT = Path(__file__).resolve().parents[3]
SCENARIOS = CHECKOUT / "lab" / "scenarios"


def run(world: LabWorld, file: Path, run_id: str, *, expected: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from service.cli import run; run()", "scenario", "run", str(file)),
            *("--variant", "x264-veryfast-crf23@lab-cpu", "--input-set", FEW_INPUTS, "--run-id", run_id, "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
        env={**os.environ, "POINTSMAN_HOME": str(world.home)},
    )
    assert done.returncode == expected, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout) if expected == 0 else {"said": done.stderr}
    return found


@pytest.fixture
def no_aws(lab_world: LabWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabWorld]:
    """The lab's AWS is started by the command itself, and ended here."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    from service.cli.world import World

    yield lab_world
    World.load(lab_world.home).stop(["aws"])


def test_the_shipped_files_complete_and_the_fault_shows_where_it_was_and_nowhere_else(
    no_aws: LabWorld, tmp_path: Path
) -> None:
    smoke = run(no_aws, SCENARIOS / "phase01-smoke.yaml", "shipped-smoke")
    assert smoke["status"] == "completed"
    assert smoke["fault_events"] == []

    told = run(no_aws, SCENARIOS / "phase01-fault.yaml", "shipped-fault")
    assert told["status"] == "completed"
    (stage,) = [stage for stage in told["stages"] if "fault" in stage]
    fault = stage["fault"]
    assert re.fullmatch(r"arn:aws:fis:us-east-1:\d{12}:experiment/\w+", fault["fis_experiment_arn"])
    assert all(re.fullmatch(r"i-[0-9a-f]{17}", instance) for instance in fault["target_instance_ids"])
    assert len(fault["target_instance_ids"]) == 2
    assert (fault["state"], fault["verdict"]) == ("completed", "happened")
    assert fault["effect"]["effective"]
    assert fault["effect"]["p95_delta_ms"]["low"] > 2_000, "nothing worked for ten seconds"
    assert fault["effect"]["time_to_detection_s"] < 10
    assert {"running", "happened"} <= {event["event"] for event in told["fault_events"]}
    assert told["counts"]["completed"] == told["counts"]["planned"]

    document = yaml.safe_load((SCENARIOS / "phase01-fault.yaml").read_text())
    document["stages"][1]["fault"]["fault_enabled"] = False
    control = tmp_path / "control.yaml"
    control.write_text(yaml.safe_dump(document))
    quiet = run(no_aws, control, "shipped-control")
    assert quiet["status"] == "completed"
    assert not any("fault" in stage for stage in quiet["stages"])
    ws = no_aws.workspace()
    dispatches = dispatches_of(ws, "shipped-control")
    placebo = fault_effect(served(dispatches, 5, 55), stage_from_s=5, start_s=20, end_s=30, seed=1)
    assert not placebo.effective, placebo


def test_a_fault_that_may_not_be_is_refused_before_anything_is_sent(no_aws: LabWorld, tmp_path: Path) -> None:
    document = yaml.safe_load((SCENARIOS / "phase01-fault.yaml").read_text())
    document["stages"][1]["fault"]["instances"] = 5
    greedy = tmp_path / "greedy.yaml"
    greedy.write_text(yaml.safe_dump(document))
    before = no_aws.accepted()
    refused = run(no_aws, greedy, "greedy", expected=3)
    assert "needs 5 instances" in refused["said"]
    assert no_aws.accepted() == before
    record = read_run(no_aws.workspace(), "greedy")
    assert record.status == "failed"
    assert record.metrics_json["failure"]["code"] == "fault_too_few_instances"
