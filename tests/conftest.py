"""The world that end-to-end tests share: started once, on free ports, in a home of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# A loaded machine must not fail a test, and the same commit must always try the same examples.
settings.register_profile("pointsman", deadline=None, derandomize=True)
settings.load_profile("pointsman")

if TYPE_CHECKING:
    from tests.world import LabWorld


@pytest.fixture(scope="session")
def _running_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabWorld]:
    from tests.world import running_world  # imports Prefect, which only those should wait for who need it

    with running_world(tmp_path_factory.mktemp("world")) as started:
        yield started


@pytest.fixture
def lab_world(_running_world: LabWorld) -> Iterator[LabWorld]:
    """A running Prefect server and lab. Mark modules that use it `e2e` and `xdist_group("world")`: it is one world."""
    with _running_world.active():
        yield _running_world
