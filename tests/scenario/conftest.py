"""A workspace on a fresh database, and the stand-in for the dispatch driver put in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.clock import ManualClock
from pointsman.storage import LocalResults, open_database
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import FakeEngine


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(
        database=open_database(f"sqlite:///{tmp_path / 'pointsman.db'}"),
        results=LocalResults(tmp_path / "results"),
        clock=ManualClock(),
        actor="tester",
    )


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    for module, names in {
        "execution": ("drive", "settle"),
        "conclusion": ("read_dispatches",),
        "status": ("read_status",),
        "report": ("read_dispatches",),
        "load": ("read_dispatches",),
    }.items():
        for name in names:
            monkeypatch.setattr(f"pointsman.scenario.{module}.{name}", getattr(fake, name))
    return fake
