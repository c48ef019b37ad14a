"""Databases to test the state of record on: a SQLite file always, a private PostgreSQL server where there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pointsman.errors import DependencyDown
from pointsman.storage import open_database
from tests.few_inputs import free_ports
from tests.lab.running import CHECKOUT

PASSWORD = "of-a-test"

_STARTUP_LIMIT_S = 20.0


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the lab's PostgreSQL on loopback, ended at the end. Skips where it cannot be started."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    let_everybody_through(folder)
    (port,) = free_ports(1)
    server = subprocess.Popen(
        [sys.executable, "-m", "lab.postgres", "--port", str(port), "--home", str(folder / "home")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PGPASSWORD": PASSWORD},
        cwd=CHECKOUT,
    )
    url = f"postgresql+psycopg://pointsman:{PASSWORD}@127.0.0.1:{port}/postgres"
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        limit = time.monotonic() + _STARTUP_LIMIT_S
        while True:
            try:
                with engine.connect():
                    break
            except sa.exc.OperationalError:
                if server.poll() == DependencyDown.exit_code:
                    assert server.stderr is not None
                    pytest.skip(server.stderr.read())
                assert server.poll() is None, "the private PostgreSQL server ended at once"
                assert time.monotonic() < limit, "the private PostgreSQL server did not come up"
                time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.communicate(timeout=20)


def let_everybody_through(folder: Path) -> None:
    """PostgreSQL does not run as root, and the user that it runs as has to get through to its folder."""
    if os.geteuid() == 0:
        for path in (folder, *folder.parents):
            if path != Path("/") and path.stat().st_uid == 0 and not path.stat().st_mode & 0o001:
                path.chmod(path.stat().st_mode | 0o011)


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
def migrated_template(postgres_url: str) -> str:
    """The name of a PostgreSQL database with the newest schema, to be copied."""
    open_database(_create(postgres_url, "migrated")).dispose()
    return "migrated"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """An engine on a migrated database without rows, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated"), tmp_path / "pointsman.db")
        url = f"sqlite:///{tmp_path / 'pointsman.db'}"
    else:
        template = request.getfixturevalue("migrated_template")
        url = _create(request.getfixturevalue("postgres_url"), f"test_{os.urandom(6).hex()}", template=template)
    engine = open_database(url, migrate=False)
    yield engine
    engine.dispose()
