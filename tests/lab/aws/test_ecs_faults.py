"""What the lab's ECS does wrong when it is asked to."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from tests.lab.aws.ecs import GRACEFUL, LOGS, WAITING, LabEcs
from tests.lab.running import eventually

pytestmark = pytest.mark.xdist_group("lab-ecs")

ENDS_SLOWLY = WAITING.replace("print", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print", 1)


def test_missing_capacity_is_a_failure_of_run_task_for_so_many_calls(ecs: LabEcs) -> None:
    request = ecs.request(ecs.register("pass"))
    assert ecs.faults({"kind": "no-capacity", "times": 2}).status_code == 204
    for _ in range(2):
        answer = ecs.client("ecs").run_task(**request)
        assert answer["tasks"] == []
        assert answer["failures"][0]["reason"] == "RESOURCE:MEMORY"
    answer = ecs.client("ecs").run_task(**request)
    assert answer["failures"] == []
    ecs.until(answer["tasks"][0]["taskArn"], "STOPPED")


@pytest.mark.parametrize("operation", ["RunTask", "RegisterTaskDefinition"])
def test_throttled_calls_raise_as_those_of_aws_do(ecs: LabEcs, operation: str) -> None:
    request = ecs.request(ecs.register("pass"))
    assert ecs.faults({"kind": "throttle", "operation": operation}).status_code == 204
    with pytest.raises(ClientError) as raised:
        ecs.client("ecs").run_task(**request) if operation == "RunTask" else ecs.register("pass")
    assert raised.value.response["Error"] == {"Code": "ThrottlingException", "Message": "Rate exceeded"}
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    ecs.until(ecs.run("pass"), "STOPPED")


def test_an_image_that_cannot_be_pulled(ecs: LabEcs) -> None:
    ecs.faults({"kind": "cannot-pull"})
    arn = ecs.run("pass")
    told = ecs.until(arn, "STOPPED")
    assert told["stopCode"] == "TaskFailedToStart"
    assert told["stoppedReason"].startswith("CannotPullContainerError: ")
    assert "image:1" in told["stoppedReason"]
    assert {"pullStartedAt"} == {"pullStartedAt", "pullStoppedAt", "startedAt"} & set(told)
    events = ecs.events(arn)
    assert [one["detail"]["lastStatus"] for one in events] == ["PROVISIONING", "PENDING", "DEPROVISIONING", "STOPPED"]
    last = events[-1]["detail"]
    assert (last["stopCode"], last["stoppedReason"]) == (told["stopCode"], told["stoppedReason"])
    assert "CannotPullContainerError" in last["containers"][0]["reason"]
    assert "exitCode" not in last["containers"][0]


def test_a_task_that_ends_well_without_having_done_anything(ecs: LabEcs) -> None:
    ecs.faults({"kind": "exit-0"})
    arn = ecs.run("print('the flow')", logConfiguration=LOGS)
    told = ecs.until(arn, "STOPPED")
    assert (told["stopCode"], told["containers"][0]["exitCode"]) == ("EssentialContainerExited", 0)
    assert ecs.log(arn) == []


def test_a_killed_task(ecs: LabEcs) -> None:
    arn = ecs.run(GRACEFUL, logConfiguration=LOGS)
    ecs.says(arn, "here")
    assert ecs.faults({"kind": "kill", "task": arn}).status_code == 204
    told = ecs.until(arn, "STOPPED")
    assert (told["stopCode"], told["containers"][0]["exitCode"]) == ("EssentialContainerExited", 137)
    assert "drained" not in ecs.log(arn)
    last = ecs.events(arn)[-1]["detail"]
    assert (last["lastStatus"], last["containers"][0]["exitCode"]) == ("STOPPED", 137)


@pytest.mark.parametrize(("code", "notice_s", "exit_code"), [(GRACEFUL, 120, 0), (ENDS_SLOWLY, 0.2, 137)])
def test_a_spot_interruption_gives_notice(ecs: LabEcs, code: str, notice_s: float, exit_code: int) -> None:
    arn = ecs.run(code, logConfiguration=LOGS)
    ecs.says(arn, "here")
    answer = ecs.faults({"kind": "spot", "task": arn.rpartition("/")[2], "notice_s": notice_s})
    assert answer.status_code == 204
    told = ecs.until(arn, "STOPPED")
    assert (told["stopCode"], told["containers"][0]["exitCode"]) == ("SpotInterruption", exit_code)
    assert told["stoppedReason"] == "Your Spot Task was interrupted."
    assert ("drained" in ecs.log(arn)) == (exit_code == 0)
    last = ecs.events(arn)[-1]["detail"]
    assert (last["stopCode"], last["containers"][0]["exitCode"]) == ("SpotInterruption", exit_code)


def test_an_s3_that_is_out_for_a_while_or_until_it_is_told_otherwise(ecs: LabEcs) -> None:
    s3, bucket = ecs.client("s3"), f"of-a-test-{uuid4()}"
    s3.create_bucket(Bucket=bucket)
    assert ecs.faults({"kind": "s3-out", "for_s": 600}).status_code == 204
    for call in (
        lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"v" * 100_000),
        lambda: s3.head_object(Bucket=bucket, Key="k"),
    ):
        with pytest.raises(ClientError) as raised:
            call()
        assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert ecs.client("ecs").list_clusters()["clusterArns"], "the rest of it answers"
    ecs.faults()
    s3.put_object(Bucket=bucket, Key="k", Body=b"v")
    ecs.faults({"kind": "s3-out", "for_s": 0.1})
    eventually(lambda: _answers(s3, bucket), 5)


def _answers(s3: Any, bucket: str) -> bool:
    try:
        return bool(s3.head_object(Bucket=bucket, Key="k")["ContentLength"])
    except ClientError:
        return False


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"kind": "melt"}, "kind"),
        ({"kind": "exit-0", "times": 0}, "times"),
        ({"kind": "throttle", "operation": "StopTask"}, "operation"),
        ({"kind": "s3-out"}, "for_s"),
        ({"kind": "kill", "task": "nobody"}, "there is no such task"),
    ],
)
def test_what_cannot_be_done_is_refused_and_says_why(ecs: LabEcs, fault: dict[str, Any], said: str) -> None:
    answer = ecs.faults({"kind": "cannot-pull"}, fault)
    assert answer.status_code == 422
    assert said in answer.json()["error"]
    assert ecs.until(ecs.run("pass"), "STOPPED")["stopCode"] == "EssentialContainerExited"


def test_what_was_to_come_is_replaced(ecs: LabEcs) -> None:
    ecs.faults({"kind": "cannot-pull", "times": 5})
    ecs.faults()
    assert ecs.until(ecs.run("pass"), "STOPPED")["stopCode"] == "EssentialContainerExited"
