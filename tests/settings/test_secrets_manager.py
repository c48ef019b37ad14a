"""Secrets Manager: how long an answer counts, and what is said when it refuses, is busy or is not there."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from pointsman.clock import ManualClock
from pointsman.errors import DependencyDown
from pointsman.model import Missing
from pointsman.settings import Secret, load_credential, require_credential
from pointsman.settings.secrets_manager import CACHE_S, SecretsManager, connect
from tests.settings.conftest import Put


class Told:
    """Answers each question with the next of these, the last one again and again; and counts."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def get_secret_value(self, *, SecretId: str) -> Any:
        self.asked.append(SecretId)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def says(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "word-6120"}}, "GetSecretValue")


def test_an_answer_counts_for_its_lifetime_and_is_then_asked_for_again() -> None:
    clock = ManualClock()
    told = Told({"SecretString": "old"}, {"SecretString": "new"})
    manager = SecretsManager(lambda: told, monotonic=clock.monotonic)
    assert [manager.read("a") for _ in range(3)] == [Secret("old")] * 3
    clock.sleep(CACHE_S - 1)
    assert manager.read("a") == Secret("old")
    clock.sleep(1)
    assert manager.read("a") == Secret("new")
    assert told.asked == ["a", "a"]


def test_that_there_is_none_counts_as_long_and_trouble_counts_for_nothing() -> None:
    told = Told(says("ResourceNotFoundException"), says("ThrottlingException"), {"SecretBinary": b"x"})
    manager = SecretsManager(lambda: told)
    assert [str(manager.read("a")) for _ in range(2)] == [str(Missing("no such secret, or no value in it"))] * 2
    with pytest.raises(DependencyDown):
        manager.read("b")
    assert manager.read("b") == Missing("it holds no text")
    assert told.asked == ["a", "b", "b"]


TROUBLE = [
    (says("AccessDeniedException"), "secrets_denied", "Allow its role secretsmanager:GetSecretValue on load-test/dev/"),
    (says("ExpiredTokenException"), "secrets_denied", "Allow its role"),
    (says("DecryptionFailure"), "secrets_denied", "kms:Decrypt"),
    (says("ThrottlingException"), "secrets_throttled", "Run the same command again in a minute"),
    (says("InternalServiceError"), "secrets_unreachable", "Check the region"),
    (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), "secrets_unreachable", "Check the region"),
]


@pytest.mark.parametrize(("error", "code", "advice"), TROUBLE)
def test_trouble_has_a_name_and_an_instruction_that_works(
    error: Exception, code: str, advice: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = SecretsManager(lambda: Told(error))
    monkeypatch.setattr("pointsman.settings.credentials.of_this_process", lambda: manager)
    with pytest.raises(DependencyDown) as down:
        require_credential("ACME_KEY", "the secret of target acme")
    assert (down.value.code, down.value.exit_code) == (code, 4)
    assert "load-test/dev/acme-key" in down.value.message
    assert advice in down.value.instruction
    assert "or set ACME_KEY" in down.value.instruction
    assert "word-6120" not in f"{down.value}{down.value.__cause__}"
    monkeypatch.setenv("ACME_KEY", "set-as-told")
    assert load_credential("ACME_KEY") == Secret("set-as-told")


def test_a_role_of_a_task_that_cannot_be_asked_is_trouble_too(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "nobody-wrote-this-one")
    with pytest.raises(DependencyDown, match=r"did not tell load-test/dev/acme-key \(ProfileNotFound\)"):
        SecretsManager(connect).read("load-test/dev/acme-key")


def test_the_region_may_be_said_as_ecs_says_it(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    put("load-test/dev/acme-key", "there")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert SecretsManager(connect).read("load-test/dev/acme-key") == Secret("there")
