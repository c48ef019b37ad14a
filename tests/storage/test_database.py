"""Opening and migrating the state of record, and writing to it from several places at once."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from pointsman.errors import DependencyDown, InputRefused
from pointsman.storage import open_database, tables

_A_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_WRITE = """
import sys
from datetime import UTC, datetime
import sqlalchemy as sa
from pointsman.storage import open_database, tables
engine = open_database(sys.argv[1])
for number in range(int(sys.argv[3])):
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.count()).select_from(tables.scenarios)).scalar()
        connection.execute(sa.insert(tables.scenarios).values(
            id=f"{sys.argv[2]}-{number}", definition={}, sha256="", created_at=datetime.now(UTC)))
"""


def _count(engine: sa.Engine) -> int:
    with engine.begin() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(tables.scenarios)).scalar_one())


def test_migrations_give_the_schema_that_the_tables_declare(database: sa.Engine) -> None:
    with database.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []


def test_check_constraints_of_the_tables_are_in_the_migrated_schema(database: sa.Engine) -> None:
    declared = {
        (table.name, f"ck_{table.name}_{constraint.name.removeprefix(f'ck_{table.name}_')}")
        for table in tables.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, sa.CheckConstraint) and isinstance(constraint.name, str)
    }
    inspector = sa.inspect(database)
    migrated = {
        (name, str(constraint["name"]))
        for name in inspector.get_table_names()
        for constraint in inspector.get_check_constraints(name)
    }
    assert declared
    assert migrated == declared


def test_opening_a_migrated_database_again_keeps_its_rows(database_url: str) -> None:
    first = open_database(database_url)
    with first.begin() as connection:
        connection.execute(
            sa.insert(tables.effect_revisions).values(
                id="postcard-1", name="Postcard", media="video", created_at=_A_TIME
            )
        )
    second = open_database(database_url)
    with second.begin() as connection:
        assert connection.execute(sa.select(tables.effect_revisions.c.id)).scalars().all() == ["postcard-1"]
    for engine in (first, second):
        engine.dispose()


def test_two_processes_that_open_and_write_one_file_at_the_same_time_both_succeed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'pointsman.db'}"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITE, url, name, "25"], stderr=subprocess.PIPE)
        for name in ("one", "two")
    ]
    told = [writer.communicate(timeout=60)[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], told
    assert _count(open_database(url)) == 50


def test_an_empty_database_that_is_opened_from_several_places_at_once_is_migrated_once(database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        engines = list(pool.map(open_database, [database_url] * 4))
    assert [_count(engine) for engine in engines] == [0] * 4
    for engine in engines:
        engine.dispose()


def test_threads_that_read_and_then_write_in_one_transaction_wait_for_each_other(database: sa.Engine) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(4)

    def write(name: int) -> None:
        barrier.wait()
        try:
            for number in range(15):
                with database.begin() as connection:
                    connection.execute(sa.select(tables.scenarios.c.id)).all()
                    connection.execute(
                        sa.insert(tables.scenarios).values(
                            id=f"{name}-{number}", definition={}, sha256="", created_at=_A_TIME
                        )
                    )
        except sa.exc.SQLAlchemyError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert _count(database) == 60


@pytest.mark.parametrize("url", ["", "not a url", "oracle9://x/y", "sqlite://", "sqlite:///:memory:"])
def test_a_url_that_names_no_usable_database_is_refused(url: str) -> None:
    with pytest.raises(InputRefused) as refusal:
        open_database(url)
    assert "POINTSMAN_DATABASE_URL" in str(refusal.value)
    assert refusal.value.exit_code == 2


def test_a_sqlite_folder_that_cannot_be_made_is_a_dependency_that_is_down(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file, not a folder")
    with pytest.raises(DependencyDown) as down:
        open_database(f"sqlite:///{tmp_path / 'occupied' / 'pointsman.db'}")
    assert down.value.code == "database_unreachable"
    assert str(tmp_path / "occupied") in str(down.value)
    assert "pointsman doctor" in down.value.instruction


def test_a_file_that_is_no_database_is_a_dependency_that_is_down_and_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    file.write_bytes(b"these are my notes, not a database" * 40)
    with pytest.raises(DependencyDown):
        open_database(f"sqlite:///{file}")
    assert file.read_bytes() == b"these are my notes, not a database" * 40


def test_a_server_that_is_out_of_reach_is_reported_without_its_password() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"postgresql+psycopg://operator:hunter2@127.0.0.1:{held.getsockname()[1]}/pointsman"
        with pytest.raises(DependencyDown) as down:
            open_database(url)
    assert "hunter2" not in f"{down.value}{down.value!r}{down.value.data}"
    assert "operator" in str(down.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+nodriver://operator:hunter2@127.0.0.1/pointsman",
        "postgresql+psycopg://operator:hunter2@127.0.0.1:port/pointsman",
        "operator:hunter2@127.0.0.1/pointsman",
        "post gres://operator:hunter2@127.0.0.1/pointsman",
        "host=127.0.0.1 user=operator password=hunter2",
        "postgresql+psycopg://127.0.0.1:port/pointsman?user=operator&password=hunter2",
    ],
)
def test_a_malformed_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(InputRefused) as refusal:
        open_database(url)
    assert "hunter2" not in f"{refusal.value}{refusal.value!r}{refusal.value.data}"


def test_a_password_in_the_query_of_a_url_is_hidden_as_well() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(DependencyDown) as down:
            open_database(f"postgresql+psycopg://{address}/pointsman?user=operator&password=hunter2")
    assert "hunter2" not in f"{down.value}{down.value.data}"


def test_a_database_of_a_newer_version_is_left_alone_and_said_so(database_url: str) -> None:
    engine = open_database(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(DependencyDown) as down:
        open_database(database_url)
    assert down.value.code == "database_newer"
    assert "9999" in down.value.message


def test_opening_without_migrating_creates_no_tables(database_url: str) -> None:
    engine = open_database(database_url, migrate=False)
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def test_foreign_keys_hold_on_every_database(database: sa.Engine) -> None:
    orphan = sa.insert(tables.benchmark_matrix_run_items).values(
        dispatch_id="d",
        benchmark_id="bm_nowhere",
        seq=0,
        round=0,
        variant_id="v",
        input_id="i",
        cluster="c",
        repeat=0,
        status="pending",
    )
    with pytest.raises(sa.exc.IntegrityError), database.begin() as connection:
        connection.execute(orphan)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_rights_is_a_dependency_that_is_down(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DependencyDown):
        open_database(f"sqlite:///{tmp_path / 'sub' / 'pointsman.db'}")
    tmp_path.chmod(0o700)
