"""Why a task did not start or went away, by the words of ECS and its worker, and what an operator can do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    code: str
    words: tuple[str, ...]
    """Any of them, in what was told."""
    instruction: str


_AGAIN = "then run the same again"
TROUBLES = (
    Trouble(
        "ecs_throttled",
        ("ThrottlingException", "Rate exceeded"),
        f"ECS takes fewer calls than are sent: wait a minute, {_AGAIN}. Where it comes again, use fewer shards, or "
        "raise the quota: aws service-quotas list-service-quotas --service-code fargate",
    ),
    Trouble(
        "ecs_secret_unavailable",
        ("unable to pull secrets", "unable to retrieve secret"),
        "Allow the execution role secretsmanager:GetSecretValue on the secret that is named, and see that it has a "
        f"value (aws secretsmanager describe-secret --secret-id NAME), {_AGAIN}.",
    ),
    Trouble(
        "ecs_image_unavailable",
        ("CannotPullContainerError",),
        f"Push the image that is named (deployments/image/publish.sh), {_AGAIN}.",
    ),
    Trouble(
        "ecs_no_log_group",
        ("failed to validate logger args",),
        f"Make the log group that is named (aws logs create-log-group --log-group-name NAME), {_AGAIN}.",
    ),
    Trouble(
        "ecs_no_cluster",
        ("ClusterNotFoundException", "not found. Confirm that the cluster"),
        f"Name a cluster that exists (prefect work-pool inspect ecs; aws ecs list-clusters), {_AGAIN}.",
    ),
    Trouble(
        "ecs_denied",
        ("AccessDenied", "UnauthorizedOperation", "not authorized to perform"),
        "Allow the role of the worker what is named. A production run needs the approval tag: pointsman approve",
    ),
    # The last: the worker says so of every task that failed to start.
    Trouble(
        "ecs_no_capacity",
        ("RESOURCE:", "Capacity is unavailable", "capacity provider"),
        f"Wait for capacity or use fewer shards, {_AGAIN}. What the tasks ask for: prefect work-pool inspect ecs",
    ),
)


def trouble_of(told: str) -> Trouble | None:
    """The first whose words are in what was told; None for an end that says no more than that it ended."""
    return next((one for one in TROUBLES if any(word in told for word in one.words)), None)
