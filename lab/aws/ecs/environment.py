"""The environment of a task's process, and nothing else: what its image has, what the task says, what ECS adds.

Secrets are resolved as ECS does when it starts a task: `valueFrom` is the ARN of a Secrets Manager secret, optionally
followed by `:json-key:version-stage:version-id`, or the ARN or name of an SSM parameter. The execution role reads those
of Secrets Manager: where somebody made it in the lab's IAM, by what its policies allow.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.exceptions import JsonRESTError, ServiceException
from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.iam.exceptions import NotFoundException
from moto.iam.models import iam_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.models import ssm_backends

from lab.aws.ecs.task import LabTask

MARKER = "ECS_CONTAINER_METADATA_URI_V4"
"""The variable by which every process of a task is known; its value is the task's own."""
_APPLICATION = (
    *("pointsman", "blocks", "tasks", "flows", "service", "deployments"),
    *("prefect.yaml", "pyproject.toml", "requirements.lock", "README.md"),
)
"""What an image has of the checkout."""
_CHECKOUT = Path(__file__).resolve().parents[3]


class CannotStart(Exception):
    """Why a task does not start, in the words of ECS."""


@dataclass(frozen=True, slots=True)
class TaskWorld:
    """The folders that a task has for itself."""

    root: Path

    @property
    def app(self) -> Path:
        """Its working directory: the application as an image has it, and whatever the task writes."""
        return self.root / "app"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def scratch(self) -> Path:
        return self.root / "tmp"

    def make(self) -> None:
        for folder in (self.app, self.home, self.scratch):
            folder.mkdir(parents=True)
        for name in _APPLICATION:
            if (_CHECKOUT / name).exists():
                (self.app / name).symlink_to(_CHECKOUT / name)


def environment_of(task: LabTask, world: TaskWorld, *, lab_url: str, metadata_uri: str) -> dict[str, str]:
    """All variables of the container. Raises `CannotStart` when a secret cannot be had."""
    image = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(world.home),
        "TMPDIR": str(world.scratch),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(world.app),
        "HOSTNAME": f"ip-{task.id[:8]}.lab.internal",
    }
    said = {
        one["name"]: one["value"]
        for source in (task.container_definition, task.override)
        for one in source.get("environment") or ()
    }
    role_arn = task.overrides.get("executionRoleArn") or getattr(task.definition, "execution_role_arn", None)
    secrets = {
        one["name"]: _secret(one["valueFrom"], task.region_name, role_arn)
        for one in task.container_definition.get("secrets", ())
    }
    added = {
        "AWS_EXECUTION_ENV": f"AWS_ECS_{task.launch_type}",
        "AWS_REGION": task.region_name,
        "AWS_DEFAULT_REGION": task.region_name,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{metadata_uri}/credentials",
        # There is no way from a task to any AWS but the lab's.
        "AWS_ENDPOINT_URL": lab_url,
        MARKER: metadata_uri,
    }
    return {**image, **said, **secrets, **added}


def _secret(value_from: str, region: str, role_arn: str | None) -> str:
    try:
        if not value_from.startswith("arn:"):
            return _parameter(value_from, region)
        service, at = value_from.split(":")[2:4]
        if service != "secretsmanager":
            return _parameter(value_from, at)
        _require(role_arn, "secretsmanager:GetSecretValue", ":".join(value_from.split(":")[:7]))
        return _of_secrets_manager(value_from, at)
    except (ServiceException, JsonRESTError) as error:
        said = getattr(error, "message", None) or type(error).__name__
        raise CannotStart(_unable(value_from, said)) from error


def _require(role_arn: str | None, action: str, resource: str) -> None:
    """Raise `CannotStart` where the role's policies do not allow it; one that nobody made is a name and has none."""
    iam = iam_backends[DEFAULT_ACCOUNT_ID]["aws"]
    try:
        role = iam.get_role_by_arn(role_arn or "")
    except NotFoundException:
        return
    documents = [iam.get_role_policy(role.name, name)[1] for name in iam.list_role_policies(role.name)]
    policies = [IAMPolicy(one) for one in (*documents, *role.managed_policies.values())]
    said = {one.is_action_permitted(action, resource) for one in policies}
    if PermissionResult.PERMITTED not in said or PermissionResult.DENIED in said:
        raise CannotStart(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval "
            f"failed: unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch "
            f"secret {resource} from secrets manager: AccessDeniedException: User: {role.arn} is not authorized to "
            f"perform: {action} on resource: {resource}"
        )


def _of_secrets_manager(value_from: str, region: str) -> str:
    parts = value_from.split(":")
    arn, (key, stage, version) = ":".join(parts[:7]), [*parts[7:], "", "", ""][:3]
    found = secretsmanager_backends[DEFAULT_ACCOUNT_ID][region].get_secret_value(arn, version, stage)
    text: str = found["SecretString"]
    if not key:
        return text
    try:
        held: Mapping[str, object] = json.loads(text)
        value = held[key]
    except (ValueError, KeyError, TypeError) as error:
        raise CannotStart(
            _unable(value_from, f"retrieved secret from Secrets Manager did not contain json key {key}")
        ) from (error)
    return value if isinstance(value, str) else json.dumps(value)


def _parameter(name: str, region: str) -> str:
    found = ssm_backends[DEFAULT_ACCOUNT_ID][region].get_parameter(name)
    if found is None:
        raise CannotStart(_unable(name, "invalid parameters"))
    value: str = found.value
    if found.parameter_type == "SecureString":
        decrypted: str | None = found.decrypt(value)
        return decrypted or ""
    return value


def _unable(value_from: str, why: str) -> str:
    return (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
        f"unable to retrieve secret {value_from}: {why}"
    )
