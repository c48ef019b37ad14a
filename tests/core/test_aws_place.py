"""From a local environment no call reaches AWS itself, whatever the person who runs it has in their shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import NoCredentialsError
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sts.responses import TokenResponse as STSResponse

from pointsman.errors import DependencyDown, GuardRefused
from pointsman.scenario.faults.aws import FaultAws
from pointsman.scenario.readings import Observe, aws_sources
from pointsman.settings import AwsPlace, lab_aws_file
from pointsman.settings.read_only import ReadOnlyAws

LAB = "http://127.0.0.1:9"
LOCAL = AwsPlace("local", "eu-west-1")
SERVICES = ("autoscaling", "fis", "cloudwatch", "elbv2", "ecs", "sts")


@pytest.fixture(params=["nothing", "keys", "a profile that is not there"])
def person(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of somebody whose own shell leads to AWS."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    if request.param != "nothing":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "https://eu-west-1.amazonaws.com")
        for service in SERVICES:
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service.upper()}", f"https://{service}.eu-west-1.amazonaws.com")
    if request.param == "keys":
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
            monkeypatch.setenv(f"AWS_{name}", "of-a-person")
    elif request.param != "nothing":
        monkeypatch.setenv("AWS_PROFILE", "of-a-person")
    return tmp_path


def test_without_the_labs_aws_every_way_in_is_refused_with_what_starts_it(person: Path) -> None:
    for way in (LOCAL.open, lambda: FaultAws.at(LOCAL), lambda: ReadOnlyAws(LOCAL)):
        with pytest.raises(GuardRefused) as refused:
            way()
        assert (refused.value.code, refused.value.instruction) == ("not_in_the_lab", "pointsman up")
    alarms = aws_sources(Observe(alarms=("one",)), LOCAL).alarms
    assert callable(alarms)
    with pytest.raises(DependencyDown) as down:
        alarms()
    assert down.value.instruction == "pointsman up"


@pytest.mark.parametrize("service", SERVICES)
def test_a_client_goes_to_the_lab_with_nobodys_credentials(person: Path, service: str) -> None:
    lab_aws_file(person).parent.mkdir()
    lab_aws_file(person).write_text(LAB)
    made = LOCAL.open().client(service, Config())
    assert made.meta.endpoint_url == LAB
    assert made.meta.region_name == "eu-west-1"
    shown = made._request_signer._credentials.get_frozen_credentials()
    assert (shown.access_key, shown.secret_key, shown.token) == ("of-the-lab", "of-the-lab", None)


def test_a_file_that_names_another_host_is_not_believed(person: Path) -> None:
    lab_aws_file(person).parent.mkdir()
    lab_aws_file(person).write_text("https://fis.eu-west-1.amazonaws.com")
    with pytest.raises(GuardRefused):
        LOCAL.open()


@pytest.mark.parametrize("kind", [None, "test_asg", "staging", "production"])
def test_other_environments_are_reached_by_the_usual_settings(
    kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    lab_aws_file(tmp_path).parent.mkdir()
    lab_aws_file(tmp_path).write_text(LAB)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    made = AwsPlace(kind, "eu-west-1").open().client("fis", Config())
    assert made.meta.endpoint_url == "https://fis.eu-west-1.amazonaws.com"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert AwsPlace(kind, "eu-west-1").open().client("fis", Config()).meta.endpoint_url == "http://127.0.0.1:4566"


THEIRS = "111122223333"


@pytest.fixture
def role_of_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The role of cross-account.yaml in another account of moto."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-the-task")
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path))
    monkeypatch.setenv("POINTSMAN_TARGET_ROLE_ARN", f"arn:aws:iam::{THEIRS}:role/load-test-uat-look")
    monkeypatch.setenv("POINTSMAN_TARGET_EXTERNAL_ID", "agreed-upon")
    with mock_aws():
        yield


@pytest.mark.parametrize(
    ("kind", "account"),
    [("staging", THEIRS), ("production", THEIRS)] + [(kind, DEFAULT_ACCOUNT_ID) for kind in (None, "test_asg")],
)
def test_targets_of_another_account_are_looked_at_with_their_role_and_nothing_else_is(
    kind: str | None, account: str, role_of_theirs: None
) -> None:
    aws = ReadOnlyAws(AwsPlace(kind, "eu-west-1"))
    assert aws.region == "eu-west-1"
    assert aws.ask("sts", "get_caller_identity")["Account"] == account
    assert aws.calls == {"sts:GetCallerIdentity"}


def test_the_role_is_asked_for_with_the_external_id_when_it_is_needed(
    role_of_theirs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    assume: Any = STSResponse.assume_role

    def heard(response: Any) -> Any:
        asked.append({name: response._get_param(name) for name in ("RoleArn", "ExternalId")})
        return assume(response)

    monkeypatch.setattr(STSResponse, "assume_role", heard)
    client = AwsPlace("staging", "eu-west-1").open().client("ecs", Config())
    assert asked == []
    client.list_clusters()
    client.list_clusters()
    assert asked == [{"RoleArn": f"arn:aws:iam::{THEIRS}:role/load-test-uat-look", "ExternalId": "agreed-upon"}]


def test_without_credentials_of_its_own_nobody_becomes_the_role(
    role_of_theirs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3.Session, "get_credentials", lambda _: None)
    with pytest.raises(NoCredentialsError):
        AwsPlace("staging", "eu-west-1").open()
