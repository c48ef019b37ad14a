"""AWS as the lab has it, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pointsman.workspace import Workspace
from tests.scenario.faults.world import Aws, aws_world, moto_world


@pytest.fixture(scope="module")
def _moto() -> Iterator[None]:
    """For a module, whose tests follow each other: other tests of the same process begin with an empty AWS."""
    with moto_world():
        yield


@pytest.fixture
def aws(_moto: None) -> Iterator[Aws]:
    with aws_world() as world:
        yield world


@pytest.fixture
def ws(ws: Workspace, aws: Aws) -> Workspace:
    """The workspace on the clock that the agent goes by."""
    return replace(ws, clock=aws.clock)
