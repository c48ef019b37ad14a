"""A workspace that looks shared, people, and production in moto."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pointsman.safety import Identity

ALICE = Identity("alice", "admin", "local")
BOB = Identity("bob", "operator", "token")


@pytest.fixture
def on_a_shared_database(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("identities", "acting", "tokens", "approvals"):
        monkeypatch.setattr(f"pointsman.safety.{module}.shared", lambda ws: True)


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[Any, Any]]:
    from tests.safety.production_world import production_in_moto  # moto is slow to import, and few need it

    with production_in_moto() as made:
        yield made
