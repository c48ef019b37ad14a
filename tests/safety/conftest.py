"""A workspace on a fresh file, one that looks shared, and people."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.clock import ManualClock
from pointsman.safety import Identity
from pointsman.storage import LocalResults, open_database
from pointsman.workspace import Workspace

ALICE = Identity("alice", "admin", "local")
BOB = Identity("bob", "operator", "token")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A migrated database; copying it is quicker than migrating again."""
    file = tmp_path_factory.mktemp("migrated") / "pointsman.db"
    open_database(f"sqlite:///{file}").dispose()
    return file.read_bytes()


@pytest.fixture
def ws(migrated: bytes, tmp_path: Path) -> Workspace:
    (tmp_path / "pointsman.db").write_bytes(migrated)
    database = open_database(f"sqlite:///{tmp_path / 'pointsman.db'}", migrate=False)
    return Workspace(database, LocalResults(tmp_path / "results"), ManualClock(), "tester")


@pytest.fixture
def on_a_shared_database(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("identities", "acting", "tokens", "approvals"):
        monkeypatch.setattr(f"pointsman.safety.{module}.shared", lambda ws: True)
