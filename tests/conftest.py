"""What tests of all rooms share: a workspace on a fresh database, and the world of the end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from pointsman.storage import open_database
from pointsman.workspace import Workspace
from tests.workspaces import workspace_in

# A loaded machine must not fail a test, and the same commit must always try the same examples.
settings.register_profile("pointsman", deadline=None, derandomize=True)
settings.load_profile("pointsman")

if TYPE_CHECKING:
    from tests.world import LabWorld


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several workers one takes a whole file: what its tests share is made once, not once in each of them."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the newest schema, to copy: migrating takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "pointsman.db"
    open_database(f"sqlite:///{file}").dispose()
    return file


@pytest.fixture
def ws(tmp_path: Path, migrated: Path) -> Workspace:
    return workspace_in(tmp_path, migrated)


@pytest.fixture(scope="session")
def _running_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabWorld]:
    from tests.world import running_world  # imports Prefect, which only those should wait for who need it

    with running_world(tmp_path_factory.mktemp("world")) as started:
        yield started


@pytest.fixture
def lab_world(request: pytest.FixtureRequest, _running_world: LabWorld) -> Iterator[LabWorld]:
    """A running Prefect server and lab, started once, on free ports, in a home of its own.

    Mark modules that use it `e2e` and `xdist_group("world")`: it is one world.
    """
    if request.config.getoption("loadgroup", default=False):  # only workers of xdist have it
        assert request.node.nodeid.endswith("@world"), "another worker has the world: mark this test for its group"
    with _running_world.active():
        yield _running_world
