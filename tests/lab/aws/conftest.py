"""One running AWS of the lab, shared by the tests of its ECS."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.lab.aws.ecs import LabEcs
from tests.lab.running import Backend


@pytest.fixture(scope="session")
def ecs(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabEcs]:
    folder = tmp_path_factory.mktemp("aws")
    running = LabEcs.start(str(backend.client.base_url).rstrip("/"), folder, TMPDIR=str(folder))
    yield running
    # Here, because a second one would take seconds to start.
    running.end_with_a_task_running(signal.SIGKILL, folder)
