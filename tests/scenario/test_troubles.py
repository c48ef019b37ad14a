"""The words of ECS, of prefect-aws and of IAM, as each of them says them, and what they are taken for."""

from __future__ import annotations

import re
import shlex

import botocore.session
import pytest
from botocore import xform_name

from pointsman.scenario.troubles import TROUBLES, trouble_of

SUBMITTING = "Crashed (Failed to submit flow run to infrastructure: "
REFUSED = f"{SUBMITTING}ClientError: An error occurred ({{}}) when calling the RunTask operation"
FAILED = "Crashed (ECS task failed to start: {}. The capacity provider could not place the task.)"
TOLD = {
    REFUSED.format("ThrottlingException") + " (reached max retries: 4): Rate exceeded)": "ecs_throttled",
    REFUSED.format("ClientException") + ": Capacity is unavailable at this time. Please try again": "ecs_no_capacity",
    REFUSED.format("AccessDeniedException") + ": User is not authorized to perform: ecs:RunTask)": "ecs_denied",
    f"{SUBMITTING}RuntimeError: Failed to run ECS task: RESOURCE:MEMORY)": "ecs_no_capacity",
    f"{SUBMITTING}RuntimeError: Failed to run ECS task due to a capacity provider error. Verify": "ecs_no_capacity",
    f"{SUBMITTING}RuntimeError: Failed to run ECS task, cluster 'x' not found. Confirm that the cluster is configured "
    "in your region.)": "ecs_no_cluster",
    "Crashed (The following containers stopped with a non-zero exit code: ['prefect']): ECS task failed to start: "
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable "
    "to retrieve secret from asm: AccessDeniedException": "ecs_secret_unavailable",
    FAILED.format("CannotPullContainerError: failed to resolve ref x: not found"): "ecs_image_unavailable",
    FAILED.format("ResourceInitializationError: failed to validate logger args: no group"): "ecs_no_log_group",
    FAILED.format("Timeout waiting for network interface provisioning"): "ecs_no_capacity",
}


@pytest.mark.parametrize(("told", "code"), TOLD.items(), ids=TOLD.values())
def test_what_was_told_is_recognised(told: str, code: str) -> None:
    trouble = trouble_of(told)
    assert trouble is not None
    assert trouble.code == code
    assert trouble.instruction


def test_every_trouble_has_been_met() -> None:
    assert {one.code for one in TROUBLES} == set(TOLD.values())


def test_an_end_that_says_nothing_of_its_cause_is_no_trouble_of_ecs() -> None:
    assert trouble_of("Crashed (The following containers stopped with a non-zero exit code: ['prefect'])") is None
    assert trouble_of("Completed") is None


AWS = re.compile(r"aws [a-z-]+ [a-z-]+(?: --[a-z-]+ [\w-]+)*")
INSTRUCTIONS = {one.code: one.instruction for one in TROUBLES}


@pytest.mark.parametrize(
    ("code", "advice", "command"),
    [
        ("ecs_throttled", "use fewer shards", "aws service-quotas list-service-quotas --service-code fargate"),
        ("ecs_no_capacity", "Wait for capacity", "prefect work-pool inspect ecs"),
        (
            "ecs_secret_unavailable",
            "Allow the execution role secretsmanager:GetSecretValue",
            "aws secretsmanager describe-secret --secret-id NAME",
        ),
    ],
)
def test_what_an_operator_is_told_to_do_and_that_the_same_is_then_run_again(
    code: str, advice: str, command: str
) -> None:
    told = INSTRUCTIONS[code]
    assert advice in told
    assert command in told
    assert "then run the same again" in told


@pytest.mark.parametrize("command", sorted({found for told in INSTRUCTIONS.values() for found in AWS.findall(told)}))
def test_a_command_of_aws_in_an_instruction_is_one_that_aws_has(command: str) -> None:
    _, service, operation, *flags = shlex.split(command)
    model = botocore.session.get_session().get_service_model(service)
    (found,) = [name for name in model.operation_names if xform_name(name, "-") == operation]
    shape = model.operation_model(found).input_shape
    takes = {xform_name(name, "-") for name in shape.members} if shape else set()
    assert {flag.removeprefix("--") for flag in flags[::2]} <= takes
