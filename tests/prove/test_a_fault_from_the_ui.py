"""`pointsman up`, then a fault scenario started in the Prefect UI: a worker carries it out, asking only the lab."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml

from pointsman.scenario import run_status
from pointsman.settings import lab_aws_file, load_settings
from pointsman.workspace import Workspace
from tests.few_inputs import free_ports, variant

pytestmark = [pytest.mark.prove, pytest.mark.e2e, pytest.mark.xdist_group("world"), pytest.mark.timeout(400)]
CHECKOUT = Path(__file__).resolve().parents[2]
WITHIN_S = 200.0
OF_A_PERSON = {
    "AWS_ENDPOINT_URL_FIS": "https://fis.us-east-1.amazonaws.com",
    "AWS_ACCESS_KEY_ID": "of-a-person",
    "AWS_SECRET_ACCESS_KEY": "of-a-person",
}


class Up:
    """What `up` started, as commands and Prefect's API show it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        prefect_port, lab_port = free_ports(2)
        self.api = f"http://127.0.0.1:{prefect_port}/api"
        self.tell("up", "--prefect-port", str(prefect_port), "--lab-port", str(lab_port))

    def tell(self, *argv: str) -> Any:
        dropped = ("AWS_ENDPOINT_URL", "PREFECT_API_URL", "STUDIO_EXECUTOR_SECRET")
        environ = {name: value for name, value in os.environ.items() if name not in dropped}
        done = subprocess.run(
            [sys.executable, "-c", "from service.cli import run; run()", *argv, "--json"],
            capture_output=True,
            text=True,
            check=False,
            cwd=CHECKOUT,
            env={**environ, **OF_A_PERSON, "POINTSMAN_HOME": str(self.home)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def run_deployment(self, name: str, request: dict[str, Any]) -> str:
        """The type of the state that the flow run ends in."""
        deployed = httpx.get(f"{self.api}/deployments/name/{name}").raise_for_status().json()["id"]
        body = {"parameters": {"request": request}, "state": {"type": "SCHEDULED"}}
        made = httpx.post(f"{self.api}/deployments/{deployed}/create_flow_run", json=body).raise_for_status().json()
        flow_run_id, until = UUID(made["id"]), time.monotonic() + WITHIN_S
        while time.monotonic() < until:
            state = httpx.get(f"{self.api}/flow_runs/{flow_run_id}").json()["state"]
            if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return str(state["type"])
            time.sleep(1)
        raise AssertionError(state)

    def artifacts(self, key: str) -> list[str]:
        asked = {"artifacts": {"key": {"any_": [key]}}}
        found = httpx.post(f"{self.api}/artifacts/filter", json=asked).raise_for_status().json()
        return [str(one["data"]) for one in found]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started: Up | None = None
    try:
        started = Up(tmp_path)
        yield started
    finally:
        if started is not None:
            assert "aws" in started.tell("down")["stopped"]
            assert not lab_aws_file(tmp_path).exists()


def test_the_shipped_fault_file_completes_as_a_deployment(up: Up) -> None:
    scenario = yaml.safe_load((CHECKOUT / "lab" / "scenarios" / "phase01-fault.yaml").read_text())
    request = {
        "scenario": scenario,
        "variant": variant("x264-veryfast-crf23"),
        "input_set": "lab-photographs-v1",
        "run_id": "from-the-ui",
    }
    assert up.run_deployment("run-scenario/local", request) == "COMPLETED"
    told = run_status(Workspace.open(load_settings(home=up.home), actor="a test"), "from-the-ui")
    (fault,) = [stage["fault"] for stage in told["stages"] if "fault" in stage]
    assert told["status"] == "completed"
    assert (fault["state"], fault["verdict"]) == ("completed", "happened")
    assert fault["fis_experiment_arn"].startswith("arn:aws:fis:us-east-1:123456789012:experiment/")
    assert fault["effect"]["effective"]
    (shown,) = up.artifacts("scenario-progress")
    assert shown.startswith("# Load in progress")
    assert "160 of 160 planned dispatches completed" in shown
