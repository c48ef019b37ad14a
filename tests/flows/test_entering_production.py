"""A matrix and a change of a route wait for consent before anything is done, and a refusal leaves nothing behind."""

from __future__ import annotations

import logging
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from flows import apply_routing, benchmark_matrix, run_scenario
from pointsman.economics import forecast_together
from pointsman.errors import GuardRefused
from pointsman.ids import VariantId
from pointsman.model import Missing
from pointsman.routing import CanaryRules
from pointsman.safety import Admission, Consent, Entrant, Forecast, Identity
from pointsman.scenario import Scenario, Stage
from tasks import production
from tasks.production import lower_budget, once_agreed
from tasks.routing import Moved

ONE = "er:e1:wf:fast:env:prod:stage:live:provider:cpu:exp:base"
OTHER = "er:e1:wf:slow:env:prod:stage:live:provider:cpu:exp:base"
CONSENT = Consent("ap_1", "prod", 5, Decimal("2.50"), ("effects-5xx",))
REFUSED = GuardRefused("The run bm_1 against production breaks a rule.", code="production_refused")


def costing(usd: str) -> Forecast:
    return Forecast(4, *[Decimal(usd)] * 4, "a guess")


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[Any]:
    """What is asked of the guard, with its forecast; `answers` of the fixture's list are taken one after the other."""
    asked: list[Any] = []
    variants = {
        one: SimpleNamespace(id=VariantId.parse(one), target=target) for one, target in ((ONE, "a"), (OTHER, "b"))
    }

    def enter(_ws: Any, entrant: Entrant, *, forecast: Any, rules: Any, limits: Any) -> Admission:
        asked.append((entrant, forecast()))
        waits = SimpleNamespace(state="waiting", waiting_error=lambda: GuardRefused("It waits for ap_1."))
        if entrant.production is None:
            raise REFUSED
        return waits  # type: ignore[return-value]

    stand_ins: dict[str, Any] = {
        "open_workspace": lambda: SimpleNamespace(clock=SimpleNamespace(now=lambda: None)),
        "variant": lambda _, one: variants[one],
        "input_set": lambda *_: SimpleNamespace(members=[1, 2]),
        "requester_of": lambda _: Identity("alice", "operator", "token"),
        "open_price_book": lambda _: None,
        "forecast_load": lambda *_, **about: costing("3") if about["dispatches"] else None,
        "_has_been_run": lambda _, bm_id: bm_id == "bm_done",
        "enter_production": enter,
        "get_run_logger": lambda: logging.getLogger("prefect.task_runs"),
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(production, name, stand_in)
    logger = logging.getLogger("prefect.task_runs")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "disabled", False)
    return asked


def matrix(bm_id: str, **changes: Any) -> Admission | None:
    about: dict[str, Any] = {"variant_ids": [ONE, OTHER], "input_set_id": "i", "repeats": 3, "production": "prod"}
    usual: dict[str, Any] = {**about, "in_flight_per_provider": 4, "price_book": "default"}
    return production.enter_with_matrix.fn(bm_id, **{**usual, **changes})


