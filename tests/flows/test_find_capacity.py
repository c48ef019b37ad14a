"""The flow that searches a capacity: step after step until there is none, each a load test under the search's id."""

from __future__ import annotations

from typing import Any

import pytest

from flows import find_capacity as module
from flows.find_capacity import FindCapacityRequest, find_capacity
from pointsman.scenario import CapacityRun, Scenario, Stage
from tests.few_inputs import variant


def test_every_step_is_a_load_test_of_the_variant_under_the_searchs_id(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = (Stage(name="counted", rate=2, duration_s=1),)
    steps = [CapacityRun(f"cap1-{number}", Scenario(name="capacity", stages=stages), 7 + number) for number in (0, 1)]
    waiting: list[CapacityRun | None] = [*steps, None]
    done: list[Any] = []
    monkeypatch.setattr(module, "next_capacity_step", lambda *asked: done.append(asked) or waiting.pop(0))
    monkeypatch.setattr(module.run_scenario, "fn", done.append)
    monkeypatch.setattr(module, "report_capacity", done.append)
    asked = FindCapacityRequest(variant=variant("x264-medium-crf26"), input_set="photographs", seed=7, run_id="cap1")
    assert find_capacity.fn(asked) == "cap1"
    question = ("cap1", asked.variant, asked.search, 7)
    assert done == [question, done[1], question, done[3], question, "cap1"]
    for step, ran in zip(steps, (done[1], done[3]), strict=True):
        assert (ran.run_id, ran.scenario, ran.seed) == (step.run_id, step.scenario, step.seed)
        assert (ran.parent_run_id, ran.variant, ran.input_set) == ("cap1", asked.variant, "photographs")
