"""The lab's AWS: what its agent does to workers, and the process as `python -m lab.aws` starts it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from lab.aws.__main__ import main
from lab.aws.agent import Agent
from lab.aws.gaps import LabExperiment
from pointsman.clock import ManualClock
from tests.lab.running import CHECKOUT, Backend, backend_environment


class Told:
    """Workers that only write down what is done to them."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def stop(self, instance_id: str, *, kind: str, at_most_s: float) -> None:
        self.calls.append((kind, instance_id, at_most_s))

    def start(self, instance_id: str) -> None:
        self.calls.append(("start", instance_id))


class Shown:
    """Machines that only write down what they are shown as."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def show(self, instance_id: str, state: str) -> None:
        if state not in self.states[-1:]:
            self.states.append(state)


def experiment(action_id: str, parameters: dict[str, str]) -> LabExperiment:
    action = {"actionId": action_id, "parameters": parameters, "targets": {"Instances": "all"}, "state": {}}
    return LabExperiment(
        account_id="123456789012",
        region_name="us-east-1",
        id="one",
        client_token="token",
        experiment_template_id="template",
        role_arn="arn:aws:iam::123456789012:role/fis",
        targets={"all": {"resourceArns": ["arn:aws:ec2:us-east-1:123456789012:instance/i-1"]}},
        actions={"act": action},
        stop_conditions=[],
        log_configuration=None,
        experiment_options={"actionsMode": "run-all"},
        experiment_report_configuration=None,
        target_account_configurations={},
        creation_time=0.0,
        start_time=0.0,
    )


@pytest.mark.parametrize(
    ("action_id", "parameters", "kind", "lasts_s", "shown"),
    [
        ("stop-instances", {"startInstancesAfterDuration": "PT1M30S"}, "kill", 90, ["stopping", "stopped", "running"]),
        ("send-command", {"duration": "PT20S"}, "freeze", 20, ["frozen", "running"]),
        ("reboot-instances", {}, "kill", 0, ["running"]),
    ],
)
def test_each_action_does_what_it_says_for_as_long_as_it_says(
    action_id: str, parameters: dict[str, str], kind: str, lasts_s: float, shown: list[str]
) -> None:
    service = "aws:ssm" if action_id == "send-command" else "aws:ec2"
    clock, workers, made = ManualClock(), Told(), experiment(f"{service}:{action_id}", parameters)
    machines = Shown()
    agent = Agent({"one": made}, workers, machines, clock)
    states: list[str] = []
    for _ in range(1200):
        agent.step()
        if not states or states[-1] != made.status:
            states.append(made.status)
        if made.status == "completed":
            break
        clock.sleep(0.1)
    assert states == ["pending", "initiating", "running", "completed"]
    assert workers.calls == [(kind, "i-1", lasts_s + 60), ("start", "i-1")]
    assert clock.monotonic() == pytest.approx(lasts_s + 0.3, abs=0.3)
    assert machines.states == shown


def test_a_terminated_machine_stays_away_until_another_takes_its_place() -> None:
    clock, workers, machines = ManualClock(), Told(), Shown()
    made = experiment("aws:ec2:terminate-instances", {})
    agent = Agent({"one": made}, workers, machines, clock)
    while made.status != "completed":
        agent.step()
        clock.sleep(0.1)
    assert machines.states == ["shutting-down", "terminated"]
    assert workers.calls == [("kill", "i-1", 90)]
    clock.sleep(29)
    agent.step()
    assert machines.states[-1] == "terminated"
    clock.sleep(1)
    agent.step()
    assert machines.states[-1] == "running"
    assert workers.calls[-1] == ("start", "i-1")


def test_the_process_serves_a_group_whose_instances_own_the_workers_and_ends_well(
    backend: Backend, tmp_path: Path
) -> None:
    url_file = tmp_path / "lab" / "aws-url"
    argv = ["--port", "0", "--effects-url", str(backend.client.base_url).rstrip("/"), "--url-file", str(url_file)]
    process = subprocess.Popen(
        [sys.executable, "-m", "lab.aws", *argv],
        env=backend_environment(),
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "ready"
        assert url.startswith("http://127.0.0.1:")
        assert url_file.read_text() == url
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert httpx.post(f"{url}/lab/endings", json=["failed"]).status_code == 204
        assert httpx.post(f"{url}/lab/endings", json=["melted"]).status_code == 422
        keys = {"aws_access_key_id": "of-a-test", "aws_secret_access_key": "of-a-test", "region_name": "us-east-1"}
        fleet = boto3.client("autoscaling", endpoint_url=url, **keys)
        (group,) = fleet.describe_auto_scaling_groups(AutoScalingGroupNames=["lab-cpu"])["AutoScalingGroups"]
        owned = backend.client.get("/v1/instances").json()["instances"]
        assert [one["InstanceId"] for one in group["Instances"]] == [
            one["instance_id"] for one in owned if one["provider"] == "lab-cpu"
        ]
        fis = boto3.client("fis", endpoint_url=url, **keys)
        assert fis.get_safety_lever(id="default")["safetyLever"]["state"]["status"] == "disengaged"
        template = fis.get_experiment_template(id="lab-stop-workers")["experimentTemplate"]
        assert template["actions"]["stop"]["actionId"] == "aws:ec2:stop-instances"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert not url_file.exists()
        process.stdout.close()


@pytest.mark.parametrize(
    ("url", "secret", "code", "said"),
    [
        ("http://127.0.0.1:9", "s", 4, "does not answer"),
        ("http://10.0.0.1", "s", 2, "--effects-url"),
        ("http://127.0.0.1", "", 2, "STUDIO_EXECUTOR_SECRET"),
    ],
)
def test_the_process_says_what_it_misses(
    url: str,
    secret: str,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("STUDIO_EXECUTOR_SECRET", secret)
    assert main(["--port", "0", "--effects-url", url, "--url-file", str(tmp_path / "url")]) == code
    assert said in capsys.readouterr().err
