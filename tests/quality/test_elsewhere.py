"""An evaluation set judged by tasks that share nothing but the database and a bucket."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.actions import ActionLog
from pointsman.benchmark import as_turn, in_place_instead
from pointsman.errors import Conflict, DependencyDown, InputRefused, RunFailed
from pointsman.model import Missing
from pointsman.quality import (
    JudgeIdentity,
    JudgeUnavailable,
    Sample,
    complete,
    judge_chunk,
    judge_elsewhere,
    judgement_turn,
    open_evaluation_set,
    pending,
    pending_chunks,
)
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.benchmark.machines import Machines
from tests.benchmark.tasks_elsewhere import Tasks
from tests.quality.worlds import SCRIPTED, Clips, Matrix, ScriptedJudge
from tests.workspaces import workspace_in


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path / "machines")


@pytest.fixture
def make(tmp_path: Path, migrated: Path, machines: Machines, clips: Clips) -> Callable[[str], Matrix]:
    """A matrix of 2 workflows on 3 inputs whose outputs and inputs lie in the bucket and on no machine."""

    def build(name: str) -> Matrix:
        (tmp_path / name).mkdir()
        ws = replace(workspace_in(tmp_path / name, migrated), results=machines.machine(f"made-{name}"))
        matrix = Matrix(ws, clips, inputs=3)
        _move_to_the_bucket(matrix)
        shutil.rmtree(ws.results.root)
        return replace_workspace(matrix, replace(ws, results=machines.machine(f"parent-{name}")))

    return build


def replace_workspace(matrix: Matrix, ws: Workspace) -> Matrix:
    matrix.ws = ws
    return matrix


def _move_to_the_bucket(matrix: Matrix) -> None:
    ws, artifacts, sets = matrix.ws, tables.run_artifacts, tables.input_sets
    with ws.database.begin() as connection:
        for row in connection.execute(sa.select(artifacts)).all():
            output = ws.results.local(row.uri)
            taken = ws.results.take_in(output, output.relative_to(ws.results.root).as_posix())
            connection.execute(sa.update(artifacts).where(artifacts.c.id == row.id).values(uri=taken.uri))
        (row,) = connection.execute(sa.select(sets)).all()
        members = [
            {**one, "uri": ws.results.take_in(ws.results.local(one["uri"]), f"inputs/{one['input_id']}").uri}
            for one in row.members
        ]
        connection.execute(sa.update(sets).values(members=members))


def judge(**changes: Any) -> ScriptedJudge:
    """By what the files hold, so that a task that could not read them would give another answer."""

    def answer(sample: Sample) -> Decimal | Missing:
        assert sample.source is not None
        size = sample.output.stat().st_size
        return Decimal(size % 100) if size % 3 else Missing("cannot tell")

    return ScriptedJudge(**{"answer": answer, "billed": True, **changes})


def spread(matrix: Matrix, machines: Machines, judge: ScriptedJudge, **options: Any) -> Tasks:
    def carry(own: Workspace, request: Mapping[str, Any]) -> None:
        asked = dict(request)
        assert (asked["judge"], asked["price_book"]) == ("scripted", "default")
        set_id, size, chunk = asked["evaluation_set_id"], asked["chunk_size"], asked["chunk"]
        with as_turn(own, judgement_turn(set_id, size, chunk, asked["turn"])):
            judge_chunk(own, set_id, judge, pending_chunks(own, set_id, size).get(chunk, []))

    return Tasks(matrix.ws, machines, {"judge-chunk": carry}, **options)


def run(matrix: Matrix, set_id: str, tasks: Tasks, *, size: int = 2) -> None:
    judge_elsewhere(matrix.ws, set_id, tasks, judge="scripted", price_book="default", chunk_size=size)


def rows(matrix: Matrix) -> dict[str, list[Any]]:
    """What judging writes, but for when."""
    written = (tables.quality_evaluations, tables.attempts, tables.usage)
    when = {"created_at", "started_at", "ended_at"}
    return {
        table.name: sorted(
            (str({name: value for name, value in row._mapping.items() if name not in when}))
            for row in matrix.rows(table)
        )
        for table in written
    }


def test_a_chunk_keeps_its_number_and_its_outputs_while_the_set_is_worked_off(matrix: Matrix) -> None:
    set_id = open_evaluation_set(matrix.ws, matrix.id, SCRIPTED)
    whole = pending_chunks(matrix.ws, set_id, 3)
    assert whole == {0: matrix.cells[:3], 1: matrix.cells[3:]}
    judge_chunk(matrix.ws, set_id, judge(), matrix.cells[:2])
    assert pending_chunks(matrix.ws, set_id, 3) == {0: matrix.cells[2:3], 1: matrix.cells[3:]}
    judge_chunk(matrix.ws, set_id, judge(), matrix.cells[2:3])
    assert pending_chunks(matrix.ws, set_id, 3) == {1: matrix.cells[3:]}
    with pytest.raises(InputRefused, match="chunk_size"):
        pending_chunks(matrix.ws, set_id, 0)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_judged_in_chunks_elsewhere_it_leaves_the_rows_that_one_process_leaves(
    make: Callable[[str], Matrix], machines: Machines, size: int
) -> None:
    spread_out, here = make("spread"), make("here")
    set_id = open_evaluation_set(spread_out.ws, spread_out.id, SCRIPTED)
    assert open_evaluation_set(here.ws, here.id, SCRIPTED) == set_id
    tasks = spread(spread_out, machines, judge())
    run(spread_out, set_id, tasks, size=size)
    judge_chunk(here.ws, set_id, judge(), pending(here.ws, set_id))
    assert rows(spread_out) == rows(here)
    assert len(tasks.keys) == -(-6 // size)
    complete(spread_out.ws, set_id)


def test_a_task_that_vanishes_is_started_again_and_what_is_judged_stays(
    make: Callable[[str], Matrix], machines: Machines
) -> None:
    matrix = make("one")
    set_id = open_evaluation_set(matrix.ws, matrix.id, SCRIPTED)
    seen = judge()
    tasks = spread(matrix, machines, seen, mishap=lambda key, number: "nothing" if number in (1, 2) else None)
    run(matrix, set_id, tasks)
    assert sorted(seen.seen) == sorted(matrix.cells)
    assert [key.removeprefix(f"{set_id}-2-") for key in tasks.keys] == ["0-1", "1-1", "2-1", "0-2", "1-2"]
    assert [entry.event for entry in ActionLog(matrix.ws).read()] == ["benchmark_chunk_lost"] * 2
    run(matrix, set_id, tasks)
    assert len(tasks.keys) == 5, "nothing is done twice"


def test_a_chunk_that_is_lost_three_times_ends_it_by_name_and_it_can_be_continued(
    make: Callable[[str], Matrix], machines: Machines
) -> None:
    matrix = make("one")
    set_id = open_evaluation_set(matrix.ws, matrix.id, SCRIPTED)
    tasks = spread(matrix, machines, judge(), mishap=lambda key, number: "nothing" if f"{set_id}-2-1-" in key else None)
    with pytest.raises(RunFailed, match=r"chunk 1 of .* \(Crashed\)") as lost:
        run(matrix, set_id, tasks)
    assert lost.value.code == "chunk_lost"
    assert lost.value.instruction == f"Continue with `pointsman evaluate {matrix.id}`."
    assert pending_chunks(matrix.ws, set_id, 2) == {1: matrix.cells[2:4]}
    tasks.mishap = lambda key, number: None
    run(matrix, set_id, tasks)
    assert pending(matrix.ws, set_id) == []


def test_a_judge_that_fails_for_good_elsewhere_is_the_same_news_as_here(
    make: Callable[[str], Matrix], machines: Machines
) -> None:
    matrix = make("one")
    set_id = open_evaluation_set(matrix.ws, matrix.id, SCRIPTED)

    def fail(sample: Sample) -> Decimal:
        raise JudgeUnavailable("It is out of quota.", instruction="Wait.", code="quota")

    with pytest.raises(JudgeUnavailable) as told:
        run(matrix, set_id, spread(matrix, machines, judge(answer=fail)))
    assert (told.value.code, told.value.message) == ("quota", "It is out of quota.")


def test_a_task_whose_settings_make_another_judge_is_refused(make: Callable[[str], Matrix], machines: Machines) -> None:
    matrix = make("one")
    set_id = open_evaluation_set(matrix.ws, matrix.id, SCRIPTED)
    other = judge(identity=JudgeIdentity("scripted", "model-2", "a" * 64))
    with pytest.raises(Conflict) as mixed:
        run(matrix, set_id, spread(matrix, machines, other))
    assert mixed.value.code == "judge_mixed"
    assert matrix.rows(tables.quality_evaluations) == []


def test_where_ecs_cannot_be_used_the_outputs_are_judged_in_place_if_that_is_allowed(
    make: Callable[[str], Matrix], machines: Machines
) -> None:
    matrix = make("fallback")
    set_id = open_evaluation_set(matrix.ws, matrix.id, SCRIPTED)
    out = spread(matrix, machines, judge(), out=lambda: True)
    with pytest.raises(DependencyDown, match="Nobody answers"), in_place_instead(matrix.ws, matrix.id, allowed=False):
        run(matrix, set_id, out)
    with in_place_instead(matrix.ws, matrix.id, allowed=True):
        run(matrix, set_id, out)
    told = [one for one in ActionLog(matrix.ws).read() if one.event == "benchmark_ecs_fallback"]
    assert [(one.severity, one.data["code"], one.instruction) for one in told] == [
        ("warn", "prefect_unreachable", f"pointsman benchmark show {matrix.id}")
    ]
    assert len(pending(matrix.ws, set_id)) == 6
