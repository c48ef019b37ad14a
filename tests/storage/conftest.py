"""Databases to test the state of record on: a SQLite file always, a private PostgreSQL server where there is one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pointsman.storage import open_database

_STARTUP_LIMIT_S = 20.0


def _server_binaries() -> Path | None:
    candidates = [Path(found).resolve().parent for found in [shutil.which("postgres")] if found]
    candidates += [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/local/bin")]
    return next(
        (folder for folder in candidates if (folder / "postgres").exists() and (folder / "initdb").exists()), None
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of our own on loopback, stopped at the end. Skips where it cannot be started."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    binaries = _server_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server (initdb, postgres) is installed here")
    as_user: dict[str, object] = {}
    folder = tmp_path_factory.mktemp("postgres")
    if os.geteuid() == 0:
        import pwd

        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user `postgres` to run it as")
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(folder, account.pw_uid, account.pw_gid)
        for parent in folder.parents:  # the server's user has to get through to its folder
            if parent.stat().st_uid == 0 and parent != Path("/") and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    data = folder / "data"
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
    subprocess.run(
        [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            "tester",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--no-instructions",
        ],
        check=True,
        capture_output=True,
        env=environment,
        cwd=folder,
        timeout=60,
        **as_user,  # type: ignore[call-overload]
    )
    port = _free_port()
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", "", "-F"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=folder,
        **as_user,  # type: ignore[call-overload]
    )
    url = f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        limit = time.monotonic() + _STARTUP_LIMIT_S
        while True:
            try:
                with engine.connect():
                    break
            except sa.exc.OperationalError:
                assert server.poll() is None, "the private PostgreSQL server ended at once"
                assert time.monotonic() < limit, "the private PostgreSQL server did not come up"
                time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=20)


def _create(server: str, name: str, *, template: str = "template1") -> str:
    """Create a database on the server and give its URL."""
    admin = sa.create_engine(server, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'pointsman.db'}"
    return _create(request.getfixturevalue("postgres_url"), f"empty_{os.urandom(6).hex()}")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest schema, to be copied."""
    file = tmp_path_factory.mktemp("migrated") / "pointsman.db"
    open_database(f"sqlite:///{file}").dispose()
    return file


@pytest.fixture(scope="session")
def migrated_template(postgres_url: str) -> str:
    """The name of a PostgreSQL database with the newest schema, to be copied."""
    open_database(_create(postgres_url, "migrated")).dispose()
    return "migrated"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """An engine on a migrated database without rows, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated_file"), tmp_path / "pointsman.db")
        url = f"sqlite:///{tmp_path / 'pointsman.db'}"
    else:
        template = request.getfixturevalue("migrated_template")
        url = _create(request.getfixturevalue("postgres_url"), f"test_{os.urandom(6).hex()}", template=template)
    engine = open_database(url, migrate=False)
    yield engine
    engine.dispose()
