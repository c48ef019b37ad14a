"""A task of the lab's ECS from RunTask to its end: states, exit codes, what its process sees, how it is stopped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from botocore.validate import ParamValidator

from tests.lab.aws.ecs import GRACEFUL, LOGS, WAITING, LabEcs
from tests.lab.running import eventually

pytestmark = pytest.mark.xdist_group("lab-ecs")

PATH = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"]


def test_a_task_walks_all_states_and_tells_of_each(ecs: LabEcs) -> None:
    arn = ecs.run(
        "print('one', flush=True); import sys; print('two', file=sys.stderr); sys.exit(3)", logConfiguration=LOGS
    )
    told = ecs.until(arn, "STOPPED")
    assert (told["desiredStatus"], told["stopCode"]) == ("STOPPED", "EssentialContainerExited")
    assert told["stoppedReason"] == "Essential container in task exited"
    (container,) = told["containers"]
    assert (container["exitCode"], container["lastStatus"], container["name"]) == (3, "STOPPED", "prefect")
    times = ["createdAt", "pullStartedAt", "pullStoppedAt", "startedAt"]
    times += ["stoppingAt", "executionStoppedAt", "stoppedAt"]
    assert [told[one] for one in times] == sorted(told[one] for one in times)
    assert (told["launchType"], told["cpu"], told["memory"]) == ("FARGATE", "256", "512")
    assert ecs.log(arn) == ["one", "two"]
    events = ecs.events(arn)
    assert [event["detail"]["lastStatus"] for event in events] == PATH
    assert [event["detail"]["version"] for event in events] == sorted({one["detail"]["version"] for one in events})
    assert {event["detail-type"] for event in events} == {"ECS Task State Change"}
    assert len({event["id"] for event in events}) == len(PATH)
    assert "exitCode" not in events[3]["detail"]["containers"][0]
    assert events[-1]["detail"]["containers"][0]["exitCode"] == 3
    assert events[-1]["resources"] == [arn]


def test_a_definition_stays_as_it_was_registered(ecs: LabEcs) -> None:
    client, definition = ecs.client("ecs"), ecs.register("pass")
    before = client.describe_task_definition(taskDefinition=definition)["taskDefinition"]
    answer = client.run_task(**ecs.request(definition, count=2))
    assert client.describe_task_definition(taskDefinition=definition)["taskDefinition"] == before
    for task in answer["tasks"]:
        assert ecs.until(task["taskArn"], "STOPPED")["containers"][0]["exitCode"] == 0


def test_what_is_answered_has_the_shapes_of_the_services_model(ecs: LabEcs) -> None:
    client, bodies = ecs.client("ecs"), []

    def hear(http_response, model, **rest):  # type: ignore[no-untyped-def]
        bodies.append((model, json.loads(http_response.content)))

    client.meta.events.register("after-call", hear, unique_id="shapes")
    try:
        arn = ecs.run("pass", overrides={"environment": [{"name": "A", "value": "1"}]})
        client.stop_task(task=arn)
        ecs.until(arn, "STOPPED")
    finally:
        client.meta.events.unregister("after-call", unique_id="shapes")
    assert {model.name for model, _ in bodies} == {"RegisterTaskDefinition", "RunTask", "StopTask", "DescribeTasks"}
    for model, document in bodies:
        for task in [*document.get("tasks", ()), *([document["task"]] if "task" in document else ())]:
            task.update({name: None for name in list(task) if name.endswith("At")})
            for name in [name for name in task if name.endswith("At")]:
                del task[name]
            report = ParamValidator().validate(task, client.meta.service_model.shape_for("Task"))
            assert not report.has_errors(), (model.name, report.generate_report())
            unknown = set(task) - set(client.meta.service_model.shape_for("Task").members)
            assert not unknown, model.name


def test_a_process_sees_its_own_world_and_nothing_else(ecs: LabEcs) -> None:
    vault = ecs.client("secretsmanager")
    plain = vault.create_secret(Name=f"plain-{uuid4()}", SecretString="of the vault")["ARN"]
    keyed = vault.create_secret(Name=f"keyed-{uuid4()}", SecretString='{"url": "postgresql://x", "n": 5}')["ARN"]
    parameter = f"/of-tests/{uuid4()}"
    ecs.client("ssm").put_parameter(Name=parameter, Value="of the store", Type="SecureString")
    code = """
import importlib.util, json, os, urllib.request
ask = lambda path='': json.load(urllib.request.urlopen(os.environ['ECS_CONTAINER_METADATA_URI_V4'] + path))
print(json.dumps({'env': dict(os.environ), 'cwd': sorted(os.listdir('.')), 'home': os.listdir(os.environ['HOME']),
                  'flow': importlib.util.find_spec('flows.run_scenario').origin,
                  'task': ask('/task'), 'container': ask()}))
