"""Fixtures of the dispatch tests."""

from __future__ import annotations

import pytest

from tests.dispatch.world import Service, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def service(world: World) -> Service:
    return Service(world)
