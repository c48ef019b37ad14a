"""Registered variants and real little clips."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.benchmark import InputFile, register_environment, register_input_set, register_variants
from pointsman.ids import VariantId
from pointsman.model import InputSet
from pointsman.workspace import Workspace
from tests.benchmark.samples import VARIANTS, make_clip


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [make_clip(folder / f"clip-{number}.avi", 16 + 40 * number) for number in range(4)]


@pytest.fixture
def inputs(ws: Workspace, clips: list[Path]) -> InputSet:
    files = [InputFile(clip, cluster=f"source-{number // 2}") for number, clip in enumerate(clips)]
    return register_input_set(ws, "golden-v1", files)


@pytest.fixture
def registered(ws: Workspace) -> list[VariantId]:
    register_environment(ws, "lab", name="Lab", kind="local")
    register_variants(ws, VARIANTS)
    return [variant.id for variant in VARIANTS]
