"""A matrix whose rounds are run by tasks that share nothing but the database and a bucket."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.benchmark import (
    InputFile,
    Turn,
    as_turn,
    cancel_matrix,
    cell_counts,
    create_matrix,
    finish_matrix,
    in_place_instead,
    input_set,
    matrix_chunks,
    matrix_report,
    matrix_run,
    matrix_turn,
    register_environment,
    register_input_set,
    register_variants,
    rounds,
    run_matrix_elsewhere,
    run_round,
    run_round_elsewhere,
)
from pointsman.benchmark.chunks import begin_turn
from pointsman.benchmark.sharing import Elsewhere, sharing
from pointsman.clock import ManualClock
from pointsman.dispatch import (
    DriveInput,
    DrivePlan,
    DriveStatus,
    TargetSpec,
    doubt_the_rest,
    planned_dispatches,
    write_drive,
)
from pointsman.dispatch.history import read_history
from pointsman.economics.cells import outcome_of
from pointsman.errors import Cancelled, Conflict, DependencyDown, GuardRefused, InputRefused
from pointsman.ids import VariantId
from pointsman.reporting import to_markdown
from pointsman.storage import open_database, tables
from pointsman.workspace import Workspace
from tests.benchmark.fake_drive import FakeDrive, Fate
from tests.benchmark.machines import Machines
from tests.benchmark.samples import VARIANTS
from tests.benchmark.tasks_elsewhere import Tasks
from tests.workspaces import workspace_in

BM = "bm_test"
TARGET = TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:9")
ITEMS = tables.benchmark_matrix_run_items


def fate(route: VariantId, input_id: str, seq: int) -> Fate:
    """A seeded world: one cell of each kind that ends badly, and outputs that tell the cells apart."""
    if (route.workflow, input_id) == ("vp9", "clip-1"):
        return Fate("failed", "encoder crashed", ("lost", "failed"))
    if (route.provider, input_id) == ("lab-spot", "clip-2"):
        return Fate(output=None)
    return Fate(output=f"{route} {input_id}".encode(), outcomes=("lost", "completed"))


@pytest.fixture
def world(tmp_path: Path) -> Machines:
    return Machines(tmp_path / "machines")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDrive:
    fake = FakeDrive(fate=fate)
    monkeypatch.setattr("pointsman.benchmark.execution.drive", fake)
    return fake


@pytest.fixture(scope="module")
def furnished(migrated: Path, clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with what matrices are made of, to copy; the inputs lie on the machine that all tests run on."""
    folder = tmp_path_factory.mktemp("furnished")
    ws = workspace_in(folder, migrated)
    register_environment(ws, "lab", name="Lab", kind="local")
    register_variants(ws, VARIANTS)
    register_input_set(ws, "golden-v1", [InputFile(clip, f"source-{n // 2}") for n, clip in enumerate(clips)])
    ws.database.dispose()
    return folder / "pointsman.db"


@pytest.fixture
def start(tmp_path: Path, furnished: Path, world: Machines) -> Callable[..., Workspace]:
    """A database of its own with a planned matrix: 3 variants x 4 inputs x 2 repeats in 4 rounds of 6 cells."""

    def create(name: str = "one", **changes: Any) -> Workspace:
        shutil.copyfile(furnished, tmp_path / f"{name}.db")
        database = open_database(f"sqlite:///{tmp_path / name}.db", migrate=False)
        ws = Workspace(database, world.machine(f"parent-{name}"), ManualClock(), "tester")
        plan(ws, **changes)
        return ws

    return create


def plan(ws: Workspace, **changes: Any) -> None:
    request: dict[str, Any] = {
        "benchmark_id": BM,
        "parent_run_id": "run-1",
        "variants": [one.id for one in VARIANTS],
        "inputs": input_set(ws, "golden-v1"),
        "repeats": 2,
        "seed": 5,
        "round_cells": 6,
        "environment_id": "lab",
        "targets": [TARGET],
        "in_flight_per_provider": 2,
    }
    create_matrix(ws, **{**request, **changes})


def in_one_process(ws: Workspace) -> None:
    for number in rounds(ws, BM):
        run_round(ws, BM, number, secret=None, cancelled=lambda: False, on_status=lambda status: None)


