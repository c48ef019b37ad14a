"""Real little clips made once, a matrix whose outputs they are, and the Gemini stand-in."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest

from pointsman.workspace import Workspace
from tests.quality.gemini_stand_in import StandIn, gemini_stand_in
from tests.quality.worlds import Clips, Matrix, make_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def matrix(ws: Workspace, clips: Clips) -> Matrix:
    return Matrix(ws, clips)


@pytest.fixture(scope="session")
def certificates() -> ssl.SSLContext:
    return ssl.create_default_context()


@pytest.fixture
def gemini(monkeypatch: pytest.MonkeyPatch, certificates: ssl.SSLContext) -> Iterator[StandIn]:
    # The client loads all certificates three times, a third of a second each time, to talk plain HTTP here.
    monkeypatch.setattr(ssl, "create_default_context", lambda *args, **kwargs: certificates)
    with gemini_stand_in() as stand_in:
        yield stand_in
