"""A workspace that looks shared, and people."""

from __future__ import annotations

import pytest

from pointsman.safety import Identity

ALICE = Identity("alice", "admin", "local")
BOB = Identity("bob", "operator", "token")


@pytest.fixture
def on_a_shared_database(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("identities", "acting", "tokens", "approvals"):
        monkeypatch.setattr(f"pointsman.safety.{module}.shared", lambda ws: True)