def chunk(own: Workspace, request: Mapping[str, Any]) -> None:
    """What the flow of a chunk does."""
    asked = dict(request)
    turn = matrix_turn(asked["benchmark_id"], asked["first_round"], asked["last_round"], asked["turn"])
    with as_turn(own, turn):
        for number in range(asked["first_round"], asked["last_round"] + 1):
            run_round_elsewhere(
                own,
                asked["benchmark_id"],
                number,
                turn=turn,
                at_once=asked["at_once"],
                secret=None,
                cancelled=lambda: False,
                on_status=lambda status: None,
            )


def tasks(ws: Workspace, world: Machines, **options: Any) -> Tasks:
    return Tasks(ws, world, {"run-matrix-chunk": chunk}, **options)


def select(ws: Workspace, table: sa.Table, *conditions: Any) -> list[sa.Row[Any]]:
    with ws.database.connect() as connection:
        return list(connection.execute(sa.select(table).where(*conditions).order_by(*table.primary_key)))


def everything(ws: Workspace) -> dict[str, list[Any]]:
    """The rows that running a matrix writes, but for when they were written."""
    written = (tables.benchmark_matrix_runs, ITEMS, tables.attempts, tables.usage, tables.run_artifacts)
    when = {"benchmark_matrix_runs": {"created_at", "started_at", "ended_at"}, "run_artifacts": {"created_at"}}
    return {
        table.name: [
            {name: value for name, value in row._mapping.items() if name not in when.get(table.name, ())}
            for row in select(ws, table)
        ]
        for table in written
    }


@pytest.mark.parametrize(
    ("size", "found"),
    [(1, [1, 1, 1, 1]), (6, [1, 1, 1, 1]), (11, [1, 1, 1, 1]), (12, [2, 2]), (18, [3, 1]), (99, [4])],
)
def test_a_chunk_is_as_many_whole_rounds_as_fit_and_at_least_one(
    start: Callable[..., Workspace], size: int, found: list[int]
) -> None:
    ws = start(chunk_size=size)
    chunks = matrix_chunks(ws, BM)
    assert [len(one) for one in chunks] == found
    assert [number for one in chunks for number in one] == rounds(ws, BM) == [0, 1, 2, 3]


def test_the_first_chunk_size_stays_and_is_no_other_plan(start: Callable[..., Workspace]) -> None:
    ws = start(chunk_size=12)
    plan(ws, chunk_size=6)
    assert len(matrix_chunks(ws, BM)) == 2
    assert matrix_run(ws, BM).chunk_size == 12
    assert matrix_run(start("two"), BM).chunk_size == 6, "a round by default"
    with pytest.raises(InputRefused, match="chunk_size"):
        start("three", chunk_size=0)


@pytest.mark.parametrize("size", [1, 12])
def test_run_in_chunks_elsewhere_it_leaves_the_rows_that_one_process_leaves(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive, size: int
) -> None:
    spread, here = start("spread", chunk_size=size), start("here", chunk_size=size)
    elsewhere = tasks(spread, world)
    run_matrix_elsewhere(spread, BM, elsewhere, spending={"price_book": "mine"})
    assert {request["price_book"] for request in elsewhere.requests} == {"mine"}
    orders = driver.orders
    driver.orders = []
    in_one_process(here)
    for matrix in (spread, here):
        finish_matrix(matrix, BM)
        assert cell_counts(matrix, BM) == {"completed": 20, "failed": 2, "invalid": 2}
    assert everything(spread) == everything(here)
    assert driver.orders == orders
    assert len(elsewhere.keys) == len(matrix_chunks(spread, BM))
    reader = replace(spread, results=world.machine("reader"))
    for row in select(spread, tables.run_artifacts):
        assert reader.results.local(row.uri).stat().st_size == row.bytes


