"""What a run against production writes to its log is what CloudFormation's alarms count."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from pointsman.actions import CATALOGUE
from pointsman.errors import GuardRefused
from pointsman.ids import VariantId
from pointsman.safety import Identity, Permit
from pointsman.scenario import Scenario, Stage
from tasks import safety
from tests.deployments.rendering import render

SCENARIO = Scenario(name="evening", stages=(Stage(name="steady", rate=2, duration_s=10),))
VARIANT = "er:e1:wf:fast:env:prod:stage:live:provider:cpu:exp:base"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    chosen = SimpleNamespace(id=VariantId.parse(VARIANT), target="effects")
    record = SimpleNamespace(variant_id=VARIANT, environment_id="prod")
    stand_ins: dict[str, Any] = {
        "open_workspace": lambda: None,
        "variant": lambda *_: chosen,
        "requester_of": lambda _: Identity("alice", "operator", "token"),
        "read_run": lambda *_: record,
        "awaits_admission": lambda _: True,
        "planned_dispatches": lambda *_: 20,
        "environment_kind": lambda *_: "production",
        "_forecast": lambda *_: None,
        "get_run_logger": lambda: logging.getLogger("prefect.task_runs"),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(safety, name, stand_in)
    logger = logging.getLogger("prefect.task_runs")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "disabled", False)
    logger.setLevel(logging.INFO)
    return caplog


def patterns() -> dict[str, str]:
    """By alarm of production requests and refusals, the words that a line must hold to be counted."""
    stacks = dict(render("main", {"Team": "media", "ImageTag": "0123abc"}).walk())
    of_type = stacks["Observability"].of_type
    filters = of_type("AWS::Logs::MetricFilter").values()
    counted = {one["MetricTransformations"][0]["MetricName"]: one["FilterPattern"].strip('"') for one in filters}
    alarms = of_type("AWS::CloudWatch::Alarm").values()
    return {one["AlarmName"]: counted[one["MetricName"]] for one in alarms if one["MetricName"] in counted}


def test_each_event_of_production_has_an_alarm_on_its_name() -> None:
    names = {"load-test-production-requests": "production_run_requested"}
    names["load-test-production-refusals"] = "production_run_refused"
    assert names.items() <= patterns().items()
    assert set(names.values()) <= set(CATALOGUE)


def test_a_refusal_is_a_line_that_its_alarm_counts(
    said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise GuardRefused("It breaks a rule. [wrong_account] Another account.", code="production_refused")

    monkeypatch.setattr(safety, "guard_production", refuse)
    about: dict[str, Any] = {"parent_run_id": None, "scenario": SCENARIO, "seed": 1, "variant_id": VARIANT}
    with pytest.raises(GuardRefused):
        safety.may_start.fn("run1", **about, input_set_id="i", price_book="default", production="prod")
    (line,) = [record.getMessage() for record in said.records]
    assert patterns()["load-test-production-refusals"] in line
    assert "wrong_account" in line


@pytest.mark.parametrize(("state", "lines"), [("waiting", 1), ("admitted", 0)])
def test_a_request_is_a_line_that_its_alarm_counts(
    said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, state: str, lines: int
) -> None:
    waits = GuardRefused("It waits for ap_1.", code="awaiting_approval")
    admission = SimpleNamespace(state=state, waiting_error=lambda: waits)
    monkeypatch.setattr(safety, "admit_run", lambda *_, **__: admission)
    permit = Permit("prod", 2, safety.Limits.of(safety.load_settings({})), ())
    safety.admit_scenario.fn("run1", permit, input_set_id="i", price_book="default")
    counted = [one for one in said.records if patterns()["load-test-production-requests"] in one.getMessage()]
    assert len(counted) == lines
