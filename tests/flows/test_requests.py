"""The requests of flows: what their forms show, what they refuse, and the deployments that take them."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from pydantic import BaseModel, ValidationError

from tests.few_inputs import variant

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]
ENTRYPOINTS = sorted(deployment["entrypoint"] for deployment in DEPLOYMENTS)
NAMES = {
    "choose-route",
    "run-scenario",
    "drive-shard",
    "find-capacity",
    "benchmark-matrix",
    "evaluate-quality",
    "run-matrix-chunk",
    "judge-chunk",
    "money-hud",
    "apply-routing",
    "promote-routing",
    "watch-routing",
    "propose-routing",
    "rollback-routing",
    "capture-baseline",
}
ROUTE = "er:postcard-1:env:lab:stage:demo"
STAGE = {"name": "steady", "kind": "constant", "rate": 1.0, "duration_s": 1.0}
VALID: dict[str, dict[str, Any]] = {
    "choose-route": {"route_key": ROUTE, "input_set": "photographs"},
    "run-scenario": {
        "scenario": {"name": "load", "stages": [STAGE]},
        "variant": variant("x264-medium-crf26"),
        "input_set": "photographs",
    },
    "drive-shard": {"run_id": "run1", "shard": 0},
    "find-capacity": {"variant": variant("x264-medium-crf26"), "input_set": "photographs"},
    "benchmark-matrix": {"variants": [variant("x264-medium-crf26")], "input_set": "photographs"},
    "evaluate-quality": {"benchmark_id": "bm_1"},
    "run-matrix-chunk": {"benchmark_id": "bm_1", "first_round": 0, "last_round": 1},
    "judge-chunk": {"evaluation_set_id": "set", "chunk": 0, "chunk_size": 48, "judge": "local"},
    "money-hud": {"benchmark_id": "bm_1", "evaluation_set_id": "set", "incumbent": variant("x264-medium-crf26")},
    "apply-routing": {"route_key": ROUTE, "variant": variant("x264-medium-crf26"), "input_set": "photographs"},
    "capture-baseline": {"environment": "staging"},
    "propose-routing": {"of_run": "run1"},
    "watch-routing": {"route_key": ROUTE, "input_set": "photographs"},
    "promote-routing": {"route_key": ROUTE, "expected_generation": 2, "input_set": "photographs"},
    "rollback-routing": {"route_key": ROUTE, "expected_generation": 2, "input_set": "photographs"},
}


def load(entrypoint: str) -> Flow[Any, Any]:
    path, _, name = entrypoint.partition(":")
    found = getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)
    assert isinstance(found, Flow)
    return found


def request_of(flow: Flow[Any, Any]) -> type[BaseModel]:
    (parameter,) = inspect.signature(flow.fn, eval_str=True).parameters.values()
    assert parameter.name == "request"
    assert issubclass(parameter.annotation, BaseModel)
    return parameter.annotation


FLOWS = {flow.name: flow for flow in map(load, ENTRYPOINTS)}


def test_every_flow_is_deployed_under_its_name() -> None:
    assert set(FLOWS) == NAMES
    for entrypoint in ENTRYPOINTS:
        path, _, name = entrypoint.partition(":")
        assert Path(path).stem == name
        assert load(entrypoint).name == name.replace("_", "-")
    files = {path.stem for path in (CHECKOUT / "flows").glob("*.py")} - {"__init__"}
    assert files == {name.replace("-", "_") for name in NAMES}


def test_only_choose_route_and_the_watch_are_scheduled_asleep_and_the_first_is_dry() -> None:
    watch = "flows/watch_routing.py:watch_routing"
    every = [one for one in DEPLOYMENTS if one.get("schedules")]
    assert {one["entrypoint"] for one in every} == {"flows/choose_route.py:choose_route", watch}
    assert not any(schedule["active"] for one in every for schedule in one["schedules"])
    scheduled = [one for one in every if one["entrypoint"] != watch]
    for one in scheduled:
        (daily,) = one["schedules"]
        assert daily["active"] is False
        assert request_of(FLOWS["choose-route"])(**daily["parameters"]["request"]).dry_run


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_form_explains_every_field(name: str) -> None:
    schema = request_of(FLOWS[name]).model_json_schema()
    known = schema.get("$defs", {})
    for model in [schema, *known.values()]:
        for field, shown in model.get("properties", {}).items():
            # A title that is the model's own stands there.
            shown = {**known.get(shown.get("$ref", "").rpartition("/")[2], {}), **shown}
            assert shown.get("title"), f"{model['title']}.{field} has no title"
            assert shown.get("description"), f"{model['title']}.{field} has no description"
            assert shown["title"] != field


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_request_takes_what_it_knows_and_nothing_else(name: str) -> None:
    model = request_of(FLOWS[name])
    model(**VALID[name])
    with pytest.raises(ValidationError, match="extra_forbidden"):
        model(**VALID[name], surprise=1)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(model(**VALID[name]), next(iter(VALID[name])), "changed")


@pytest.mark.parametrize("name", ["choose-route", "apply-routing"])
def test_a_mutation_asked_for_by_hand_only_says_what_it_would_do(name: str) -> None:
    assert request_of(FLOWS[name])(**VALID[name]).dry_run is True


def test_a_matrix_takes_filters_instead_of_ids() -> None:
    asked = request_of(FLOWS["benchmark-matrix"])(filters={"workflow": "x264", "tags": ["cheap"]}, input_set="photos")
    assert asked.model_dump()["filters"]["tags"] == ("cheap",)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("choose-route", "repeats", 0),
        ("choose-route", "repeats", 101),
        ("choose-route", "in_flight_per_provider", 0),
        ("choose-route", "round_cells", 5001),
        ("choose-route", "budget_usd", 0),
        ("choose-route", "budget_usd", -1),
        ("choose-route", "probe_jobs", 0),
        ("choose-route", "seed", -1),
        ("choose-route", "run_id", "../elsewhere"),
        ("choose-route", "run_id", "x" * 65),
        ("choose-route", "input_set", "x" * 65),
        ("choose-route", "rules", {"alpha": 0}),
        ("choose-route", "rules", {"swaps": 10}),
        ("choose-route", "rules", {"quality_margin": 101}),
        ("choose-route", "rules", {"min_saving": 1}),
        ("choose-route", "rules", {"surprise": 1}),
        ("run-scenario", "scenario", {"name": "load", "stages": []}),
        ("run-scenario", "scenario", {"name": "load", "stages": [{**STAGE, "rate": -1}]}),
        ("run-scenario", "scenario", {"name": "load", "stages": [{**STAGE, "duration_s": 0}]}),
        ("run-scenario", "scenario", {"name": "load", "stages": [{**STAGE, "rate": 1e12}]}),
        ("run-scenario", "scenario", {"name": "load", "stages": [STAGE], "surprise": 1}),
        ("drive-shard", "run_id", "../elsewhere"),
        ("drive-shard", "shard", -1),
        ("drive-shard", "turn", 0),
        ("benchmark-matrix", "variants", []),
        ("benchmark-matrix", "filters", {"workflow": "x264"}),
        ("benchmark-matrix", "early_stop", {"failures": 0, "of_first": 3}),
        ("benchmark-matrix", "early_stop", {"failures": 1}),
        ("benchmark-matrix", "assumed_saving", 1),
        ("evaluate-quality", "benchmark_id", "42"),
        ("evaluate-quality", "chunk_size", 0),
        ("money-hud", "benchmark_id", "42"),
        ("apply-routing", "expected_generation", 0),
        ("apply-routing", "variant", None),
        ("apply-routing", "verdict_id", "vd_1"),
        ("capture-baseline", "environment", "../elsewhere"),
        ("capture-baseline", "region", "http://127.0.0.1"),
        ("capture-baseline", "run_id", "x" * 65),
        ("rollback-routing", "expected_generation", 0),
        ("rollback-routing", "reason", "x" * 501),
    ],
)
def test_what_is_out_of_bounds_is_refused_before_a_run_is_made(name: str, field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        request_of(FLOWS[name])(**{**VALID[name], field: value})
    where = {str(error["loc"][0]) if error["loc"] else "" for error in caught.value.errors()}
    assert where <= {field, ""}