def test_chunks_at_work_together_put_a_provider_under_no_more_load_than_one_process(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    for name, in_flight, size, limits in [
        ("a", 2, 6, (1, 2, 0.5)),
        ("b", 9, 6, (2, 4, 0.25)),
        ("c", 9, 24, (9, 18, 1.0)),
    ]:
        driver.headers = []
        ws = start(name, in_flight_per_provider=in_flight, chunk_size=size, benchmark_id=f"bm_{name}")
        run_matrix_elsewhere(ws, f"bm_{name}", tasks(ws, world))
        for header in driver.headers:
            own = header.limits
            assert (own.max_in_flight_per_provider, own.max_in_flight, own.rate_share) == limits


def test_no_more_chunks_run_at_once_than_may(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()
    silent = tasks(ws, world, mishap=lambda key, number: "silent")
    assert isinstance(ws.clock, ManualClock)
    with _interrupted_after(ws, 10), pytest.raises(KeyboardInterrupt):
        run_matrix_elsewhere(ws, BM, silent)
    assert [key.split("-", 1)[1] for key in silent.keys] == ["rounds-0-0-1", "rounds-1-1-1"]
    assert silent.cancelled == silent.keys, "whoever is stopped stops the tasks that it started"


def test_a_task_that_vanishes_is_replaced_and_what_it_had_shared_is_not_sent_again(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws, here = start("spread"), start("here")
    elsewhere = tasks(ws, world, mishap=lambda key, number: {1: "killed", 3: "nothing"}.get(number))
    run_matrix_elsewhere(ws, BM, elsewhere)
    finish_matrix(ws, BM)
    assert set(driver.sends.values()) == {1}
    in_one_process(here)
    finish_matrix(here, BM)
    assert everything(ws) == everything(here)
    assert [key.rsplit("-", 1)[1] for key in elsewhere.keys].count("2") == 2
    report = to_markdown(matrix_report(ws, BM))
    for number, turns in enumerate((2, 1, 2, 1)):
        name = f"rounds-{number}-{number}"
        assert f"| {name} | {turns} | arn:{BM}-{name}-{turns} |" in report.replace("\\", "")
    lost = [entry for entry in ActionLog(ws).read() if entry.event == "benchmark_chunk_lost"]
    assert sorted((entry.data["turn"], entry.data["how"]) for entry in lost) == [(1, "Crashed"), (1, "Crashed")]
    assert {entry.instruction for entry in lost} == {f"pointsman benchmark show {BM}"}


def test_a_chunk_that_is_lost_three_times_fails_its_cells_by_name_and_no_others(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()
    elsewhere = tasks(ws, world, mishap=lambda key, number: "nothing" if "-rounds-1-1-" in key else None)
    run_matrix_elsewhere(ws, BM, elsewhere)
    assert [key for key in elsewhere.keys if "-rounds-1-1-" in key] == [f"{BM}-rounds-1-1-{n}" for n in (1, 2, 3)]
    finish_matrix(ws, BM)
    lost = [item for item in select(ws, ITEMS) if (item.reason or "").startswith("chunk_lost: ")]
    assert {item.round for item in lost} == {1}
    assert len(lost) == 6
    assert {outcome_of(item.status, item.reason) for item in lost} == {"infrastructure"}
    assert all(item.status != "pending" for item in select(ws, ITEMS))
    failed = [one for one in ActionLog(ws).read() if one.event == "benchmark_item_failed"]
    assert sum(one.data["reason"].startswith("chunk_lost") for one in failed) == 6
    with pytest.raises(Conflict) as late:
        chunk(ws, {"benchmark_id": BM, "first_round": 1, "last_round": 1, "turn": 3, "at_once": 1})
    assert late.value.code == "chunk_replaced"


def test_a_chunk_whose_tasks_do_not_start_fails_no_cells_and_is_named_by_the_trouble(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()
    elsewhere = tasks(ws, world, mishap=lambda key, number: "nothing", crash="Crashed (RESOURCE:CPU)")
    with pytest.raises(DependencyDown, match=r"rounds-0-0 did not start: Crashed \(RESOURCE:CPU\)") as down:
        run_matrix_elsewhere(ws, BM, elsewhere)
    assert down.value.code == "ecs_no_capacity"
    assert "Wait for capacity" in down.value.instruction
    assert cell_counts(ws, BM) == {"pending": 24}
    elsewhere.mishap = lambda key, number: None
    run_matrix_elsewhere(ws, BM, elsewhere)
    assert finish_matrix(ws, BM).status == "collected"


def test_while_it_runs_a_task_shares_its_drive_every_few_seconds(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()
    own = replace(ws, results=world.machine("task"))
    drive_dir = own.results.path("lab/benchmarks/bm_test/rounds/0/lab")
    (drive_dir / "journal").mkdir(parents=True)
    status = DriveStatus(phase="sending", at=ws.clock.now(), elapsed_s=1.0, counts={})
    heard: list[DriveStatus] = []
    with sharing(own, drive_dir, heard.append, Elsewhere(Turn("chunk", 1), 1)) as told:
        for second in range(1, 13):
            ws.clock.sleep(1)
            (drive_dir / "journal" / f"{second}.arrow").write_bytes(b"rows")
            told(status)
            shared = [key for key in world.bucket.objects if "/journal/" in key]
            assert len(shared) == second // 5 * 5
    assert len([key for key in world.bucket.objects if "/journal/" in key]) == 12
    assert heard == [status] * 12


def test_what_a_chunk_says_ends_the_matrix_when_the_others_are_through_and_it_can_be_continued(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()

    def lose(folder: Path) -> None:
        if "/rounds/1/" in str(folder):
            raise DependencyDown("The target is gone.", instruction="Bring it back.", code="target_lost")

    driver.before = lose
    elsewhere = tasks(ws, world)
    with pytest.raises(DependencyDown) as lost:
        run_matrix_elsewhere(ws, BM, elsewhere)
    assert lost.value.as_failure() == {
        "code": "target_lost",
        "message": "The target is gone.",
        "instruction": "Bring it back.",
    }
    assert rounds(ws, BM) == [1, 2, 3], "nothing was started after it"
    driver.before = lambda folder: None
    run_matrix_elsewhere(ws, BM, elsewhere)
    assert finish_matrix(ws, BM).status == "collected"
    assert [key.split("-rounds-")[1] for key in elsewhere.keys] == ["0-0-1", "1-1-1", "1-1-2", "2-2-1", "3-3-1"]


def test_whoever_goes_on_starts_no_chunk_that_is_done_and_watches_one_that_runs(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()
    elsewhere = tasks(ws, world, mishap=lambda key, number: "silent" if number == 2 else None)
    with _interrupted_after(ws, 10), pytest.raises(KeyboardInterrupt):
        run_matrix_elsewhere(ws, BM, elsewhere)
    assert len(elsewhere.keys) == 4
    assert rounds(ws, BM) == [1]
    with _interrupted_after(ws, 10), pytest.raises(KeyboardInterrupt):
        run_matrix_elsewhere(ws, BM, elsewhere)
    assert len(elsewhere.keys) == 4, "it may live: the same run is watched"
    elsewhere.how[elsewhere.keys[1]] = "Crashed"
    run_matrix_elsewhere(ws, BM, elsewhere)
    assert elsewhere.keys[4:] == [f"{BM}-rounds-1-1-2"]
    run_matrix_elsewhere(ws, BM, elsewhere)
    assert len(elsewhere.keys) == 5
    assert finish_matrix(ws, BM).status == "collected"


def test_after_each_chunk_whoever_looks_at_the_money_may_stop_it(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start(in_flight_per_provider=1)

    def refuse() -> None:
        raise GuardRefused("It cost too much.", code="budget_exceeded")

    elsewhere = tasks(ws, world)
    with pytest.raises(GuardRefused, match="too much"):
        run_matrix_elsewhere(ws, BM, elsewhere, on_done=refuse)
    assert len(elsewhere.keys) == 1
    assert rounds(ws, BM) == [1, 2, 3]


def test_a_cancel_reaches_the_chunks_through_the_matrix_and_starts_no_more(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()

    def cancel_at_four(route: VariantId, input_id: str, seq: int) -> Fate:
        ws.clock.sleep(0.4)
        if seq == 4:
            cancel_matrix(ws, BM, reason="an operator asked")
            ws.clock.sleep(2)
        return Fate()

    driver.fate = cancel_at_four
    elsewhere = tasks(ws, world)
    with pytest.raises(Cancelled):
        run_matrix_elsewhere(ws, BM, elsewhere)
    assert cell_counts(ws, BM) == {"completed": 5, "cancelled": 1, "pending": 18}
    driver.fate = fate
    with pytest.raises(Cancelled):
        run_matrix_elsewhere(ws, BM, elsewhere)
    plan(ws)
    run_matrix_elsewhere(ws, BM, elsewhere)
    assert finish_matrix(ws, BM).status == "collected"


def test_a_task_that_does_not_end_after_a_cancel_is_ended(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()
    elsewhere = tasks(ws, world, mishap=lambda key, number: "silent")
    real = elsewhere.ended

    def ended(run: str) -> str | None:
        cancel_matrix(ws, BM, reason="an operator asked")
        return real(run)

    elsewhere.ended = ended  # type: ignore[method-assign]
    began = ws.clock.monotonic()
    with pytest.raises(Cancelled):
        run_matrix_elsewhere(ws, BM, elsewhere)
    assert 60 <= ws.clock.monotonic() - began < 65
    assert elsewhere.cancelled == elsewhere.keys


def test_a_prefect_server_that_is_away_ends_nothing_that_runs(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()
    elsewhere = tasks(ws, world, mishap=lambda key, number: "silent" if number == 1 else None)
    asked = 0

    def out() -> bool:
        nonlocal asked
        asked += 1
        if asked == 30:
            elsewhere.how[elsewhere.keys[0]] = "Crashed"
        return 2 < asked < 30

    elsewhere.out = out
    run_matrix_elsewhere(ws, BM, elsewhere)
    assert finish_matrix(ws, BM).status == "collected"


def test_where_nothing_can_be_started_nothing_is_sent(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()
    elsewhere = tasks(ws, world, out=lambda: True)
    with pytest.raises(DependencyDown, match="Nobody answers"):
        run_matrix_elsewhere(ws, BM, elsewhere)
    assert cell_counts(ws, BM) == {"pending": 24}
    elsewhere.out = lambda: False
    run_matrix_elsewhere(ws, BM, elsewhere)
    assert {key.rsplit("-", 1)[1] for key in elsewhere.keys} == {"1"}


def fallbacks(ws: Workspace) -> list[dict[str, Any]]:
    return [dict(one.data) for one in ActionLog(ws).read() if one.event == "benchmark_ecs_fallback"]


def unshared() -> Tasks:
    raise InputRefused("POINTSMAN_DATABASE_URL", "sqlite:...", "postgresql+psycopg://...", code="not_shared")


@pytest.mark.parametrize("why", ["nobody answers", "no capacity", "not shared"])
def test_where_ecs_cannot_be_used_it_is_run_in_place_if_that_is_allowed_and_else_nothing_is_sent(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive, why: str
) -> None:
    ws = start()
    troubles: dict[str, Callable[[], Tasks]] = {
        "nobody answers": lambda: tasks(ws, world, out=lambda: True),
        "no capacity": lambda: tasks(ws, world, mishap=lambda *_: "nothing", crash="Crashed (RESOURCE:CPU)"),
        "not shared": unshared,
    }
    codes = {"nobody answers": "prefect_unreachable", "no capacity": "ecs_no_capacity", "not shared": "not_shared"}
    with pytest.raises((DependencyDown, InputRefused)) as refused, in_place_instead(ws, BM, allowed=False):
        run_matrix_elsewhere(ws, BM, troubles[why]())
    assert refused.value.code == codes[why]
    assert (cell_counts(ws, BM), driver.orders, fallbacks(ws)) == ({"pending": 24}, [], [])
    with in_place_instead(ws, BM, allowed=True):
        run_matrix_elsewhere(ws, BM, troubles[why]())
    assert fallbacks(ws) == [{"why": refused.value.message, "code": codes[why]}]
    in_one_process(ws)
    assert finish_matrix(ws, BM).status == "collected"
    assert set(driver.sends.values()) == {1}


def test_a_task_that_starts_after_its_work_was_taken_in_place_does_nothing(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start(chunk_size=24)
    begin_turn(ws, BM, matrix_turn(BM, 0, 3, 1).chunk)  # a start that was not answered, and came about
    with in_place_instead(ws, BM, allowed=True):
        run_matrix_elsewhere(ws, BM, tasks(ws, world, out=lambda: True))
    with pytest.raises(Conflict) as late:
        chunk(ws, {"benchmark_id": BM, "first_round": 0, "last_round": 3, "turn": 1, "at_once": 1})
    assert late.value.code == "chunk_replaced"
    assert driver.orders == []


def test_cells_that_a_task_has_begun_are_not_run_in_place(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()
    vanishing = tasks(ws, world, mishap=lambda key, number: "killed" if number == 1 else "nothing")
    vanishing.crash = "Crashed (RESOURCE:CPU)"
    with pytest.raises(DependencyDown, match="did not start"), in_place_instead(ws, BM, allowed=True):
        run_matrix_elsewhere(ws, BM, vanishing)
    assert fallbacks(ws) == []


def test_what_a_task_says_and_a_wrong_request_are_no_reason_to_run_in_place(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()

    def lost(own: Workspace, request: Mapping[str, Any]) -> None:
        asked = dict(request)
        with as_turn(own, matrix_turn(BM, asked["first_round"], asked["last_round"], asked["turn"])):
            raise DependencyDown("The target is lost.", code="target_lost")

    with pytest.raises(DependencyDown, match="target is lost"), in_place_instead(ws, BM, allowed=True):
        run_matrix_elsewhere(ws, BM, Tasks(ws, world, {"run-matrix-chunk": lost}))
    with pytest.raises(InputRefused, match="at_once"), in_place_instead(ws, BM, allowed=True):
        raise InputRefused("at_once", 0, "1 or more")
    assert fallbacks(ws) == []


def test_a_turn_that_is_over_stores_nothing(start: Callable[..., Workspace], driver: FakeDrive) -> None:
    ws = start()
    turn = begin_turn(ws, BM, matrix_turn(BM, 0, 0, 1).chunk)

    def replace_it(folder: Path) -> None:
        begin_turn(ws, BM, turn.chunk)

    driver.after = replace_it
    with pytest.raises(Conflict) as replaced:
        chunk(ws, {"benchmark_id": BM, "first_round": 0, "last_round": 0, "turn": 1, "at_once": 1})
    assert replaced.value.code == "chunk_replaced"
    assert cell_counts(ws, BM) == {"running": 6, "pending": 18}
    assert select(ws, tables.attempts) == []
    (row,) = select(ws, tables.benchmark_chunks)
    assert (row.turn, row.failure) == (2, None), "and says nothing in the place of its successor"


def test_a_chunk_that_nobody_started_is_refused(start: Callable[..., Workspace]) -> None:
    with pytest.raises(Conflict):
        chunk(start(), {"benchmark_id": BM, "first_round": 0, "last_round": 0, "turn": 1, "at_once": 1})


def test_a_task_whose_outputs_cannot_be_brought_out_stores_no_rows_that_name_them(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    ws = start()
    driver.after = lambda folder: setattr(world.bucket, "is_out", True)
    elsewhere = tasks(ws, world)
    with pytest.raises(DependencyDown) as down:
        run_matrix_elsewhere(ws, BM, elsewhere)
    assert down.value.code == "results_unreachable"
    assert select(ws, tables.run_artifacts) == []
    world.bucket.is_out = False
    driver.after = lambda folder: None
    run_matrix_elsewhere(ws, BM, elsewhere)
    finish_matrix(ws, BM)
    assert cell_counts(ws, BM) == {"completed": 20, "failed": 2, "invalid": 2}


def test_a_successor_asks_a_target_that_knows_no_repetitions_and_sends_nothing_again(
    ws: Workspace, inputs: Any, tmp_path: Path
) -> None:
    member = inputs.members[0]
    drive_dir = tmp_path / "drive"
    write_drive(
        drive_dir,
        DrivePlan(
            run_id="run1",
            target=TARGET,
            variants={str(VARIANTS[0].id): VARIANTS[0].params},
            inputs={member.input_id: DriveInput.of(member)},
            dispatches=planned_dispatches(route=str(VARIANTS[0].id), input_id=[member.input_id] * 5),
        ),
    )
    doubt_the_rest(drive_dir, clock=ws.clock)
    found = read_history(drive_dir)
    assert [left.index for left in found.unsettled] == [0, 1, 2, 3, 4]
    assert (found.next_index, found.unsent) == (5, [])
    doubt_the_rest(drive_dir, clock=ws.clock)
    assert len(read_history(drive_dir).claims) == 1


def test_a_round_that_a_lost_task_had_begun_is_doubted_only_where_sending_again_bills_twice(
    start: Callable[..., Workspace], world: Machines, driver: FakeDrive
) -> None:
    for name, preset, doubted in [("a", "lab", 0), ("b", "replicate", 1)]:
        ws = start(name, targets=[TARGET.model_copy(update={"preset": preset})], benchmark_id=f"bm_{name}")
        folders: list[Path] = []

        def look(folder: Path, folders: list[Path] = folders) -> None:
            folders.append(folder)

        driver.before = look
        elsewhere = tasks(ws, world, mishap=lambda key, number: "killed" if number == 1 else None)

        def never_closed(folder: Path) -> None:
            for path in folder.glob("summary.json"):
                path.unlink()
            driver.after = lambda folder: None

        driver.after = never_closed
        run_matrix_elsewhere(ws, f"bm_{name}", elsewhere)
        assert sum(len(list((folder / "claims").glob("*"))) for folder in set(folders)) == doubted


class _interrupted_after:
    """Somebody presses Ctrl-C after so many seconds of the manual clock."""

    def __init__(self, ws: Workspace, seconds: float) -> None:
        self._clock = ws.clock
        self._at = ws.clock.monotonic() + seconds
        self._sleep = ws.clock.sleep

    def __enter__(self) -> None:
        def sleep(seconds: float) -> None:
            self._sleep(seconds)
            if self._clock.monotonic() >= self._at:
                raise KeyboardInterrupt

        self._clock.sleep = sleep  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        self._clock.sleep = self._sleep  # type: ignore[method-assign]
