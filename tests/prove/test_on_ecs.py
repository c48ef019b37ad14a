"""The flows as ECS tasks of the lab: real worker, real tasks, PostgreSQL and S3, and no disk in common."""

from __future__ import annotations

import time
from uuid import UUID

import pytest
import sqlalchemy as sa

from pointsman.ids import benchmark_id
from pointsman.scenario import run_status, trouble_of
from pointsman.storage import tables
from tests.few_inputs import variant
from tests.lab.running import eventually
from tests.prove.ecs_lab import OF_THE_LAB, EcsLab

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("ecs"), pytest.mark.timeout(900)]
SMALL = {"name": "small", "stages": [{"name": "only", "rate": 4.0, "duration_s": 1.0}], "drain_limit_s": 30.0}


def unique(name: str) -> str:
    return f"{name}-{time.time_ns()}"


def small(ecs: EcsLab, run_id: str) -> UUID:
    return ecs.start("run-scenario", scenario=SMALL, variant=OF_THE_LAB, run_id=run_id)


def balanced(ecs: EcsLab, run_id: str) -> dict[str, int]:
    """The run's counts, whose books balance."""
    counts: dict[str, int] = run_status(ecs.ws, run_id)["counts"]
    assert counts["planned"] == sum(counts[term] for term in ("still_planned", "dropped", "cancelled_unsent", "sent"))
    assert counts["sent"] == sum(counts[term] for term in ("completed", "failed", "cancelled_sent", "unknown"))
    return counts


def test_doctor_shows_it_and_a_second_up_changes_nothing(ecs: EcsLab) -> None:
    rows = {row["part"]: row["state"] for row in ecs.pointsman("doctor")}
    assert {rows[part] for part in ("database", "results store", "Prefect server", "lab", "ECS lab")} == {"works"}
    before = {name: one.pid for name, one in ecs.lab.world.load(ecs.lab.home).processes.items()}
    assert ecs.pointsman("up")["environment"] == ecs.environment
    assert {name: one.pid for name, one in ecs.lab.world.load(ecs.lab.home).processes.items()} == before


def test_a_load_test_runs_as_a_task_and_its_results_are_shared(ecs: EcsLab) -> None:
    run_id = unique("task")
    flow_run = small(ecs, run_id)
    run = ecs.ended(flow_run, 180)
    assert run.state_name == "Completed", f"{run.state}\n{ecs.logs()}"
    assert balanced(ecs, run_id)["completed"] == 4
    (results,) = [key for key in ecs.kept("lab/small/") if key.endswith(f"/{run_id}/results.json")]
    assert len(results.split("/")) == 5, "{environment}/{scenario}/{timestamp}/{task-id}/results.json"
    eventually(lambda: ecs.running() == [], 20)
    assert ecs.task(ecs.arn(flow_run))["containers"][0]["exitCode"] == 0


def test_a_matrix_runs_as_a_task_and_its_outputs_are_shared(ecs: EcsLab) -> None:
    run_id = unique("matrix")
    variants = [OF_THE_LAB, variant("x264-medium-crf26")]
    run = ecs.ended(ecs.start("benchmark-matrix", variants=variants, run_id=run_id), 240)
    assert run.state_name == "Completed", f"{run.state}\n{ecs.logs()}"
    bm_id = benchmark_id(run_id)
    items = tables.benchmark_matrix_run_items
    with ecs.ws.database.connect() as connection:
        states = connection.execute(sa.select(items.c.status).where(items.c.benchmark_id == bm_id)).scalars()
        assert list(states) == ["completed"] * 4
    assert len([key for key in ecs.kept(f"lab/benchmarks/{bm_id}/") if "/outputs/" in key]) == 4


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "throttle", "times": 100}, "ecs_throttled"),
        ({"kind": "no-capacity", "times": 20}, "ecs_no_capacity"),
        ({"kind": "cannot-pull"}, "ecs_image_unavailable"),
    ],
)
def test_a_task_that_does_not_start_has_a_named_reason_and_the_same_again_works(
    ecs: EcsLab, fault: dict[str, object], code: str
) -> None:
    run_id = unique("refused")
    ecs.faults(fault)
    refused = small(ecs, run_id)
    assert ecs.ended(refused, 120).state_name == "Crashed"
    trouble = trouble_of(ecs.told(refused))
    assert trouble is not None, ecs.told(refused)
    assert trouble.code == code
    ecs.faults()
    assert ecs.ended(small(ecs, run_id), 180).state_name == "Completed"


def test_a_secret_that_cannot_be_had_is_named_and_once_it_can_the_same_again_works(ecs: EcsLab) -> None:
    vault, name = ecs.client("secretsmanager"), "load-test/lab/database-url"
    run_id = unique("secret")
    vault.delete_secret(SecretId=name)
    try:
        refused = small(ecs, run_id)
        assert ecs.ended(refused, 60).state_name == "Crashed"
        trouble = trouble_of(ecs.told(refused))
        assert trouble is not None, ecs.told(refused)
        assert trouble.code == "ecs_secret_unavailable"
        assert name in ecs.told(refused)
    finally:
        vault.restore_secret(SecretId=name)
    assert ecs.ended(small(ecs, run_id), 180).state_name == "Completed"
