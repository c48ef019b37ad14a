"""A process's environment without anybody's settings, and Secrets Manager as moto answers it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.secretsmanager.models import secretsmanager_backends

from pointsman.settings import secrets_manager

Put = Callable[[str, str | None], None]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No AWS is configured, and the process has asked for nothing yet."""
    for name in os.environ:
        if name.startswith(("AWS_", "POINTSMAN_", "STUDIO_", "TARGET_URL_", "RELAY_URL_", "GEMINI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "secrets").mkdir(parents=True)
    secrets_manager.of_this_process.cache_clear()
    yield tmp_path / "home"
    secrets_manager.of_this_process.cache_clear()


_connect = secrets_manager.connect


@cache
def _client() -> Any:
    """Made once: reading the service's model takes longer than most tests."""
    return _connect()


@pytest.fixture
def put(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Put]:
    """AWS is configured, this is the environment dev, and secrets can be put into its Secrets Manager."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("POINTSMAN_ENVIRONMENT", "dev")

    monkeypatch.setattr(secrets_manager, "connect", _client)

    def one(name: str, value: str | None) -> None:
        nothing = dict.fromkeys(("secret_binary", "description", "tags", "kms_key_id", "client_request_token"))
        backend = secretsmanager_backends[DEFAULT_ACCOUNT_ID]["eu-west-1"]
        backend.create_secret(name, value, **nothing, replica_regions=[], force_overwrite=False)  # type: ignore

    with mock_aws():
        yield one
