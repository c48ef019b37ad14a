"""What the pool `ecs` must be told: here without a server, which is asked for nothing before."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, temporary_settings

from deployments.pools import plan_pool
from pointsman.errors import InputRefused
from tests.deployments.test_job_template import _Prepared

NOBODY: Any = None
ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:pointsman/prefect/auth-string-AbCdEf"


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (PREFECT_API_AUTH_STRING, "prefect_api_auth_string_secret_arn"),
        (PREFECT_API_KEY, "prefect_api_key_secret_arn"),
    ],
)
def test_what_a_server_asks_for_is_named_and_not_written_into_every_task(asked: Any, name: str) -> None:
    with temporary_settings({asked: "pointsman:of-the-server"}):
        with pytest.raises(InputRefused, match=name) as refused:
            plan_pool(NOBODY, "ecs", "dev-ecs", {"task_definition_arn": "load-test-dev"})
        assert "of-the-server" not in str(refused.value)
        with pytest.raises(AttributeError):  # it is satisfied, and asks the server
            plan_pool(NOBODY, "ecs", "dev-ecs", {"task_definition_arn": "load-test-dev", name: ARN})
    with pytest.raises(AttributeError):
        plan_pool(NOBODY, "ecs", "dev-ecs", {"task_definition_arn": "load-test-dev"})


def test_the_workers_own_password_is_in_no_request_once_its_secret_is_named() -> None:
    """The reason for the refusal: what the installed worker makes of either."""
    with temporary_settings({PREFECT_API_AUTH_STRING: "pointsman:of-the-server"}):
        plain = _Prepared(image="i:1", execution_role_arn="arn:of-it")
        named = _Prepared(image="i:1", execution_role_arn="arn:of-it", prefect_api_auth_string_secret_arn=ARN)
    assert "of-the-server" in str(plain.request)
    assert "of-the-server" not in str(named.request)
    (container,) = named.definition["containerDefinitions"]
    assert {"name": "PREFECT_API_AUTH_STRING", "valueFrom": ARN} in container["secrets"]
