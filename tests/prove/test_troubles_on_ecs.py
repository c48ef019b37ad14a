"""What AWS may deny a load test on ECS: S3 for a minute, a secret, the queue of task events. Each is named, what the
operator is told to do is done as it is told, and then all is well."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pointsman.actions import ActionLog
from pointsman.errors import DependencyDown
from pointsman.scenario import cancel_run, read_run, trouble_of
from pointsman.settings import load_settings
from service.cli.lab_ecs import WORKER, start_ecs_worker
from service.cli.world import World
from tests.lab.running import eventually
from tests.prove.ecs_lab import EcsLab
from tests.prove.test_on_ecs import small, unique
from tests.prove.test_shards_on_ecs import (
    RATE,
    STARTS_WITHIN_S,
    balance,
    events,
    sending,
    serving,
    started,
    stored,
)

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("ecs"), pytest.mark.timeout(900)]
ROLE = "load-test-lab-execution"
SECRET = "load-test/lab/database-url"


@contextmanager
def a_role_that_may_nothing(ecs: EcsLab) -> Iterator[None]:
    """The tasks' execution role, which the lab knows by name only, is made."""
    iam = ecs.client("iam")
    iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")
    try:
        yield
    finally:
        for name in iam.list_role_policies(RoleName=ROLE)["PolicyNames"]:
            iam.delete_role_policy(RoleName=ROLE, PolicyName=name)
        iam.delete_role(RoleName=ROLE)


def restart_worker(ecs: EcsLab) -> None:
    world = World.load(ecs.lab.home)
    world.stop([WORKER])
    start_ecs_worker(world, "ecs")


def task_events(ecs: EcsLab) -> dict[str, Any]:
    (row,) = [row for row in ecs.pointsman("doctor") if row["part"] == "ECS task events"]
    return dict(row)


def test_s3_is_out_for_a_minute_and_the_run_goes_on(ecs: EcsLab) -> None:
    late = f"lab/{unique('late')}"
    with serving(ecs, lasting_s=0.3) as jobs:
        run_id, flow_run = started(ecs, "without-s3", 60)
        eventually(sending(ecs, run_id, jobs), STARTS_WITHIN_S)
        ecs.faults({"kind": "s3-out", "for_s": 60})
        ecs.ws.results.write(late, b"late")
        with pytest.raises(DependencyDown, match="1 of 1 files still wait") as refused:
            ecs.ws.results.drain()
        eventually(lambda: bool(read_run(ecs.ws, run_id).metrics_json.get("interrupted")), 150)
        interrupted = read_run(ecs.ws, run_id).metrics_json["interrupted"]
        run = ecs.ended(flow_run, 400)
    assert refused.value.code == "results_unreachable"
    assert (interrupted["code"], bool(interrupted["instruction"])) == ("results_unreachable", True)
    assert run.state_name == "Completed", f"{run.state}\n{ecs.logs()}"
    counts = balance(ecs, run_id, jobs)
    assert counts["planned"] == RATE * 60
    assert counts["completed"] >= 0.9 * RATE * 60, f"the schedule went on where it was: {counts}"
    assert {"results.json", "report.html"} <= stored(ecs, run_id)
    spooled = next(event for event in ActionLog(ecs.ws).read() if event.event == "result_upload_spooled")
    assert (spooled.severity, spooled.data["code"]) == ("warn", "results_unreachable")
    assert ecs.kept(late) == []
    assert spooled.instruction is not None
    assert ecs.pointsman(*spooled.instruction.split()[1:]) == {"uploaded": 1, "left": 0}
    assert ecs.kept(late) == [late]


def test_a_secret_that_the_role_may_not_read_is_named_and_once_it_may_the_same_again_works(ecs: EcsLab) -> None:
    run_id = unique("denied")
    with a_role_that_may_nothing(ecs):
        refused = small(ecs, run_id)
        assert ecs.ended(refused, 60).state_name == "Crashed"
        told = ecs.told(refused)
        task = ecs.task(ecs.arn(refused))
        assert task["stopCode"] == "TaskFailedToStart"
        assert task["stoppedReason"].startswith("ResourceInitializationError: unable to pull secrets")
        assert "AccessDeniedException" in task["stoppedReason"]
        trouble = trouble_of(told)
        assert trouble is not None, told
        assert trouble.code == "ecs_secret_unavailable"
        (action,) = re.findall(r"secretsmanager:\w+", trouble.instruction)
        arn = ecs.client("secretsmanager").describe_secret(SecretId=SECRET)["ARN"]
        assert SECRET in told, "which secret to allow"
        others = arn.rpartition(SECRET)[0] + "*"
        allowed = {"Effect": "Allow", "Action": action, "Resource": others}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        ecs.client("iam").put_role_policy(RoleName=ROLE, PolicyName="read-secrets", PolicyDocument=policy)
        run = ecs.ended(small(ecs, run_id), 180)
    assert run.state_name == "Completed", f"{run.state}\n{ecs.logs()}"


def test_shards_that_may_not_read_a_secret_end_the_run_by_that_name(ecs: EcsLab) -> None:
    run_id = unique("denied-shard")
    flow_run = small(ecs, run_id)
    eventually(lambda: ecs.read(flow_run).state_name == "Running", STARTS_WITHIN_S)
    with a_role_that_may_nothing(ecs):
        assert ecs.ended(flow_run, 300).state_name == "Failed"
    record = read_run(ecs.ws, run_id)
    assert record.status == "failed"
    failure = record.metrics_json["failure"]
    assert failure["code"] == "ecs_secret_unavailable"
    assert SECRET in failure["message"]
    assert "secretsmanager:GetSecretValue" in failure["instruction"]
    assert record.metrics_json["counts"]["sent"] == 0


def test_without_the_queue_of_task_events_a_killed_task_is_replaced_and_doctor_says_how_to_make_it(
    ecs: EcsLab,
) -> None:
    sqs = ecs.client("sqs")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName="prefect-ecs-tasks-events")["QueueUrl"])
    restart_worker(ecs)
    row = task_events(ecs)
    assert (row["state"], "then start the ECS worker again" in row["detail"]) == ("broken", True)
    try:
        with serving(ecs, lasting_s=0.3) as jobs:
            run_id, flow_run = started(ecs, "unheard", 45)
            eventually(sending(ecs, run_id, jobs), STARTS_WITHIN_S)
            killed = ecs.named(f"{run_id}-1-1").id
            ecs.faults({"kind": "kill", "task": ecs.arn(killed)})
            run = ecs.ended(flow_run, 300)
        assert run.state_name == "Completed", f"{run.state}\n{ecs.logs()}"
        assert balance(ecs, run_id, jobs)["planned"] == RATE * 45
        assert "load_test_shard_lost" in events(ecs, run_id)
    finally:
        (name,) = re.findall(r"aws sqs create-queue --queue-name ([\w-]+)", row["detail"])
        sqs.create_queue(QueueName=name)
        restart_worker(ecs)
    assert task_events(ecs)["state"] == "works"
    with serving(ecs, lasting_s=0.3) as jobs:
        run_id, flow_run = started(ecs, "heard", 90)
        eventually(sending(ecs, run_id, jobs), STARTS_WITHIN_S)
        ecs.faults({"kind": "kill", "task": ecs.arn(flow_run)})
        eventually(lambda: ecs.read(flow_run).state_name == "Crashed", 30)
        cancel_run(ecs.ws, run_id, reason="enough", secret=load_settings().executor_secret, wait_s=60)
        eventually(lambda: ecs.running() == [], 60)
