"""The flow that searches a capacity: step after step until there is none, each a load test under the search's id."""

from __future__ import annotations

from typing import Any

import pytest

from flows import find_capacity as module
from flows.find_capacity import FindCapacityRequest, find_capacity
from pointsman.errors import DependencyDown
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


@pytest.mark.parametrize(("code", "ended"), [("target_lost", True), ("target_lost", False), ("aws_unreachable", True)])
def test_a_step_whose_target_went_down_is_ended_and_judged_and_what_else_fails_ends_the_search(
    monkeypatch: pytest.MonkeyPatch, code: str, ended: bool
) -> None:
    step = CapacityRun("cap1-0", Scenario(name="capacity", stages=(Stage(name="counted", rate=2, duration_s=1),)), 7)
    waiting: list[CapacityRun | None] = [step, None]
    done: list[Any] = []

    def lost(request: Any) -> None:
        raise DependencyDown("It is away.", instruction="pointsman doctor", code=code)

    monkeypatch.setattr(module, "next_capacity_step", lambda *_: waiting.pop(0))
    monkeypatch.setattr(module.run_scenario, "fn", lost)
    monkeypatch.setattr(module, "end_lost_capacity_step", lambda run_id, because: done.append(because["code"]) or ended)
    monkeypatch.setattr(module, "price_scenario", lambda run_id, *, price_book: done.append(run_id))
    monkeypatch.setattr(module, "report_capacity", done.append)
    asked = FindCapacityRequest(variant=variant("x264-medium-crf26"), input_set="photographs", run_id="cap1")
    if code == "target_lost" and ended:
        assert find_capacity.fn(asked) == "cap1"
        assert done == ["target_lost", "cap1-0", "cap1"]
    else:
        with pytest.raises(DependencyDown, match="away"):
            find_capacity.fn(asked)
        assert "cap1" not in done
