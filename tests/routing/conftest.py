"""A workspace that knows variants A, B and C, and both gateways."""

import shutil
from pathlib import Path

import pytest

from pointsman.routing import FlagdFileGateway, Gateway
from pointsman.workspace import Workspace
from tests.routing.worlds import DATABASE, A, B, C, MemoryGateway, register, workspace


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a migrated database that knows A, B and C; copying it is quicker than migrating again."""
    folder = tmp_path_factory.mktemp("prepared")
    ws = workspace(folder)
    register(ws, A, B, C)
    ws.database.dispose()  # what is written is in the file itself only when the last connection has closed
    return folder


@pytest.fixture
def ws(prepared: Path, tmp_path: Path) -> Workspace:
    shutil.copy(prepared / DATABASE, tmp_path)
    return workspace(tmp_path, migrate=False)


@pytest.fixture(params=["memory", "flagd"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Gateway:
    return MemoryGateway() if request.param == "memory" else FlagdFileGateway(tmp_path / "gateway" / "flags.json")
