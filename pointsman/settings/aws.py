"""How AWS is reached for one environment: by the usual AWS settings, and from a local one only the lab's own, ever.

What a local environment is shown is explicit to boto3, so that no variable, profile or file of whoever runs it can
lead a call to AWS itself, nor show that person's credentials to anybody.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pointsman.errors import GuardRefused
from pointsman.settings.resolver import load_settings

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_OF_THE_LAB = "of-the-lab"


def lab_aws_file(home: Path) -> Path:
    """Where the lab's AWS, while it is up, says its address: for processes that somebody else starts."""
    return home / "lab" / "aws-url"


@dataclass(frozen=True, slots=True)
class AwsPlace:
    """The AWS of an environment of this kind (None: not registered) and region (None: of the AWS settings)."""

    kind: str | None
    region: str | None = None

    def open(self) -> AwsClients:
        """Raises `GuardRefused` (`not_in_the_lab`) for a local environment while there is no AWS of the lab."""
        import boto3  # slow to import, and most processes ask nothing of AWS
        from botocore.session import Session

        if self.kind != "local":
            return AwsClients(boto3.Session(region_name=self.region), None)
        endpoint = _lab_endpoint()
        session = Session({"profile": (None, None, None, None)})
        session.set_credentials(_OF_THE_LAB, _OF_THE_LAB)
        return AwsClients(boto3.Session(region_name=self.region, botocore_session=session), endpoint)


@dataclass(frozen=True, slots=True)
class AwsClients:
    """Makes clients. `session` is boto3's."""

    session: Any
    endpoint_url: str | None

    def client(self, service: str, config: Any) -> Any:
        return self.session.client(service, config=config, endpoint_url=self.endpoint_url)


def _lab_endpoint() -> str:
    """AWS_ENDPOINT_URL where it is of this machine, else what the lab says."""
    named = os.environ.get("AWS_ENDPOINT_URL", "")
    path = lab_aws_file(load_settings().home)
    for url in (named, path.read_text().strip() if path.is_file() else ""):
        if urlsplit(url).hostname in _LOOPBACK:
            return url
    raise GuardRefused(
        "An environment of kind local asks only the lab's own AWS, and none is running for this home folder.",
        instruction="pointsman up",
        code="not_in_the_lab",
    )
