"""AWS's Pricing API and Cost Explorer: reached by the usual AWS settings, their errors told as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pointsman.errors import DependencyDown
from pointsman.settings import AwsPlace

REGION = "us-east-1"
"""Both services answer there, whatever region they are asked about."""
_CONNECT_S, _READ_S = 5, 30


def billing_client(service: str) -> Any:
    """A client of `pricing` or `ce` for the account of the AWS settings. Nothing is sent yet."""
    from botocore.config import Config

    config = Config(connect_timeout=_CONNECT_S, read_timeout=_READ_S, retries={"mode": "standard", "max_attempts": 3})
    with answered(service):
        return AwsPlace(None, REGION).open().client(service, config)


@contextmanager
def answered(service: str) -> Iterator[None]:
    """Raises `DependencyDown` (`aws_denied`, `aws_refused`, `aws_unreachable`) in place of what boto3 raises."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code, said = (str(error.response["Error"].get(name, "")) for name in ("Code", "Message"))
        denied = "Denied" in code or "Unauthorized" in code or "Token" in code
        raise DependencyDown(
            f"AWS {service} does not answer: {code}: {said[:300]}",
            instruction="Allow pricing:GetProducts and ce:GetCostAndUsage to the AWS credentials of this process."
            if denied
            else "Run it again later; meanwhile the dated file applies.",
            code="aws_denied" if denied else "aws_refused",
        ) from error
    except BotoCoreError as error:
        raise DependencyDown(
            f"AWS {service} is out of reach: {str(error)[:300]}",
            instruction="Check the network and the AWS settings of this process; meanwhile the dated file applies.",
            code="aws_unreachable",
        ) from error
