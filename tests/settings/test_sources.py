"""Secrets and addresses: every place in its order, what is said when nothing is there, and when AWS is asked."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from pointsman.errors import InputRefused, NotConfigured
from pointsman.settings import Secret, handed_out, load_credential, load_target_url, require_credential
from pointsman.settings.secrets_manager import of_this_process
from tests.settings.conftest import Put

EXECUTOR = "STUDIO_EXECUTOR_SECRET"


def test_given_beats_environment_beats_file_beats_secrets_manager(
    put: Put, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("load-test/dev/acme-key", "from-secrets-manager")
    assert load_credential("ACME_KEY") == Secret("from-secrets-manager")
    (home / "secrets" / "ACME_KEY").write_text("from-the-file\n")
    assert load_credential("ACME_KEY") == Secret("from-the-file")
    monkeypatch.setenv("ACME_KEY", "from-the-environment")
    assert load_credential("ACME_KEY") == Secret("from-the-environment")
    assert load_credential("ACME_KEY", given=Secret("given")) == Secret("given")
    assert Secret("from-the-file") in handed_out()


def test_the_executors_secret_is_found_under_each_of_its_names(put: Put, home: Path) -> None:
    put("load-test/dev/executor-secret", "from-secrets-manager")
    assert require_credential(EXECUTOR, "the lab's") == Secret("from-secrets-manager")
    (home / "secrets" / "executor").write_text("from-the-file")
    assert require_credential(EXECUTOR, "the lab's") == Secret("from-the-file")
    (home / "config.toml").write_text('executor_secret = "from-config"')
    assert require_credential(EXECUTOR, "the lab's") == Secret("from-config")


@pytest.mark.parametrize("environment", ["dev", "uat", "prod"])
def test_a_target_url_comes_by_its_name_before_its_alias(
    environment: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(f"load-test/{environment}/relay-url", "http://127.0.0.1:1")
    assert load_target_url(environment) == "http://127.0.0.1:1"
    of_this_process.cache_clear()
    put(f"load-test/{environment}/target-url", "http://127.0.0.1:2\n")
    assert load_target_url(environment) == "http://127.0.0.1:2"
    monkeypatch.setenv(f"RELAY_URL_{environment.upper()}", "http://127.0.0.1:3")
    assert load_target_url(environment) == "http://127.0.0.1:3"
    monkeypatch.setenv(f"TARGET_URL_{environment.upper()}", "http://127.0.0.1:4")
    assert load_target_url(environment) == "http://127.0.0.1:4"
    assert load_target_url(environment, given="http://127.0.0.1:5") == "http://127.0.0.1:5"


@pytest.mark.parametrize("key", ["TARGET_URL_DEV", "RELAY_URL_DEV", "target-url", "relay-url"])
def test_a_json_secret_holds_the_value_under_one_of_its_names(key: str, put: Put) -> None:
    put("load-test/dev/target-url", json.dumps({"user": "u", key: "http://127.0.0.1:7"}))
    assert load_target_url("dev") == "http://127.0.0.1:7"


def test_json_without_the_key_is_looked_past_and_named_without_its_values(put: Put) -> None:
    put("load-test/dev/acme-key", json.dumps({"user": "word-3381", "ACME_KEY": 5}))
    with pytest.raises(NotConfigured, match="JSON without a text under ACME_KEY or acme-key") as refused:
        require_credential("ACME_KEY", "the secret of target acme")
    assert "word-3381" not in repr(refused.value.__dict__) + str(refused.value)


@pytest.mark.parametrize("text", ["5", '"quoted"', "[1]", "plain"])
def test_a_secret_that_is_no_json_object_is_the_value_itself(text: str, put: Put) -> None:
    put("load-test/dev/acme-key", text)
    assert load_credential("ACME_KEY") == Secret(text)


def test_what_is_nowhere_is_refused_with_every_place_in_the_order_of_looking(
    put: Put, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("load-test/uat/target-url", None)
    monkeypatch.setenv("TARGET_URL_UAT", " ")
    with pytest.raises(NotConfigured) as refused:
        load_target_url("uat")
    assert refused.value.exit_code == 2
    assert refused.value.tried == (
        "what was given",
        "the environment variable TARGET_URL_UAT (empty)",
        "the environment variable RELAY_URL_UAT",
        f"the file {home}/secrets/TARGET_URL_UAT",
        f"the file {home}/secrets/RELAY_URL_UAT",
        "load-test/uat/target-url in Secrets Manager (no such secret, or no value in it)",
        "load-test/uat/relay-url in Secrets Manager (no such secret, or no value in it)",
    )
    assert refused.value.message.startswith("TARGET_URL_UAT (where the targets of uat listen): not found in what was")
    assert "; ".join(refused.value.tried) in refused.value.message
    assert "Set TARGET_URL_UAT" in refused.value.instruction


def test_the_instruction_of_the_refusal_works(home: Path) -> None:
    with pytest.raises(NotConfigured, match="secrets/ACME_KEY of POINTSMAN_HOME"):
        require_credential("ACME_KEY", "the secret of target acme")
    (home / "secrets" / "ACME_KEY").write_text("now-it-is-there")
    assert require_credential("ACME_KEY", "the secret of target acme") == Secret("now-it-is-there")


def test_another_environment_has_no_target_url() -> None:
    with pytest.raises(InputRefused, match="environment: 'lab' is not allowed; allowed: dev, uat, prod"):
        load_target_url("lab")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.mark.usefixtures("no_network")
def test_without_an_environment_aws_is_not_even_imported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(NotConfigured, match=r"Secrets Manager \(not asked: POINTSMAN_ENVIRONMENT is not set\)"):
        require_credential("ACME_KEY", "the secret of target acme")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({}, "AWS has no credentials here"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}, "AWS_DEFAULT_REGION is not set"),
    ],
)
def test_a_machine_without_aws_asks_nobody_and_waits_for_no_metadata_service(
    variables: dict[str, str], why: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POINTSMAN_ENVIRONMENT", "dev")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NotConfigured, match=why):
        require_credential("ACME_KEY", "the secret of target acme")


@pytest.mark.usefixtures("no_network")
def test_what_is_found_before_asks_nothing_of_aws(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "in-the-environment")
    assert load_credential("ACME_KEY") == Secret("in-the-environment")
