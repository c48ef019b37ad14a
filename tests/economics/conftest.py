"""A workspace with an empty matrix, and a price book that can be added up by hand."""

from pathlib import Path

import pytest

from pointsman.clock import ManualClock
from pointsman.economics import PriceBook
from tests.economics.worlds import NOW, World, book_of
from tests.workspaces import workspace_in


@pytest.fixture
def world(migrated: Path, tmp_path: Path) -> World:
    return World(workspace_in(tmp_path, migrated, ManualClock(NOW)))


@pytest.fixture
def book(tmp_path: Path) -> PriceBook:
    return book_of(tmp_path)
