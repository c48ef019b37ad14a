"""Keeping verdicts: once, the same for ever, and only when document, plan, verdict and route belong together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pointsman.decision import decide, document_path, load_verdict, store_verdict, verdict_document
from pointsman.errors import Conflict, InputRefused, NotFound
from pointsman.ids import RouteKey
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.decision.comparisons import measured, plan, variant
from tests.decision.judged import Judged


@pytest.fixture
def ws(ws: Workspace) -> Workspace:
    return replace(ws, actor="somebody")


def call(saving: float = 0.5, **changes: Any) -> dict[str, Any]:
    declared = plan()
    data = measured(declared, cost=lambda cell: 0.01 * (1 - saving if cell[0] == 1 else 1))
    verdict = decide(declared, data)
    return {
        "verdict_id": "v-1",
        "benchmark_id": "bm_1",
        "evaluation_set_id": "es-1",
        "route_key": variant(0).route_key,
        "plan": declared,
        "verdict": verdict,
        "document": verdict_document(declared, data, verdict),
        **changes,
    }


def test_a_stored_verdict_is_loaded_with_what_routing_needs(ws: Workspace) -> None:
    stored = store_verdict(ws, **call())
    loaded = load_verdict(ws, "v-1")
    assert loaded == stored
    assert (loaded.outcome, loaded.winner, loaded.route_key) == ("WINNER", variant(1), variant(0).route_key)
    assert loaded.plan_sha256 == plan().sha256
    assert loaded.created_at == ws.clock.now()
    assert ws.results.read(document_path("v-1")) == call()["document"]


@pytest.mark.parametrize(("saving", "outcome"), [(0.0, "EQUIVALENT"), (-0.5, "NO_SIGNIFICANT_WINNER")])
def test_a_verdict_without_a_winner_is_stored_without_one(ws: Workspace, saving: float, outcome: str) -> None:
    store_verdict(ws, **call(saving=saving))
    loaded = load_verdict(ws, "v-1")
    assert (loaded.outcome, loaded.winner) == (outcome, None)


def test_storing_it_again_changes_nothing(ws: Workspace) -> None:
    first = store_verdict(ws, **call())
    ws.clock.sleep(60)
    assert store_verdict(ws, **call()) == first


def test_of_two_that_store_it_in_one_moment_one_finds_what_the_other_stored(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store_verdict(ws, **call())
    rows = [None, first]  # as another process reads that has not seen the row yet
    monkeypatch.setattr("pointsman.decision.store._row", lambda *_: rows.pop(0))
    assert store_verdict(ws, **call()) == first


def test_a_crash_between_document_and_row_is_continued(ws: Workspace) -> None:
    ws.results.write(document_path("v-1"), call(saving=0.0)["document"])
    store_verdict(ws, **call())
    assert ws.results.read(document_path("v-1")) == call()["document"]


@pytest.mark.parametrize("other", [{"saving": 0.6}, {"benchmark_id": "bm_2"}, {"evaluation_set_id": "es-2"}])
def test_another_verdict_under_the_same_id_is_a_conflict_and_changes_nothing(ws: Workspace, other: Any) -> None:
    first = store_verdict(ws, **call())
    with pytest.raises(Conflict, match="v-1 is stored already"):
        store_verdict(ws, **call(**other))
    assert load_verdict(ws, "v-1") == first
    assert ws.results.read(document_path("v-1")) == call()["document"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"route_key": RouteKey("postcard-1", "live", "demo")},
        {"plan": plan(seed=8)},
        {"verdict": call(saving=0.0)["verdict"]},
        {"document": call(saving=0.0)["document"]},
        {"document": b"{}"},
        {"verdict_id": "../v"},
    ],
)
def test_parts_that_do_not_belong_together_are_refused_before_anything_is_written(ws: Workspace, wrong: Any) -> None:
    with pytest.raises(InputRefused):
        store_verdict(ws, **call(**wrong))
    assert list(ws.results.glob("**/*")) == []
    with pytest.raises(NotFound):
        load_verdict(ws, "v-1")


def test_what_decided_nothing_is_decided_once_its_judge_was_asked_again(migrated: Path, tmp_path: Path) -> None:
    judged = Judged(tmp_path, migrated=migrated)
    table = tables.quality_evaluations
    with judged.ws.database.begin() as connection:
        lacking, quality = connection.execute(sa.select(table.c.id, table.c.quality)).first()
        silent = {"quality": None, "missing_reason": "it did not answer"}
        connection.execute(sa.update(table).where(table.c.id == lacking).values(silent))
    first = judged.conclude()
    assert first.outcome == "INSUFFICIENT_DATA"
    judged.change(table, {"quality": quality, "missing_reason": None}, id=lacking)
    second = judged.conclude()
    assert second.outcome == "WINNER"
    assert judged.conclude() == second
    assert load_verdict(judged.ws, first.id) == first
