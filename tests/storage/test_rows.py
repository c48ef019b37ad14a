"""Rows: exact values, inserting what is absent, and moving an entity through its states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointsman.errors import IllegalMove, NotFound
from pointsman.settings import load_settings
from pointsman.states import BENCHMARK_RUN
from pointsman.storage import insert_absent, move, open_database, record_creation, tables
from pointsman.workspace import Workspace

AT = datetime(2026, 1, 1, tzinfo=UTC)
RUNS = tables.benchmark_matrix_runs
_VALUES = sa.Table(
    "values_under_test",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("money", tables.ExactDecimal),
    sa.Column("at", tables.UtcDateTime),
)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> sa.Engine:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('values') / 'x.db'}", migrate=False)
    with engine.begin() as connection:
        _VALUES.metadata.create_all(connection)
    return engine


def _kept(engine: sa.Engine, **row: object) -> sa.Row[tuple[int, Decimal, datetime]]:
    with engine.begin() as connection:
        connection.execute(sa.delete(_VALUES))
        connection.execute(sa.insert(_VALUES).values(id=1, **row))
        return connection.execute(sa.select(_VALUES)).one()


@settings(max_examples=25, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=12))
def test_money_is_kept_exactly(values: sa.Engine, money: Decimal) -> None:
    assert _kept(values, money=money).money == money


@pytest.mark.parametrize("money", [Decimal("1E-12"), Decimal("1E+5"), Decimal("0.10"), Decimal("-0")])
def test_decimals_are_kept_without_exponents(values: sa.Engine, money: Decimal) -> None:
    kept = _kept(values, money=money).money
    assert kept == money
    with values.begin() as connection:
        assert "E" not in connection.exec_driver_sql("SELECT money FROM values_under_test").scalar_one()


@pytest.mark.parametrize("number", [Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity")])
def test_a_decimal_that_is_no_number_is_not_stored(values: sa.Engine, number: Decimal) -> None:
    with pytest.raises(sa.exc.StatementError, match="finite"):
        _kept(values, money=number)


def test_unknown_values_stay_unknown(values: sa.Engine) -> None:
    kept = _kept(values, money=None, at=None)
    assert (kept.money, kept.at) == (None, None)


@settings(max_examples=25, deadline=None)
@given(
    st.datetimes(min_value=datetime(1000, 1, 2), max_value=datetime(9999, 12, 30)),
    st.integers(-14 * 60, 14 * 60),
)
def test_times_of_any_zone_come_back_as_the_same_instant_in_utc(
    values: sa.Engine, naive: datetime, minutes: int
) -> None:
    at = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    kept = _kept(values, at=at).at
    assert kept == at
    assert kept.utcoffset() == timedelta(0)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.datetimes(min_value=datetime(1, 1, 1), timezones=st.just(UTC)), min_size=2, max_size=5))
def test_stored_times_sort_as_text_as_they_do_in_time(times: list[datetime]) -> None:
    kind = tables.UtcDateTime()
    stored = [str(kind.process_bind_param(at, None)) for at in times]
    assert sorted(stored) == [str(kind.process_bind_param(at, None)) for at in sorted(times)]


def test_a_naive_time_is_not_stored(values: sa.Engine) -> None:
    with pytest.raises(sa.exc.StatementError, match="aware"):
        _kept(values, at=datetime(2026, 1, 1))


def _scenario(name: str) -> dict[str, object]:
    return {"id": name, "definition": {}, "sha256": "0", "created_at": AT}


def test_inserting_twice_keeps_the_first_and_counts_only_what_was_new(database: sa.Engine) -> None:
    with database.begin() as connection:
        assert insert_absent(connection, tables.scenarios, [_scenario("a"), _scenario("b")]) == 2
        again = [{**_scenario("b"), "sha256": "other"}, _scenario("c"), _scenario("d")]
        assert insert_absent(connection, tables.scenarios, again) == 2
        assert insert_absent(connection, tables.scenarios, again) == 0
        assert insert_absent(connection, tables.scenarios, []) == 0
        rows = connection.execute(sa.select(tables.scenarios).order_by(tables.scenarios.c.id)).all()
    assert [(row.id, row.sha256) for row in rows] == [("a", "0"), ("b", "0"), ("c", "0"), ("d", "0")]


def test_a_thousand_rows_are_counted_as_well(database: sa.Engine) -> None:
    with database.begin() as connection:
        insert_absent(connection, tables.scenarios, [_scenario(f"s{number}") for number in range(500)])
        rows = [_scenario(f"s{number}") for number in range(1500)]
        assert insert_absent(connection, tables.scenarios, rows) == 1000


def test_a_row_that_breaks_a_rule_other_than_uniqueness_is_an_error(database: sa.Engine) -> None:
    broken = {
        "id": "u",
        "run_id": "r",
        "subject_id": "s",
        "sku": "k",
        "quantity": None,
        "missing_reason": None,
        "basis": "measured",
    }
    with pytest.raises(sa.exc.IntegrityError), database.begin() as connection:
        insert_absent(connection, tables.usage, [broken])


def _create(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.insert(RUNS).values(
                id="bm_1",
                status="created",
                input_set_id="i",
                environment_id="lab",
                seed=2**62,
                plan={},
                plan_sha256="0",
                results_path="p",
                created_at=AT,
            )
        )
        record_creation(connection, BENCHMARK_RUN, "bm_1", at=AT, actor="tester", reason="planned")


def _move(engine: sa.Engine, new: str, entity: str = "bm_1", **values: object) -> bool:
    with engine.begin() as connection:
        return move(connection, BENCHMARK_RUN, RUNS, entity, new, at=AT, actor="tester", reason=f"to {new}", **values)


def _history(engine: sa.Engine) -> list[tuple[str | None, str, str, str]]:
    log = tables.state_transitions
    with engine.begin() as connection:
        rows = connection.execute(sa.select(log).where(log.c.entity_id == "bm_1").order_by(log.c.id)).all()
    return [(row.from_state, row.to_state, row.reason, row.actor) for row in rows]


def test_a_legal_move_changes_the_row_and_is_recorded(database: sa.Engine) -> None:
    _create(database)
    assert _move(database, "running", started_at=AT)
    with database.begin() as connection:
        row = connection.execute(sa.select(RUNS)).one()
    assert (row.status, row.started_at, row.seed) == ("running", AT, 2**62)
    assert _history(database) == [
        (None, "created", "planned", "tester"),
        ("created", "running", "to running", "tester"),
    ]


def test_moving_to_the_present_state_changes_and_records_nothing(database: sa.Engine) -> None:
    _create(database)
    _move(database, "ready")
    assert not _move(database, "ready", started_at=AT)
    with database.begin() as connection:
        assert connection.execute(sa.select(RUNS.c.started_at)).scalar() is None
    assert len(_history(database)) == 2


def test_an_illegal_move_changes_and_records_nothing(database: sa.Engine) -> None:
    _create(database)
    _move(database, "collected")
    with pytest.raises(IllegalMove):
        _move(database, "created")
    with database.begin() as connection:
        assert connection.execute(sa.select(RUNS.c.status)).scalar() == "collected"
    assert len(_history(database)) == 2


def test_moving_what_does_not_exist_is_not_found(database: sa.Engine) -> None:
    with pytest.raises(NotFound, match="bm_2"):
        _move(database, "running", entity="bm_2")


def test_a_move_that_is_rolled_back_leaves_no_record(database: sa.Engine) -> None:
    _create(database)
    connection = database.connect()
    transaction = connection.begin()
    move(connection, BENCHMARK_RUN, RUNS, "bm_1", "running", at=AT, actor="tester", reason="")
    transaction.rollback()
    connection.close()
    assert len(_history(database)) == 1


def test_a_workspace_opens_what_the_settings_name(tmp_path: Path) -> None:
    ws = Workspace.open(load_settings({"POINTSMAN_HOME": str(tmp_path)}), actor="tester")
    assert (tmp_path / "pointsman.db").is_file()
    assert ws.results.root == tmp_path / "results"
    assert ws.clock.now().tzinfo is not None
