"""A workspace on a fresh database."""

from pathlib import Path

import pytest

from pointsman.clock import ManualClock
from pointsman.storage import LocalResults, open_database
from pointsman.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(
        database=open_database(f"sqlite:///{tmp_path / 'pointsman.db'}"),
        results=LocalResults(tmp_path / "results"),
        clock=ManualClock(),
        actor="tester",
    )
