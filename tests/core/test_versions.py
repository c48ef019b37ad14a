"""Which model did a variant's jobs, and that a verdict on another one may not be applied any more."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from pointsman.errors import GuardRefused
from pointsman.routing import binding_for_verdict
from pointsman.storage import tables
from pointsman.versions import SeenVersion, changed_since, note_versions, versions_in, versions_of
from pointsman.workspace import Workspace
from tests.routing.test_verdicts import verdict
from tests.routing.worlds import A, B, register, workspace

BM = "bm_1"


@pytest.fixture
def ws(tmp_path) -> Workspace:
    ws = workspace(tmp_path)
    register(ws, A, B)
    return ws


def note(ws: Workspace, variant, version: str, *, hours: float = 0.0, run: str = BM) -> datetime:
    at = ws.clock.now() + timedelta(hours=hours)
    with ws.database.begin() as connection:
        note_versions(connection, ws, run, [(str(variant), version, at)])
    return at


def output(ws: Workspace, variant, version: str | None, number: int) -> None:
    """A cell of the matrix that was completed, by this version."""
    dispatch = f"{BM}_{number}"
    item = {
        "dispatch_id": dispatch,
        "benchmark_id": BM,
        "seq": number,
        "round": 0,
        "variant_id": str(variant),
        "input_id": f"i{number}",
        "cluster": "c",
        "repeat": 0,
        "status": "completed",
    }
    attempt = {
        "id": f"{dispatch}#1",
        "run_id": BM,
        "subject_id": dispatch,
        "subject_kind": "cell",
        "number": 1,
        "provider": "p",
        "outcome": "completed",
        "started_at": ws.clock.now(),
        "detail": {} if version is None else {"version": version},
    }
    runs = tables.benchmark_matrix_runs
    run = {"id": BM, "status": "ready", "input_set_id": "s", "environment_id": "lab", "seed": 1, "plan": {}}
    run |= {"plan_sha256": "0" * 64, "results_path": "x", "created_at": ws.clock.now()}
    with ws.database.begin() as connection:
        if connection.execute(sa.select(runs.c.id)).first() is None:
            connection.execute(sa.insert(runs).values(**run))
        connection.execute(sa.insert(tables.benchmark_matrix_run_items).values(**item))
        connection.execute(sa.insert(tables.attempts).values(**attempt))


def test_a_version_is_kept_from_the_first_time_to_the_last(ws):
    first, later = note(ws, A, "m-1"), note(ws, A, "m-1", hours=2)
    note(ws, A, "m-1", hours=1)
    assert versions_of(ws, str(A)) == [SeenVersion("m-1", first, later)]
    newest = note(ws, A, "m-2", hours=3)
    assert [one.version for one in versions_of(ws, str(A))] == ["m-2", "m-1"]
    assert versions_of(ws, str(A))[0].last_seen_at == newest
    with ws.database.connect() as connection:
        told = connection.execute(sa.select(tables.action_logs)).all()
    assert [(one.event, one.data["version"], one.data["before"]) for one in told] == [
        ("variant_version_changed", "m-2", ["m-1"])
    ]
    assert "pointsman variants show" in told[0].instruction


def test_a_verdict_expires_when_a_variant_of_its_benchmark_is_another_model(ws):
    verdict(ws, "v", "WINNER", B)
    output(ws, A, "a-1", 0)
    output(ws, B, "b-1", 1)
    for one, version in ((A, "a-1"), (B, "b-1")):
        note(ws, one, version)
    assert versions_in(ws, BM) == {str(A): ("a-1",), str(B): ("b-1",)}
    assert binding_for_verdict(ws, "v").weights == {B: 100}
    note(ws, B, "b-2", hours=1, run="another")
    with pytest.raises(GuardRefused, match=r"b-1 was measured.*b-2") as refused:
        binding_for_verdict(ws, "v")
    assert refused.value.code == "verdict_expired"
    assert refused.value.instruction.endswith("pointsman benchmark run --again bm_1")
    note(ws, B, "b-1", hours=2, run="another")
    assert binding_for_verdict(ws, "v").weights == {B: 100}, "what was measured is back"


def test_a_verdict_on_two_versions_of_one_variant_rests_on_neither(ws):
    output(ws, A, "a-1", 0)
    output(ws, A, "a-2", 1)
    assert list(changed_since(ws, BM).values()) == ["its outputs were made by a-1 and a-2"]


def test_what_nobody_named_cannot_have_changed(ws):
    output(ws, A, None, 0)
    note(ws, A, "a-1")
    assert changed_since(ws, BM) == {}
    assert versions_in(ws, BM) == {}
