"""Clips and one running backend that the tests of the lab share."""

from __future__ import annotations

import hashlib
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import pytest

from lab.clips import Clip, make_clips
from tests.lab.running import Backend


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return make_clips(tmp_path_factory.mktemp("inputs"), 2)


@pytest.fixture(scope="session")
def clip(clips: list[Clip]) -> Clip:
    return clips[0]


@pytest.fixture(scope="session")
def roots(clip: Clip) -> Path:
    return Path(clip.path).parent


@pytest.fixture(scope="session")
def long_clip(clip: Clip, roots: Path) -> Clip:
    """A clip of ten seconds: a quick encode of it lasts a second or two, a slow one many."""
    path = roots / "long.mp4"
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-stream_loop", "6", "-i", clip.path, "-c", "copy", path]
    subprocess.run(argv, check=True)
    return replace(clip, input_id="long", path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory, roots: Path) -> Iterator[Backend]:
    running = Backend.start(tmp_path_factory.mktemp("backend"), roots, "--seed", "7", "--allow-faults")
    yield running
    assert running.end(signal.SIGTERM) == 0