"""
    arn = ecs.run(
        code,
        logConfiguration=LOGS,
        overrides={"environment": [{"name": "OF_BOTH", "value": "override"}, {"name": "NEW", "value": "2"}]},
        environment=[{"name": "OF_BOTH", "value": "definition"}, {"name": "KEPT", "value": "1"}],
        secrets=[
            {"name": "PLAIN", "valueFrom": plain},
            {"name": "URL", "valueFrom": f"{keyed}:url::"},
            {"name": "N", "valueFrom": f"{keyed}:n:AWSCURRENT:"},
            {"name": "PARAMETER", "valueFrom": parameter},
        ],
    )
    assert ecs.until(arn, "STOPPED")["containers"][0]["exitCode"] == 0, ecs.log(arn)
    (line,) = ecs.log(arn)
    seen = json.loads(line)
    env = seen["env"]
    uri = env["ECS_CONTAINER_METADATA_URI_V4"]
    home = Path(env["HOME"])
    assert env == {
        "PATH": env["PATH"],
        "HOSTNAME": env["HOSTNAME"],
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home.parent / "tmp"),
        "PYTHONPATH": str(home.parent / "app"),
        "OF_BOTH": "override",
        "KEPT": "1",
        "NEW": "2",
        "PLAIN": "of the vault",
        "URL": "postgresql://x",
        "N": "5",
        "PARAMETER": "of the store",
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": ecs.url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{uri}/credentials",
        "ECS_CONTAINER_METADATA_URI_V4": uri,
    }
    assert {"pointsman", "flows", "prefect.yaml"} <= set(seen["cwd"])
    assert not {".pointsman", ".git", "tests", "lab"} & set(seen["cwd"])
    assert seen["home"] == []
    assert seen["flow"].startswith(str(home.parent / "app"))
    assert (seen["task"]["TaskARN"], seen["task"]["KnownStatus"]) in [(arn, "ACTIVATING"), (arn, "RUNNING")]
    assert seen["container"]["Name"] == "prefect"
    eventually(lambda: not home.parent.exists(), 5)


def test_a_task_has_the_credentials_of_its_role(ecs: LabEcs) -> None:
    bucket = f"of-a-test-{uuid4()}"
    ecs.client("s3").create_bucket(Bucket=bucket)
    code = f"import boto3; boto3.client('s3').put_object(Bucket={bucket!r}, Key='a', Body=b'of a task')"
    arn = ecs.run(code, logConfiguration=LOGS)
    assert ecs.until(arn, "STOPPED")["containers"][0]["exitCode"] == 0, ecs.log(arn)
    assert ecs.client("s3").get_object(Bucket=bucket, Key="a")["Body"].read() == b"of a task"


def test_stop_asks_the_first_process_and_ends_what_it_leaves_behind(ecs: LabEcs) -> None:
    arn = ecs.run(GRACEFUL, logConfiguration=LOGS)
    ecs.says(arn, "here")
    engine = int(ecs.log(arn)[0].split()[1])
    assert Path(f"/proc/{engine}").exists()
    assert arn in ecs.client("ecs").list_tasks()["taskArns"]
    answer = ecs.client("ecs").stop_task(task=arn, reason="enough")["task"]
    assert (answer["desiredStatus"], answer["stopCode"], answer["stoppedReason"]) == (
        "STOPPED",
        "UserInitiated",
        "enough",
    )
    again = ecs.client("ecs").stop_task(task=arn.rpartition("/")[2], reason="once more")["task"]
    assert again["stoppedReason"] == "enough"
    told = ecs.until(arn, "STOPPED")
    assert told["containers"][0]["exitCode"] == 0
    assert ecs.log(arn)[-1] == "drained"
    eventually(lambda: not Path(f"/proc/{engine}").exists() or "Z" in Path(f"/proc/{engine}/stat").read_text(), 2)
    assert arn not in ecs.client("ecs").list_tasks()["taskArns"]
    assert arn in ecs.client("ecs").list_tasks(desiredStatus="STOPPED")["taskArns"]
    with pytest.raises(ecs.client("ecs").exceptions.InvalidParameterException, match="not found"):
        ecs.client("ecs").stop_task(task="nobody")


@pytest.mark.parametrize(
    ("code", "exit_code", "stop_timeout"),
    [
        (WAITING, 143, 30),
        ("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + WAITING, 137, 1),
    ],
    ids=["ends by itself", "has to be killed"],
)
def test_a_process_that_hears_no_sigterm_is_killed_after_its_stop_timeout(
    ecs: LabEcs, code: str, exit_code: int, stop_timeout: int
) -> None:
    arn = ecs.run(code, logConfiguration=LOGS, stopTimeout=stop_timeout)
    ecs.says(arn, "here")
    ecs.client("ecs").stop_task(task=arn)
    told = ecs.until(arn, "STOPPED")
    assert told["containers"][0]["exitCode"] == exit_code
    assert told["stoppedReason"] == "Task stopped by user"


def test_a_task_that_is_stopped_before_it_runs_never_starts(ecs: LabEcs) -> None:
    for _ in range(5):  # a slow caller may come too late
        arn = ecs.run("print('started')", logConfiguration=LOGS)
        ecs.client("ecs").stop_task(task=arn)
        told = ecs.until(arn, "STOPPED")
        if "startedAt" not in told:
            break
    assert "startedAt" not in told
    assert told["stopCode"] == "UserInitiated"
    assert "exitCode" not in told["containers"][0]
    assert ecs.log(arn) == []
    seen = [event["detail"]["lastStatus"] for event in ecs.events(arn)]
    assert seen[-2:] == ["DEPROVISIONING", "STOPPED"]
    assert "RUNNING" not in seen


ASM = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ({"command": ["no-such-program"]}, "CannotStartContainerError: .*no-such-program"),
        ({}, "CannotStartContainerError: .*no command"),
        ({"secrets": [{"name": "S", "valueFrom": f"{ASM}none"}]}, "ResourceInitializationError: .*:secret:none"),
        ({"secrets": [{"name": "S", "valueFrom": "/none"}]}, "ResourceInitializationError: .*invalid parameters"),
        (
            {"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "/none"}}},
            "ResourceInitializationError: .*log group.*/none",
        ),
    ],
)
def test_a_task_that_cannot_start_says_why(ecs: LabEcs, definition: dict[str, object], said: str) -> None:
    arn = ecs.run(None, **definition)
    told = ecs.until(arn, "STOPPED")
    assert told["stopCode"] == "TaskFailedToStart"
    assert "exitCode" not in told["containers"][0]
    assert "startedAt" not in told
    assert re.match(said, told["stoppedReason"]), told["stoppedReason"]


def test_a_secret_without_the_key_stops_the_start(ecs: LabEcs) -> None:
    arn = ecs.client("secretsmanager").create_secret(Name=f"keyed-{uuid4()}", SecretString='{"a": "hidden"}')["ARN"]
    task = ecs.run("pass", secrets=[{"name": "S", "valueFrom": f"{arn}:b::"}])
    reason = ecs.until(task, "STOPPED")["stoppedReason"]
    assert "did not contain json key b" in reason
    assert "hidden" not in reason


def test_an_execution_role_that_somebody_made_reads_what_it_may(ecs: LabEcs) -> None:
    iam, name = ecs.client("iam"), f"execution-{uuid4()}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    arn = ecs.client("secretsmanager").create_secret(Name=f"plain-{uuid4()}", SecretString="hidden")["ARN"]
    definition = ecs.register("pass", secrets=[{"name": "S", "valueFrom": arn}])

    def ended() -> dict[str, Any]:
        request = ecs.request(definition, overrides={"executionRoleArn": role})
        return ecs.until(ecs.client("ecs").run_task(**request)["tasks"][0]["taskArn"], "STOPPED")

    told = ended()
    assert (told["stopCode"], "startedAt" in told) == ("TaskFailedToStart", False)
    assert told["stoppedReason"].startswith("ResourceInitializationError: unable to pull secrets")
    assert f"AccessDeniedException: User: {role} is not authorized" in told["stoppedReason"]
    assert arn in told["stoppedReason"]
    allowed = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=policy)
    assert ended()["stopCode"] == "EssentialContainerExited"


def test_an_override_of_another_container_is_refused(ecs: LabEcs) -> None:
    definition = ecs.register("pass")
    with pytest.raises(ecs.client("ecs").exceptions.InvalidParameterException, match="container named other"):
        ecs.client("ecs").run_task(**ecs.request(definition, overrides={"containerOverrides": [{"name": "other"}]}))


def test_a_task_that_nobody_knows_is_missing(ecs: LabEcs) -> None:
    arn = ecs.run("pass")
    answer = ecs.client("ecs").describe_tasks(tasks=[arn, arn[:-1], "nobody"])
    assert [one["taskArn"] for one in answer["tasks"]] == [arn]
    assert answer["failures"] == [{"arn": arn[:-1], "reason": "MISSING"}, {"arn": "nobody", "reason": "MISSING"}]
    ecs.until(arn, "STOPPED")


def test_nobody_else_is_told_of_a_task(ecs: LabEcs) -> None:
    assert httpx.get(f"{ecs.url}/v4/of-somebody-else/task").status_code != 200
