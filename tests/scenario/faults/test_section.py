"""The fault section of a stage, as a file gives it; and the files that the lab ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pointsman.errors import InputRefused
from pointsman.scenario import load_scenario, parse_scenario
from pointsman.scenario.faults.environment import faulty_stages

SHIPPED = Path(__file__).resolve().parents[3] / "lab" / "scenarios"


def with_fault(stage: dict[str, Any], **fault: Any) -> dict[str, Any]:
    section = {"template": "EXT1", "offset_s": 5, "duration_s": 5, **fault}
    return {"name": "one", "stages": [{"name": "steady", "duration_s": 20, "fault": section, **stage}]}


def test_a_fault_is_on_by_fis_and_on_one_instance_unless_told_otherwise():
    (stage,) = faulty_stages(parse_scenario(with_fault({"rate": 6})))
    assert stage.fault is not None
    assert (stage.fault.fault_enabled, stage.fault.fault_method, stage.fault.instances) == (True, "fis", 1)
    assert faulty_stages(parse_scenario(with_fault({"rate": 6}, fault_enabled=False))) == []


@pytest.mark.parametrize(
    ("stage", "fault", "said"),
    [
        ({"rate": 2}, {"duration_s": 16}, r"offset_s \+ duration_s up to 20 s"),
        ({"kind": "ramp", "to_rate": 2}, {}, "a fault in a stage of kind constant or hold"),
        ({"rate": 2}, {"instances": 6}, r"stages\.0\.fault\.instances: 6 .* 1 to 5"),
        ({"rate": 2}, {"offset_s": 1}, r"stages\.0\.fault\.offset_s"),
        ({"rate": 2}, {"fault_method": "hammer"}, "'fis'"),
        ({"rate": 2}, {"victims": 2}, r"fault\.victims .*template"),
        ({"rate": 5}, {}, r"stages\.0\.fault\.offset_s: '5 s \(18.8 dispatches in its control\)"),
        ({"rate": 0.5, "duration_s": 600}, {"offset_s": 300}, r"offset_s: '300 s .* 20 dispatches are sure"),
        ({"rate": 2}, {"template": "a b"}, r"stages\.0\.fault\.template"),
    ],
)
def test_what_is_wrong_with_a_fault_is_named(stage: dict[str, Any], fault: dict[str, Any], said: str) -> None:
    with pytest.raises(InputRefused, match=said):
        parse_scenario(with_fault(stage, **fault))


def test_the_shipped_files_are_a_smoke_and_a_fault_whose_effect_can_be_measured():
    files = {path.stem: load_scenario(path) for path in SHIPPED.glob("*.yaml")}
    assert {name: scenario.name for name, scenario in files.items()} == {name: name for name in files}
    assert faulty_stages(files["phase01-smoke"]) == []
    (stage,) = faulty_stages(files["phase01-fault"])
    assert stage.fault is not None
    assert stage.rate is not None
    assert stage.rate * stage.fault.duration_s >= 20
    assert stage.rate * stage.fault.offset_s >= 20
