"""Which commit code is of that runs from an image, where there is no checkout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pointsman import __version__
from pointsman.version import code_version, git_commit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    git_commit.cache_clear()
    yield
    git_commit.cache_clear()


def test_an_image_says_which_commit_it_was_built_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pointsman.version.__file__", str(tmp_path / "pointsman" / "version.py"))
    monkeypatch.setenv("POINTSMAN_COMMIT", COMMIT)
    assert git_commit() == COMMIT
    assert code_version() == f"{__version__}+g0123456789ab"


@pytest.mark.parametrize("given", ["", "main", COMMIT.upper(), f"{COMMIT}\n"])
def test_what_is_no_commit_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str) -> None:
    monkeypatch.setattr("pointsman.version.__file__", str(tmp_path / "pointsman" / "version.py"))
    monkeypatch.setenv("POINTSMAN_COMMIT", given)
    assert git_commit() is None
    assert code_version() == __version__


def test_a_checkout_knows_better(monkeypatch: pytest.MonkeyPatch) -> None:
    own = git_commit()
    git_commit.cache_clear()
    monkeypatch.setenv("POINTSMAN_COMMIT", COMMIT)
    assert own is None or git_commit() == own
