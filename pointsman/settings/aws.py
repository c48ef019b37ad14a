"""How AWS is reached for one environment: by the usual AWS settings, and from a local one only the lab's own, ever.

What a local environment is shown is explicit to boto3, so that no variable, profile or file of whoever runs it can
lead a call to AWS itself, nor show that person's credentials to anybody. Staging and production may be in another
account: with POINTSMAN_TARGET_ROLE_ARN they are reached by that role, and nothing else is.
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
_OF_TARGETS = frozenset({"staging", "production"})


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

        if self.kind in _OF_TARGETS and (role_arn := (settings := load_settings()).target_role_arn):
            return AwsClients(_assuming(role_arn, settings.target_external_id or "", self.region), None)
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


class _Assumed:
    """A provider of credentials, as botocore asks for one: those of a role, renewed as they run out."""

    METHOD = CANONICAL_NAME = "assume-target-role"

    def __init__(self, fetch: Any) -> None:
        self._fetch = fetch

    def load(self) -> Any:
        from botocore.credentials import DeferredRefreshableCredentials

        return DeferredRefreshableCredentials(method=self.METHOD, refresh_using=self._fetch)


def _assuming(role_arn: str, external_id: str, region: str | None) -> Any:
    """A session with the credentials of the role, which are asked for when they are first needed."""
    import boto3
    from botocore.credentials import AssumeRoleCredentialFetcher
    from botocore.exceptions import NoCredentialsError
    from botocore.session import Session

    own: Any = boto3.Session(region_name=region)
    if (credentials := own.get_credentials()) is None:
        raise NoCredentialsError
    fetcher = AssumeRoleCredentialFetcher(
        client_creator=own.client,
        source_credentials=credentials,
        role_arn=role_arn,
        extra_args={"ExternalId": external_id, "RoleSessionName": "pointsman"},
    )
    session = Session()
    session.get_component("credential_provider").insert_before("env", _Assumed(fetcher.fetch_credentials))
    return boto3.Session(region_name=region, botocore_session=session)


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
