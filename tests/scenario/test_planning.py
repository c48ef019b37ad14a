"""Planning a run: its row and its drive together, the same call twice, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from pointsman.dispatch import TargetSpec
from pointsman.errors import Conflict, GuardRefused, InputRefused
from pointsman.model import InputSet, Variant, VariantLimits
from pointsman.scenario import Scenario, Stage, read_run, run_folder, schedule
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import INPUTS, PLANNED, SCENARIO, VARIANT, plan


def planned(ws: Workspace, run_id: str) -> pl.DataFrame:
    return pl.read_ipc(run_folder(ws, read_run(ws, run_id)) / "plan-00000.arrow")


def test_a_planned_run_is_created_at_the_path_that_contracts_name(ws: Workspace) -> None:
    plan(ws, parent_run_id="choose1")
    record = read_run(ws, "run1")
    assert record.status == "created"
    assert record.context == "smoke-20260101T000000"
    assert record.results_path == "lab/smoke/20260101T000000/run1"
    assert (record.parent_run_id, record.environment_id, record.variant_id) == ("choose1", "lab", str(VARIANT.id))
    assert record.metrics_json["runner"] == {"mode": "inline", "shards": 1}
    with ws.database.connect() as connection:
        moves = connection.execute(sa.select(tables.state_transitions)).mappings().all()
        stored = connection.execute(sa.select(tables.scenarios)).mappings().one()
    assert [(move["from_state"], move["to_state"], move["actor"]) for move in moves] == [(None, "created", "tester")]
    assert Scenario.model_validate(stored["definition"]) == SCENARIO
    assert stored["sha256"] == SCENARIO.sha256


def test_a_variant_is_not_loaded_with_inputs_that_it_may_not_see(ws: Workspace) -> None:
    shown = replace(INPUTS, members=(replace(INPUTS.members[0], data_classes=("minors",)), *INPUTS.members[1:]))
    with pytest.raises(GuardRefused) as refused:
        plan(ws, inputs=shown)
    assert refused.value.code == "data_class_not_allowed"
    with ws.database.connect() as connection:
        assert connection.execute(sa.select(tables.load_test_runs)).all() == []
    plan(ws, inputs=shown, variant=replace(VARIANT, data_classes=("minors",)))


def test_a_run_keeps_within_the_limits_of_its_variant(ws: Workspace) -> None:
    plan(ws, variant=replace(VARIANT, limits=VariantLimits(in_flight=2)))
    header = json.loads((run_folder(ws, read_run(ws, "run1")) / "plan.json").read_text())
    assert header["limits"]["max_in_flight"] == 2
    for limit in (3.0, 0.5):
        with pytest.raises(InputRefused, match=f"at most {limit:g} per second"):
            plan(ws, "run2", variant=replace(VARIANT, limits=VariantLimits(per_s=limit)))
    plan(ws, "run2", variant=replace(VARIANT, limits=VariantLimits(per_s=5.0)))


def test_the_drive_holds_the_schedule_the_variant_and_every_limit(ws: Workspace) -> None:
    scenario = SCENARIO.model_copy(
        update={
            "max_in_flight": 7,
            "drain_limit_s": 8.0,
            "poll_interval_s": 0.5,
            "request_timeout_s": 3.0,
            "target_patience_s": 4.0,
        }
    )
    rows = planned(ws, plan(ws, scenario=scenario))
    assert rows["due_ns"].to_list() == schedule(scenario, 1).tolist()
    assert rows["seq"].to_list() == list(range(PLANNED))
    assert Counter(rows["stage"].to_list()) == {0: 4, 1: 12}
    assert set(rows["route"].to_list()) == {str(VARIANT.id)}
    header = json.loads((run_folder(ws, read_run(ws, "run1")) / "plan.json").read_text())
    assert header["variants"] == {str(VARIANT.id): {"preset": "fast"}}
    limits = header["limits"]
    assert (limits["max_in_flight"], limits["drain_limit_s"], limits["poll_interval_s"]) == (7, 8.0, 0.5)
    assert (limits["request_timeout_s"], limits["target_patience_s"]) == (3.0, 4.0)
    assert limits["fetch_outputs"] is False


def test_shards_share_what_the_target_and_the_scenario_allow(ws: Workspace) -> None:
    plan(ws, scenario=SCENARIO.model_copy(update={"shards": 3, "max_in_flight": 7}))
    folder = run_folder(ws, read_run(ws, "run1"))
    limits = [json.loads(path.read_text())["limits"] for path in folder.rglob("plan.json")]
    assert [one["rate_share"] for one in limits] == [1 / 3] * 3
    assert sum(one["max_in_flight"] for one in limits) == 7


def test_inputs_take_turns_in_an_order_that_the_seed_draws(ws: Workspace) -> None:
    orders = set()
    for seed in range(12):
        rows = planned(ws, plan(ws, run_id=f"run{seed}", seed=seed))
        ids = rows["input_id"].to_list()
        assert sorted(ids[:3]) == ["clip0", "clip1", "clip2"]
        assert all(ids[place] == ids[place % 3] for place in range(len(ids)))
        assert rows["repeat"].to_list() == [place // 3 for place in range(len(ids))]
        orders.add(tuple(ids[:3]))
    assert len(orders) > 1


def test_planning_again_changes_nothing_even_later(ws: Workspace) -> None:
    plan(ws)
    before = read_run(ws, "run1")
    ws.clock.sleep(3600)
    plan(ws)
    assert read_run(ws, "run1") == before
    with ws.database.connect() as connection:
        assert len(connection.execute(sa.select(tables.state_transitions)).all()) == 1


def test_a_target_that_moved_to_another_address_is_followed(ws: Workspace) -> None:
    plan(ws)
    plan(ws, target=TargetSpec(name="lab", preset="lab", base_url="http://127.0.0.1:10"))
    header = json.loads((run_folder(ws, read_run(ws, "run1")) / "plan.json").read_text())
    assert header["target"]["base_url"] == "http://127.0.0.1:10"


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"environment_id": "other"},
        {"scenario": Scenario(name="smoke", stages=(Stage(name="a", rate=1, duration_s=1),))},
        {"variant": Variant(VARIANT.id, "lab", {"preset": "slow"})},
    ],
    ids=["seed", "environment", "scenario", "parameters"],
)
def test_a_run_id_used_for_something_else_is_a_conflict(ws: Workspace, changes: dict[str, Any]) -> None:
    plan(ws)
    with pytest.raises(Conflict):
        plan(ws, **changes)


@pytest.mark.parametrize(
    ("changes", "field", "allowed"),
    [
        ({"run_id": "a/b"}, "run id", "A-Z a-z"),
        ({"run_id": ".."}, "run id", "dot"),
        ({"environment_id": "../up"}, "environment id", "A-Z a-z"),
        ({"environment_id": ".."}, "environment id", "dot"),
        ({"seed": -1}, "seed", "0 to"),
        ({"seed": 2**63}, "seed", "0 to"),
        ({"inputs": InputSet("none", (), "0" * 64)}, "input set", "at least one member"),
        ({"variant": Variant(VARIANT.id, "lab", {}, enabled=False)}, "variant", "enabled"),
        ({"target": TargetSpec(name="x", preset="no-such", base_url="http://127.0.0.1:9")}, "preset", "lab"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    ws: Workspace, changes: dict[str, Any], field: str, allowed: str
) -> None:
    with pytest.raises(InputRefused) as refused:
        plan(ws, **changes)
    assert field in refused.value.field
    assert allowed in refused.value.allowed
    with ws.database.connect() as connection:
        assert connection.execute(sa.select(tables.load_test_runs)).all() == []
        assert connection.execute(sa.select(tables.scenarios)).all() == []
    assert list(ws.results.glob("**/*")) == []


def test_a_seed_that_draws_no_arrival_is_refused(ws: Workspace) -> None:
    rare = Scenario(name="rare", stages=(Stage(name="a", rate=0.001, duration_s=1),), arrivals="poisson")
    with pytest.raises(InputRefused, match=r"0\.001 expected arrivals"):
        plan(ws, scenario=rare)


def test_a_run_whose_drive_cannot_be_written_does_not_exist(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pointsman.scenario.planning.write_drive", full_disk)
        with pytest.raises(OSError, match="No space"):
            plan(ws)
    with ws.database.connect() as connection:
        assert connection.execute(sa.select(tables.load_test_runs)).all() == []
    plan(ws)
    assert planned(ws, "run1").height == PLANNED
