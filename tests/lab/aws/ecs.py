"""What the tests of the lab's ECS ask of it: real boto3 clients, and containers that are a few lines of Python."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
from botocore.config import Config

from tests.lab.running import CHECKOUT, alive, backend_environment, eventually

LOGS = {
    "logDriver": "awslogs",
    "options": {
        "awslogs-group": "/ecs/of-tests",
        "awslogs-create-group": "true",
        "awslogs-region": "us-east-1",
        "awslogs-stream-prefix": "ecs",
    },
}

WAITING = "import time; print('here', flush=True); time.sleep(60)"
GRACEFUL = """
import signal, subprocess, sys, time
def drain(number, frame):
    print('drained', flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, drain)
engine = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', sys.argv[0]], start_new_session=True)
print('engine', engine.pid, flush=True)
print('here', flush=True)
time.sleep(60)
"""


@dataclass
class LabEcs:
    process: subprocess.Popen[str]
    url: str
    clients: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def start(cls, effects_url: str, folder: Path, **env: str) -> LabEcs:
        """With its address file in `folder`, and this in its environment besides."""
        argv = ["--port", "0", "--effects-url", effects_url, "--url-file", str(folder / "aws-url")]
        process = subprocess.Popen(
            [sys.executable, "-m", "lab.aws", *argv],
            env={**backend_environment(), "A_SECRET_OF_THE_HOST": "for nobody", **env},
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "ready"
        running = cls(process, url)
        running.client("ecs").create_cluster(clusterName="default")
        return running

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def end_with_a_task_running(self, number: signal.Signals, folder: Path) -> int:
        """End the process by this signal; nothing of its tasks may be left, nor of their folders in `folder`."""
        mark = str(uuid4())
        arn = self.run(f"'{mark}'{GRACEFUL}", logConfiguration=LOGS)
        self.says(arn, "here")
        engine = int(self.log(arn)[0].split()[1])
        assert processes_with(mark)
        assert alive(engine)
        assert list(folder.glob("pointsman-lab-ecs-*"))
        code = self.end(number)
        eventually(lambda: not processes_with(mark) and not alive(engine), 5)
        eventually(lambda: not list(folder.glob("pointsman-lab-ecs-*")), 5)
        return code

    def client(self, service: str) -> Any:
        if service not in self.clients:
            self.clients[service] = boto3.client(
                service,
                endpoint_url=self.url,
                region_name="us-east-1",
                aws_access_key_id="of-a-test",
                aws_secret_access_key="of-a-test",
                # One call is one call: what is refused is not repeated.
                config=Config(retries={"total_max_attempts": 1}),
            )
        return self.clients[service]

    def faults(self, *faults: dict[str, Any]) -> httpx.Response:
        return httpx.post(f"{self.url}/lab/ecs/faults", json=list(faults))

    def register(self, code: str | None, **container: Any) -> str:
        command = {} if code is None else {"command": ["python", "-c", code]}
        made = self.client("ecs").register_task_definition(
            family=f"of-a-test-{uuid4()}",
            containerDefinitions=[{"name": "prefect", "image": "image:1", **command, **container}],
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
        )
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def request(self, definition: str, **rest: Any) -> dict[str, Any]:
        """What prefect-aws sends: Fargate in a subnet of the default VPC."""
        subnet = self.client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]
        network = {"subnets": [subnet], "assignPublicIp": "ENABLED", "securityGroups": []}
        return {
            "taskDefinition": definition,
            "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": network},
            **rest,
        }

    def run(self, code: str | None, *, overrides: Mapping[str, Any] | None = None, **container: Any) -> str:
        """Register a definition and run it once: the task's ARN."""
        definition = self.register(code, **container)
        named = {"containerOverrides": [{"name": "prefect", **overrides}]} if overrides else {}
        answer = self.client("ecs").run_task(**self.request(definition, overrides=named))
        assert answer["failures"] == []
        return str(answer["tasks"][0]["taskArn"])

    def task(self, arn: str) -> dict[str, Any]:
        (found,) = self.client("ecs").describe_tasks(tasks=[arn], include=["TAGS"])["tasks"]
        return dict(found)

    def until(self, arn: str, *states: str, within_s: float = 15.0) -> dict[str, Any]:
        eventually(lambda: self.task(arn)["lastStatus"] in states, within_s)
        return self.task(arn)

    def log(self, arn: str) -> list[str]:
        """The lines of a task that logs to the group of the tests; none before it has started."""
        stream = f"ecs/prefect/{arn.rpartition('/')[2]}"
        logs = self.client("logs")
        try:
            found = logs.get_log_events(logGroupName="/ecs/of-tests", logStreamName=stream, startFromHead=True)
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in found["events"]]

    def says(self, arn: str, line: str, within_s: float = 15.0) -> None:
        """Wait until the task has printed this line."""
        eventually(lambda: line in self.log(arn), within_s)

    def events(self, arn: str) -> list[dict[str, Any]]:
        """The details of what the queue holds of this task, in their order; those of others are thrown away."""
        sqs = self.client("sqs")
        queue = sqs.get_queue_url(QueueName="prefect-ecs-tasks-events")["QueueUrl"]
        found: list[dict[str, Any]] = []
        while True:
            got = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages", [])
            bodies = [json.loads(message["Body"]) for message in got]
            found += [body for body in bodies if body["detail"]["taskArn"] == arn]
            if not got:
                return found
            for message in got:
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def processes_with(text: str) -> Sequence[int]:
    """Living processes whose command line has this."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                alive = (folder / "stat").read_text().rpartition(") ")[2][0] not in "ZX"
                if alive and text in (folder / "cmdline").read_text():
                    found.append(int(folder.name))
            except OSError:
                continue
    return found
