"""What ECS mode needs in AWS, made in the lab's: what `deployments/cloudformation` makes in a real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BUCKET = "load-test-results"
FAMILY = "load-test-lab"
REGION = "us-east-1"
_CLUSTER = "load-test-cluster"
_LOG_GROUP = "/ecs/load-test"
_ROLE = "arn:aws:iam::123456789012:role/load-test-lab-{}"
_STOP_TIMEOUT_S = 120
POOL_VARIABLES = {"environment": "lab", "team": "lab", "task_definition_arn": FAMILY}
"""Of the work pool whose runs are tasks of it. Cluster and log group are the job template's own."""


def make_ecs_resources(
    client: Callable[[str], Any], *, database_url: str, executor_secret: str, prefix: str, prefect_api_url: str
) -> None:
    """Cluster, log group, bucket, secrets and task definition; what is there already is kept or renewed.

    `client` gives a boto3 client of a service. The queue of task events is the lab's from its start.
    """
    ecs, logs = client("ecs"), client("logs")
    if not ecs.describe_clusters(clusters=[_CLUSTER])["clusters"]:
        ecs.create_cluster(clusterName=_CLUSTER)
    if not logs.describe_log_groups(logGroupNamePrefix=_LOG_GROUP)["logGroups"]:
        logs.create_log_group(logGroupName=_LOG_GROUP)
    client("s3").create_bucket(Bucket=BUCKET)
    vault = client("secretsmanager")
    values = {
        "AWS_DEFAULT_REGION": REGION,
        "POINTSMAN_ENVIRONMENT": "lab",
        "POINTSMAN_RESULTS_URI": f"s3://{BUCKET}",
        "POINTSMAN_PREFECT_PREFIX": prefix,
        "PREFECT_API_URL": prefect_api_url,
        "STUDIO_LOAD_TEST_RUNNER_MODE": "ecs",
    }
    secrets = {
        "POINTSMAN_DATABASE_URL": _put(vault, "load-test/lab/database-url", database_url),
        "STUDIO_EXECUTOR_SECRET": _put(vault, "load-test/lab/executor-secret", executor_secret),
    }
    ecs.register_task_definition(
        family=FAMILY,
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="1024",
        memory="4096",
        executionRoleArn=_ROLE.format("execution"),
        taskRoleArn=_ROLE.format("task"),
        containerDefinitions=[
            {
                "name": "prefect",
                "image": "pointsman:lab",
                "essential": True,
                "command": ["prefect", "flow-run", "execute"],
                "stopTimeout": _STOP_TIMEOUT_S,
                "environment": [{"name": name, "value": value} for name, value in values.items()],
                "secrets": [{"name": name, "valueFrom": arn} for name, arn in secrets.items()],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": _LOG_GROUP,
                        "awslogs-region": REGION,
                        "awslogs-stream-prefix": "lab",
                    },
                },
            }
        ],
    )


def _put(vault: Any, name: str, value: str) -> str:
    """The secret's ARN."""
    try:
        return str(vault.create_secret(Name=name, SecretString=value)["ARN"])
    except vault.exceptions.ResourceExistsException:
        return str(vault.put_secret_value(SecretId=name, SecretString=value)["ARN"])
