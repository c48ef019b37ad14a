"""The stand-in for the dispatch driver, put in its place."""

from __future__ import annotations

import pytest

from tests.scenario.fake_engine import FakeEngine
from tests.scenario.fake_watcher import FakeWatcher


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr("pointsman.scenario.launching.DriveProcess", fake.start)
    monkeypatch.setattr("pointsman.scenario.shards.settle_cancelled", fake.settle)
    for module, names in {
        "execution": ("settle",),
        "coordination": ("read_epoch",),
        "shards": ("read_epoch", "read_summary"),
        "ledger": ("scan_dispatches",),
        "status": ("read_status", "read_figures"),
    }.items():
        for name in names:
            monkeypatch.setattr(f"pointsman.scenario.{module}.{name}", getattr(fake, name))
    monkeypatch.setattr("pointsman.dispatch.seconds.read_seconds", fake.read_seconds)
    return fake


@pytest.fixture
def watcher(monkeypatch: pytest.MonkeyPatch) -> FakeWatcher:
    fake = FakeWatcher()
    monkeypatch.setattr("pointsman.scenario.watchers.build_watchers", lambda *_: [fake])
    return fake