def test_the_guard_of_a_matrix_hears_all_that_it_would_send_and_its_alarms_count_the_lines(
    entered: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert matrix("bm_done") is None
    assert entered == []
    admission = matrix("bm_1")
    assert admission is not None
    assert admission.state == "waiting"
    ((entrant, forecast),) = entered
    assert (entrant.run_id, entrant.environment_id, entrant.production) == ("bm_1", "prod", "prod")
    assert (entrant.dispatches, entrant.in_flight, entrant.drives) == (12, 8, 2)
    assert (forecast.high, forecast.dispatches) == (Decimal(6), 8)
    with pytest.raises(GuardRefused):
        matrix("bm_1", production=None)
    lines = [record.getMessage().split()[0] for record in caplog.records]
    assert lines == ["production_run_requested", "production_run_refused"]


def test_the_guard_of_a_change_hears_of_its_routed_jobs(entered: list[Any]) -> None:
    key = "er:e1:env:prod:stage:live"
    planned = Moved(
        route_key=key, before={}, before_generation=None, after={ONE: 100, OTHER: 0}, generation=None, cause="a test"
    )
    about: dict[str, Any] = {"input_set_id": "i", "probe_jobs": 6, "price_book": "default", "production": "prod"}
    production.enter_with_change.fn(planned, "run1", canary=None, **about)
    ((entrant, forecast),) = entered
    assert entrant.run_id.startswith("change-run1-")
    assert (entrant.environment_id, entrant.dispatches, entrant.in_flight) == ("prod", 18, 4)
    assert "to fast@cpu, proved by at most 18 routed jobs" in entrant.what
    assert forecast.high == Decimal(3)


def test_the_guard_of_a_canary_hears_of_every_job_that_its_looks_may_send_also_to_what_serves(
    entered: list[Any],
) -> None:
    planned = Moved(
        route_key="er:e1:env:prod:stage:live",
        before={OTHER: 100},
        before_generation=1,
        after={ONE: 100},
        generation=None,
        cause="a test",
    )
    canary = CanaryRules(steps=(5, 25, 100), jobs_per_step=10, looks=3)
    about: dict[str, Any] = {"input_set_id": "i", "probe_jobs": 6, "price_book": "default", "production": "prod"}
    production.enter_with_change.fn(planned, "run1", canary=canary, **about)
    ((entrant, forecast),) = entered
    assert entrant.dispatches == 2 * 3 * 10 + 3 * 6
    assert "to fast@cpu, proved by at most 78 routed jobs" in entrant.what
    assert forecast.high == Decimal(6)


def test_consent_to_a_change_is_not_consent_to_another_one_of_the_same_run_id(entered: list[Any]) -> None:
    key = "er:e1:env:prod:stage:live"
    about: dict[str, Any] = {"input_set_id": "i", "price_book": "default", "production": "prod"}
    to_one = Moved(route_key=key, before={}, before_generation=None, after={ONE: 100}, generation=None, cause="a test")
    to_another = to_one.model_copy(update={"after": {OTHER: 100}})
    in_steps, slower = CanaryRules(), CanaryRules(steps=(1, 100))
    asked = [(to_one, 6, None), (to_another, 6, None), (to_one, 7, None), (to_one, 6, in_steps), (to_one, 6, slower)]
    for _ in range(2):
        for planned, jobs, canary in asked:
            production.enter_with_change.fn(planned, "run1", probe_jobs=jobs, canary=canary, **about)
    named = [entrant.run_id for entrant, _ in entered]
    assert named[:5] == named[5:], "the same again is the same"
    assert len(set(named)) == 5


def test_the_guard_of_a_watch_hears_of_its_routed_jobs(entered: list[Any]) -> None:
    about: dict[str, Any] = {"input_set_id": "i", "jobs": 20, "price_book": "default", "production": "prod"}
    production.enter_with_watch.fn("er:e1:env:prod:stage:live", ONE, "run1", **about)
    ((entrant, _),) = entered
    assert entrant.run_id.startswith("watch-run1-")
    assert (entrant.environment_id, entrant.dispatches) == ("prod", 20)
    assert entrant.what == "The watch of er:e1:env:prod:stage:live, 20 routed jobs to fast@cpu"


def test_it_is_asked_again_after_every_decision_until_it_is_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = SimpleNamespace(state="waiting")
    admitted = SimpleNamespace(state="admitted", consent=CONSENT)
    answers: list[Any] = [waits, waits, admitted]
    awaited: list[Any] = []
    monkeypatch.setattr(production, "await_decision", awaited.append)
    assert once_agreed(lambda: answers.pop(0)) is CONSENT
    assert awaited == [waits, waits]
    assert once_agreed(lambda: None) is None


def test_a_matrix_may_spend_what_was_agreed_to_or_what_was_asked_for_if_that_is_less() -> None:
    assert [lower_budget(asked, CONSENT) for asked in (None, 2.0, 3.0)] == [2.5, 2.0, 2.5]
    assert [lower_budget(asked, None) for asked in (None, 2.0)] == [None, 2.0]


def test_what_several_loads_cost_is_not_known_while_one_of_them_is_not() -> None:
    both = forecast_together([costing("3"), costing("4")])
    assert (both.usd, both.low, both.high, both.unit_usd, both.dispatches) == (7, 7, 7, Decimal("0.875"), 8)
    assert forecast_together([costing("3"), Forecast.unknown(2, "no price")]) == Forecast.unknown(6, "no price")
    assert both.usd != Missing("no price")


@pytest.mark.parametrize(
    ("module", "call"),
    [
        (
            benchmark_matrix,
            lambda: benchmark_matrix.benchmark_matrix.fn(
                benchmark_matrix.BenchmarkMatrixRequest(variants=(ONE,), input_set="i", run_id="run1")
            ),
        ),
        (
            apply_routing,
            lambda: apply_routing.apply_routing.fn(
                apply_routing.ApplyRoutingRequest(
                    route_key="er:e1:env:prod:stage:live", variant=ONE, input_set="i", dry_run=False, run_id="run1"
                )
            ),
        ),
    ],
)
def test_a_refusal_of_the_guard_ends_a_flow_before_any_other_step(
    monkeypatch: pytest.MonkeyPatch, module: Any, call: Any
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise REFUSED

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a step after the refusal")

    for name in ("enter_with_matrix", "enter_with_change"):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, refuse)
    for name in (
        "check_month",
        "plan_matrix",
        "propose_binding",
        "apply_binding",
        "probe",
        "report_matrix",
        "report_routing",
    ):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, never)
    if hasattr(module, "check_change"):
        monkeypatch.setattr(module, "check_change", lambda *_: None)
    monkeypatch.setattr(module, "plan_change" if hasattr(module, "plan_change") else "benchmark_id", lambda *_: "bm_1")
    with pytest.raises(GuardRefused) as caught:
        call()
    assert caught.value is REFUSED


def test_a_load_test_that_is_refused_after_it_was_planned_gets_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise REFUSED

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing was begun that this could be about")

    stand_ins: dict[str, Any] = {"may_start": lambda *_, **__: None, "plan_scenario": lambda *_, **__: None}
    stand_ins |= {"admit_scenario": refuse, "was_refused": lambda _: True}
    for name in ("give_up_scenario", "price_scenario", "report_scenario", "drive_scenario"):
        stand_ins[name] = never
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(run_scenario, name, stand_in)
    scenario = Scenario(name="evening", stages=(Stage(name="steady", rate=2, duration_s=10),))
    request = run_scenario.RunScenarioRequest(scenario=scenario, variant=ONE, input_set="i", run_id="run1")
    with pytest.raises(GuardRefused) as caught:
        run_scenario.run_scenario.fn(request)
    assert caught.value is REFUSED
