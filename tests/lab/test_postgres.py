"""The lab's PostgreSQL where it cannot be had; `tests/storage` runs it."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from lab import postgres
from pointsman.errors import DependencyDown, InputRefused

ARGV = ["--port", "1", "--home"]


def test_it_is_not_started_without_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert postgres.main([*ARGV, str(tmp_path / "home")]) == InputRefused.exit_code
    assert not (tmp_path / "home").exists()


def test_where_none_is_installed_another_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGPASSWORD", "of-a-test")
    monkeypatch.setattr(postgres, "binaries", lambda: None)
    assert postgres.main([*ARGV, str(tmp_path / "home")]) == DependencyDown.exit_code
    said = capsys.readouterr().err
    assert "POINTSMAN_DATABASE_URL=postgresql+psycopg://" in said
    assert "of-a-test" not in said


@pytest.mark.skipif(os.geteuid() != 0 or postgres.binaries() is None, reason="only root becomes somebody else")
def test_root_is_told_when_the_other_user_does_not_get_through_to_the_folder(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = postgres.binaries()
    assert program is not None
    with pytest.raises(DependencyDown, match=r"for the user nobody: .*Permission denied") as refused:
        postgres.make_cluster(program, closed / "home", "of-a-test", pwd.getpwnam("nobody"))
    assert "POINTSMAN_HOME" in refused.value.instruction
    assert not (closed / "home" / "password").exists()


def test_what_initdb_says_is_said(tmp_path: Path) -> None:
    initdb = tmp_path / "initdb"
    initdb.write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    initdb.chmod(0o755)
    with pytest.raises(DependencyDown, match="no room"):
        postgres.make_cluster(tmp_path, tmp_path / "home", "of-a-test", None)


def test_the_newest_of_several_versions_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("9", "15"):
        for name in ("initdb", "postgres"):
            path = tmp_path / version / "bin" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    monkeypatch.setattr(postgres, "_INSTALLED", tmp_path)
    monkeypatch.setenv("PATH", "")
    assert postgres.binaries() == tmp_path / "15" / "bin"
