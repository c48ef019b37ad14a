"""A load test against production at the terminal: what its guard refuses is named there, and exits 3."""

import pytest

from pointsman.actions import ActionLog
from pointsman.benchmark import list_matrix_runs, register_variants
from pointsman.errors import DependencyDown
from pointsman.ids import VariantId
from pointsman.model import Missing, Variant
from pointsman.safety import Entrant, Forecast, Identity, Limits, ProductionRules, enter_production
from pointsman.scenario import AskedRun, Scenario, Stage, guard_production, list_runs
from pointsman.settings import load_settings
from service.cli import benchmark, route, scenario
from tests.service.worlds import INCUMBENT, registered

LIVE = INCUMBENT.replace("env:lab", "env:prod")
STEP = Scenario(name="step", stages=(Stage(name="only", rate=1, duration_s=2),))
WHO = Identity("alice", "operator", "local")


@pytest.fixture
def production(pointsman, home, monkeypatch):
    """Production is registered and AWS out of reach; of the flow, only its guard is carried out, without Prefect."""
    ws = registered(home)
    register_variants(ws, [Variant(VariantId.parse(LIVE), "lab", {})])
    pointsman("environments", "add", "prod", "--kind", "production", "--region", "eu-west-1")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    def out_of_reach(_place):
        raise DependencyDown("No credentials.")

    def guarded(_load, request):
        variant = VariantId.parse(request.variant)
        about = (variant.environment, request.production, WHO)
        unknown = Forecast(1, *[Missing("nobody measured it")] * 4, "none")
        return guard_production(
            ws,
            AskedRun(request.run_id, None, getattr(request, "scenario", STEP), 1, *about),
            forecast=lambda _: unknown,
            rules=ProductionRules.of(load_settings()),
            limits=Limits.of(load_settings()),
            open_aws=out_of_reach,
        )

    monkeypatch.setattr(scenario, "run_flow", guarded)

    def entering(_load, request):
        """What the flows of a matrix and of a change do first."""
        about = (request.production, WHO, 1, 1)
        return enter_production(
            ws,
            Entrant(f"asked-{request.run_id}", "It", "prod", *about),
            forecast=lambda: Forecast(1, *[Missing("nobody measured it")] * 4, "none"),
            rules=ProductionRules.of(load_settings()),
            limits=Limits.of(load_settings()),
            open_aws=out_of_reach,
        )

    monkeypatch.setattr(benchmark, "run_flow", entering)
    monkeypatch.setattr(route, "run_flow", entering)
    return ws


def load(tmp_path):
    path = tmp_path / "load.yaml"
    path.write_text("name: try\nstages:\n  - {name: only, kind: constant, rate: 1, duration_s: 2}\n")
    return path


@pytest.mark.parametrize(
    ("more", "named"), [([], "production_not_named"), (["--production", "staging"], "production_named_another")]
)
def test_every_rule_that_is_broken_is_said_and_nothing_is_planned(pointsman, production, tmp_path, more, named):
    words = ["--variant", LIVE, "--input-set", "some-clips", "--run-id", "evening"]
    for command in (["run", load(tmp_path)], ["capacity"]):
        answer = pointsman("scenario", *command, *words, *more)
        assert answer.code == 3
        for rule in (named, "account_not_registered", "region_not_allowed", "account_unknown", "alarms_not_named"):
            assert f"[{rule}]" in answer.err
        assert "pointsman logs --run evening --json" in answer.err
    told = pointsman("logs", "--run", "evening", "--json").document
    assert {one["event"] for one in told} == {"production_run_refused"}
    assert list_runs(production, limit=1) == []
    assert len(ActionLog(production).read(severity="critical")) == 2


KEY = "er:postcard-1:env:prod:stage:demo"


@pytest.mark.parametrize(
    "command",
    [
        ("benchmark", "run", "--route", KEY, "--input-set", "some-clips"),
        ("route", "apply", "--variant", LIVE, "--input-set", "some-clips", "--yes"),
    ],
)
@pytest.mark.parametrize(
    ("more", "named"), [((), "production_not_named"), (("--production", "staging"), "production_named_another")]
)
def test_a_matrix_and_a_change_of_a_route_are_refused_as_a_load_test_is(pointsman, production, command, more, named):
    answer = pointsman(*command, *more)
    assert answer.code == 3
    for rule in (named, "account_not_registered", "region_not_allowed", "account_unknown", "alarms_not_named"):
        assert f"[{rule}]" in answer.err
    (told,) = ActionLog(production).read(severity="critical")
    assert told.event == "production_run_refused"
    assert told.instruction in answer.err
    assert list_matrix_runs(production, limit=1) == []
