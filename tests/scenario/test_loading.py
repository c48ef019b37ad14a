"""Scenario files and forms: what is accepted, and how each bad one is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pointsman.errors import InputRefused, NotFound
from pointsman.scenario import Scenario, load_scenario, parse_scenario
from tests.docs.pages import TEXT

STEADY = {"name": "steady", "kind": "constant", "rate": 2, "duration_s": 3}
GOOD = {
    "name": "phase01-smoke",
    "stages": [
        {"name": "up", "kind": "ramp", "to_rate": 4, "duration_s": 2},
        {"name": "hold", "kind": "hold", "duration_s": 1.5},
    ],
    "arrivals": "poisson",
}
YAML = """
name: phase01-smoke
arrivals: poisson
stages:
  - {name: up, kind: ramp, to_rate: 4, duration_s: 2}
  - {name: hold, kind: hold, duration_s: 1.5}
"""
TOML = """
name = "phase01-smoke"
arrivals = "poisson"
[[stages]]
name = "up"
kind = "ramp"
to_rate = 4
duration_s = 2
[[stages]]
name = "hold"
kind = "hold"
duration_s = 1.5
"""


@pytest.mark.parametrize(
    ("suffix", "text"), [(".yaml", YAML), (".yml", YAML), (".json", json.dumps(GOOD)), (".toml", TOML)]
)
def test_the_same_scenario_reads_the_same_from_every_kind_of_file(tmp_path: Path, suffix: str, text: str) -> None:
    file = tmp_path / f"smoke{suffix}"
    file.write_text(text)
    assert load_scenario(file) == parse_scenario(GOOD)
    assert load_scenario(file).sha256 == parse_scenario(GOOD).sha256
    assert load_scenario(file).expected_dispatches == 4 + 6
    assert load_scenario(file).duration_s == 3.5


def test_the_scenario_of_the_readme_is_one(tmp_path: Path) -> None:
    readme = TEXT
    (text,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "evening.yaml").write_text(text)
    assert load_scenario(tmp_path / "evening.yaml").expected_dispatches == 30 + 4 * 1200


def one(**changes: Any) -> dict[str, Any]:
    """A scenario of one stage with some of its fields changed; None takes a field away."""
    stage = {name: value for name, value in {**STEADY, **changes}.items() if value is not None}
    return {"name": "one", "stages": [stage]}


@pytest.mark.parametrize(
    ("document", "field", "value", "allowed"),
    [
        (one(rate=-1), "stages.0.rate", "-1", "0 to 20000"),
        (one(rate=20_000.5), "stages.0.rate", "20000.5", "0 to 20000"),
        (one(rate=float("nan")), "stages.0.rate", "nan", "0 to 20000"),
        (one(rate=True), "stages.0.rate", "True", "0 to 20000"),
        (one(rate="fast"), "stages.0.rate", "fast", "0 to 20000"),
        (one(rate=None), "stages.0.rate", "nothing", "0 to 20000 per second in a constant stage"),
        (one(duration_s=0), "stages.0.duration_s", "0", "0.001 to 86400"),
        (one(duration_s=-3), "stages.0.duration_s", "-3", "0.001 to 86400"),
        (one(duration_s=86_401), "stages.0.duration_s", "86401", "0.001 to 86400"),
        (one(duration_s=float("inf")), "stages.0.duration_s", "inf", "0.001 to 86400"),
        (one(duration_s=None), "stages.0.duration_s", "nothing", "required"),
        (one(to_rate=4), "stages.0.to_rate", "4.0", "nothing in a constant stage; only in ramp, step"),
        (one(kind="ramp"), "stages.0.to_rate", "nothing", "0 to 20000 per second in a ramp stage"),
        (one(kind="ramp", to_rate=-4), "stages.0.to_rate", "-4", "0 to 20000"),
        (one(kind="hold"), "stages.0.rate", "2.0", "nothing in a hold stage"),
        (one(kind="hold", rate=None), "stages.0.kind", "hold", "another kind in the first stage"),
        (one(kind="spike"), "stages.0.kind", "spike", "'sine', 'hold' or 'trace'"),
        (one(kind="step", to_rate=4), "stages.0.steps", "nothing", "2 to 1000 in a step stage"),
        (one(kind="step", to_rate=4, steps=1), "stages.0.steps", "1", "2 to 1000"),
        (one(kind="step", to_rate=4, steps=3, period_s=4), "stages.0.period_s", "4.0", "only in sine"),
        (one(kind="sine", period_s=4), "stages.0.amplitude", "nothing", "above 0 and up to the rate in a sine stage"),
        (one(kind="sine", amplitude=1), "stages.0.period_s", "nothing", "0.001 to 86400 in a sine stage"),
        (one(kind="sine", amplitude=3, period_s=4), "stages.0.amplitude", "3.0", "above 0 and up to 2"),
        (one(kind="sine", amplitude=0, period_s=4), "stages.0.amplitude", "0.0", "above 0 and up to 2"),
        (one(kind="sine", rate=19_999, amplitude=2, period_s=4), "stages.0.amplitude", "2.0", "above 0 and up to 1"),
        (one(rate=20_000, duration_s=50.1), "stages.0", "1,002,000 dispatches in all", "1,000,000 dispatches"),
        (one(rate=0), "stages", "no dispatch in all", "1 to 1,000,000 dispatches"),
        (one(name="a/b"), "stages.0.name", "a/b", "A-Z a-z 0-9"),
        (
            one(speed=1),
            "stages.0.speed (unknown field)",
            "1",
            "steps, amplitude, period_s, trace, duration_s",
        ),
        ({"name": "n", "stages": [STEADY, STEADY]}, "stages.1.name", "steady", "no other stage"),
        (
            {"name": "n", "stages": [{**STEADY, "duration_s": 86_400}, {**STEADY, "name": "more"}]},
            "stages.1.duration_s",
            "86403 s in all",
            "24 h",
        ),
        ({"name": "n", "stages": []}, "stages", "[]", "at least 1 item"),
        ({"name": "..", "stages": [STEADY]}, "name", "..", "A-Z a-z 0-9"),
        ({**GOOD, "max_in_flight": 0}, "max_in_flight", "0", "1 to 100000"),
        ({**GOOD, "drain_limit_s": -1}, "drain_limit_s", "-1", "0.001 to 86400"),
        ({**GOOD, "arrivals": "bursty"}, "arrivals", "bursty", "'uniform' or 'poisson'"),
        ({**GOOD, "users": 3}, "users (unknown field)", "3", "stages, arrivals"),
        ({**GOOD, "slos": ["p95 total < 5"]}, "slos.0.figure", "p95 total", "total_ms, queue_ms"),
        ({**GOOD, "stop_conditions": ["failure_rate > 5"]}, "stop_conditions.0.threshold", "5", "as in 5%"),
        ({**GOOD, "stop_conditions": ["too slow"]}, "stop_conditions.0", "too slow", "over 30s"),
        ({**GOOD, "observe": {"alarm": ["a"]}}, "observe.alarm (unknown field)", "a", "alarms, target_groups"),
        (one(kind="trace", rate=None), "stages.0.trace", "nothing", "a recording in a trace stage"),
        (
            one(kind="trace", rate=None, trace={"file": "a.csv", "arrivals": 3}),
            "stages.0.trace.sha256",
            "nothing",
            "required",
        ),
        (one(warm_up=True), "stages", "warm-up in all", "at least one"),
        ([STEADY], "scenario", "steady", "a valid dictionary"),
    ],
)
def test_a_bad_scenario_is_refused_with_field_value_and_what_is_allowed(
    document: object, field: str, value: str, allowed: str
) -> None:
    with pytest.raises(InputRefused) as refused:
        parse_scenario(document)
    assert refused.value.field in (f"scenario, {field}", field)
    assert value in refused.value.message
    assert allowed in refused.value.message
    assert "more field" not in str(refused.value)


def test_a_refusal_says_how_many_other_fields_are_wrong() -> None:
    with pytest.raises(InputRefused, match=r"2 more fields are wrong\.") as refused:
        parse_scenario({"name": "n", "stages": [{**STEADY, "rate": -1, "duration_s": 0}], "drain_limit_s": 0})
    assert refused.value.field == "scenario, stages.0.rate"


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.yaml", "name: [unclosed"), ("a.json", "{"), ("a.toml", "name = "), ("a.json", "[" * 100_000)],
    ids=["yaml", "json", "toml", "too deep"],
)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(InputRefused, match=r"scenario file: .*allowed: readable") as refused:
        load_scenario(file)
    assert str(file) in str(refused.value.value)


def test_binary_oversized_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large.json").write_text(" " * 300_000)
    (tmp_path / "script.py").write_text("")
    with pytest.raises(InputRefused, match="readable JSON"):
        load_scenario(tmp_path / "binary.json")
    with pytest.raises(InputRefused, match="262,144 bytes"):
        load_scenario(tmp_path / "large.json")
    with pytest.raises(InputRefused, match=r"\.yaml, \.yml, \.json, \.toml"):
        load_scenario(tmp_path / "script.py")
    with pytest.raises(NotFound, match=r"absent\.yaml"):
        load_scenario(tmp_path / "absent.yaml")


def test_rates_are_kept_to_six_decimals_so_that_schedules_stay_exact() -> None:
    stage = parse_scenario(one(rate=1 / 3)).stages[0]
    assert stage.rate == 0.333333


def test_the_models_make_a_form_with_bounds_titles_descriptions_and_examples_on_every_field() -> None:
    schema = Scenario.model_json_schema()
    for model in (schema, schema["$defs"]["Stage"], schema["$defs"]["Observe"], schema["$defs"]["TraceFile"]):
        assert model["additionalProperties"] is False
        for name, field in model["properties"].items():
            assert field["title"], name
            assert field["description"].endswith("."), name
            assert field["examples"], name
    rate = schema["$defs"]["Stage"]["properties"]["rate"]["anyOf"][0]
    assert (rate["minimum"], rate["maximum"]) == (0, 20_000)
