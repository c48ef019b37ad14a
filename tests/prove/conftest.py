"""The ECS lab, which all tests on ECS share; and what the kill tests covered, printed at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.prove.coverage_of_kills import COVERED

if TYPE_CHECKING:
    from tests.prove.ecs_lab import EcsLab


@pytest.fixture(scope="session")
def _ecs_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EcsLab]:
    from tests.prove.ecs_lab import running_ecs_lab  # imports Prefect, which only those should wait for who need it

    with running_ecs_lab(tmp_path_factory.mktemp("ecs-lab")) as running:
        yield running


@pytest.fixture
def ecs(_ecs_lab: EcsLab) -> Iterator[EcsLab]:
    """The running ECS lab. Mark modules that use it `xdist_group("ecs")`: it is one."""
    with _ecs_lab.active():
        yield _ecs_lab


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if COVERED:
        terminalreporter.section("kill -9, then the same command")
        for (victim, step), outcome in COVERED.items():
            terminalreporter.write_line(f"{victim:<8} {step:<10} {outcome}")
