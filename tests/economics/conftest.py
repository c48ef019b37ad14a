"""A workspace with an empty matrix, and a price book that can be added up by hand."""

import shutil
from pathlib import Path

import pytest

from pointsman.clock import ManualClock
from pointsman.economics import PriceBook
from pointsman.storage import LocalResults, open_database
from pointsman.workspace import Workspace
from tests.economics.worlds import NOW, World, book_of


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database; copying it is quicker than migrating again."""
    file = tmp_path_factory.mktemp("migrated") / "pointsman.db"
    open_database(f"sqlite:///{file}").dispose()
    return file


@pytest.fixture
def world(migrated: Path, tmp_path: Path) -> World:
    shutil.copy(migrated, tmp_path)
    database = open_database(f"sqlite:///{tmp_path / migrated.name}", migrate=False)
    return World(Workspace(database, LocalResults(tmp_path / "results"), ManualClock(NOW), "tester"))


@pytest.fixture
def book(tmp_path: Path) -> PriceBook:
    return book_of(tmp_path)
