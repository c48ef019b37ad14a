"""The golden run, shared by the modules that read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.flows.golden import Golden
    from tests.world import LabWorld


@pytest.fixture(scope="session")
def _golden_run(_running_world: LabWorld) -> Golden:
    from tests.flows.golden import run_golden  # imports Prefect

    with _running_world.active():
        return run_golden(_running_world)


@pytest.fixture
def golden(_golden_run: Golden, lab_world: LabWorld) -> Golden:
    return _golden_run
