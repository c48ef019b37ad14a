"""A workspace on a fresh database, registered variants and real little clips."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pointsman.benchmark import InputFile, register_environment, register_input_set, register_variants
from pointsman.clock import ManualClock
from pointsman.ids import VariantId
from pointsman.model import InputSet
from pointsman.storage import LocalResults, open_database
from pointsman.workspace import Workspace
from tests.benchmark.samples import VARIANTS, make_clip


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [make_clip(folder / f"clip-{number}.avi", 16 + 40 * number) for number in range(4)]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the newest schema, to be copied: migrating takes longer than most tests."""
    file = tmp_path_factory.mktemp("migrated") / "pointsman.db"
    open_database(f"sqlite:///{file}").dispose()
    return file


@pytest.fixture
def ws(tmp_path: Path, migrated: Path) -> Workspace:
    shutil.copyfile(migrated, tmp_path / "pointsman.db")
    database = open_database(f"sqlite:///{tmp_path / 'pointsman.db'}", migrate=False)
    return Workspace(database, LocalResults(tmp_path / "results"), ManualClock(), "tester")


@pytest.fixture
def inputs(ws: Workspace, clips: list[Path]) -> InputSet:
    files = [InputFile(clip, cluster=f"source-{number // 2}") for number, clip in enumerate(clips)]
    return register_input_set(ws, "golden-v1", files)


@pytest.fixture
def registered(ws: Workspace) -> list[VariantId]:
    register_environment(ws, "lab", name="Lab", kind="local")
    register_variants(ws, VARIANTS)
    return [variant.id for variant in VARIANTS]
