"""A migrated database: copying it is quicker than migrating again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.storage import open_database


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("migrated") / "pointsman.db"
    open_database(f"sqlite:///{file}").dispose()
    return file
