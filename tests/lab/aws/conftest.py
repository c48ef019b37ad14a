"""One running AWS of the lab, shared by the tests of its ECS."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.lab.aws.ecs import GRACEFUL, LOGS, LabEcs, processes_with
from tests.lab.running import Backend, alive, eventually


@pytest.fixture(scope="session")
def ecs(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabEcs]:
    folder = tmp_path_factory.mktemp("aws")
    running = LabEcs.start(str(backend.client.base_url).rstrip("/"), folder, TMPDIR=str(folder))
    yield running
    _it_leaves_nothing_when_it_is_killed(running, folder)


def _it_leaves_nothing_when_it_is_killed(ecs: LabEcs, folder: Path) -> None:
    """Here, because a second one would take seconds to start."""
    mark = str(uuid4())
    arn = ecs.run(f"'{mark}'{GRACEFUL}", logConfiguration=LOGS)
    ecs.says(arn, "here")
    engine = int(ecs.log(arn)[0].split()[1])
    assert processes_with(mark)
    assert alive(engine)
    assert list(folder.glob("pointsman-lab-ecs-*"))
    ecs.end(signal.SIGKILL)
    eventually(lambda: not processes_with(mark) and not alive(engine), 5)
    eventually(lambda: not list(folder.glob("pointsman-lab-ecs-*")), 5)
