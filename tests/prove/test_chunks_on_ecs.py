"""A matrix and its judging in chunks that are ECS tasks of the lab, also when one is killed in the middle."""

from __future__ import annotations

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from prefect.client.orchestration import get_client

from pointsman.actions import ActionLog
from pointsman.ids import benchmark_id
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.few_inputs import variant
from tests.lab.running import eventually
from tests.prove.ecs_lab import OF_THE_LAB, EcsLab

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("ecs"), pytest.mark.timeout(900)]
VARIANTS = [OF_THE_LAB, variant("x264-medium-crf26")]
CHUNKS = 2


@pytest.fixture
def ws(ecs: EcsLab) -> Iterator[Workspace]:
    """On a disk that no task sees."""
    opened = ecs.ws
    yield opened
    opened.database.dispose()


def rows(ws: Workspace, table: sa.Table, *conditions: Any) -> list[Any]:
    with ws.database.connect() as connection:
        return list(connection.execute(sa.select(table).where(*conditions)))


def of_chunks(ws: Workspace, bm_id: str) -> list[Any]:
    chunks = tables.benchmark_chunks
    return rows(ws, chunks, chunks.c.benchmark_id == bm_id, chunks.c.id.startswith(f"{bm_id}-rounds-"))


@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "a task is killed"])
def test_a_matrix_and_its_judging_run_as_tasks(ecs: EcsLab, ws: Workspace, kill: bool) -> None:
    run_id = f"chunks-{time.time_ns()}"
    bm_id = benchmark_id(run_id)
    asked = {"variants": VARIANTS, "repeats": 4 if kill else 1, "round_cells": 8 if kill else 2, "run_id": run_id}
    flow_run = ecs.start("benchmark-matrix", **asked, chunk_size=8 if kill else 2)
    if kill:
        eventually(lambda: any((one.task_id or "").startswith("arn:") for one in of_chunks(ws, bm_id)), 120)
        (killed, *_) = [one.task_id for one in of_chunks(ws, bm_id) if (one.task_id or "").startswith("arn:")]
        eventually(lambda: ecs.task(killed)["lastStatus"] == "RUNNING", 60)
        ecs.faults({"kind": "kill", "task": killed})
    assert ecs.ended(flow_run, 400).state_name == "Completed"
    chunks = of_chunks(ws, bm_id)
    assert len(chunks) == CHUNKS
    assert all(one.task_id.startswith("arn:aws:ecs:") for one in chunks)
    lost = [one for one in ActionLog(ws).read(run_id=bm_id) if one.event == "benchmark_chunk_lost"]
    assert sum(one.turn - 1 for one in chunks) == len(lost) == int(kill)
    items = tables.benchmark_matrix_run_items
    states = [item.status for item in rows(ws, items, items.c.benchmark_id == bm_id)]
    assert states == ["completed"] * (16 if kill else 4)
    artifacts = tables.run_artifacts
    for row in rows(ws, artifacts, artifacts.c.run_id == bm_id):
        assert row.uri.startswith("s3://")
        assert ws.results.local(row.uri).stat().st_size == row.bytes
    if kill:
        return
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("evaluate-quality/ecs")
        request = {"benchmark_id": bm_id, "judge": "local", "chunk_size": 2}
        judging = client.create_flow_run_from_deployment(deployment.id, parameters={"request": request}).id
    assert ecs.ended(judging, 400).state_name == "Completed"
    evaluations = tables.quality_evaluations
    judged = rows(ws, evaluations, evaluations.c.benchmark_id == bm_id)
    assert len(judged) == 4
    assert all(one.quality is not None and one.quality > Decimal(50) for one in judged)
    eventually(lambda: ecs.running() == [], 20)
