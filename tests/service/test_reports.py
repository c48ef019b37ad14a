"""`pointsman scenario report` and `compare` on runs that have ended."""

import json
from decimal import Decimal

import numpy as np
import pytest
import sqlalchemy as sa

from pointsman.reporting import to_markdown
from pointsman.scenario import Scenario, Stage, read_run, scenario_report
from pointsman.settings import load_settings
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import plan
from tests.scenario.ledgers import ended_run
from tests.service.worlds import INCUMBENT, registered

N = 1_500
FORECAST = {
    "dispatches": N,
    "usd": "0.300000000000",
    "low": "0.150000000000",
    "high": "0.600000000000",
    "unit_usd": "0.000200000000",
    "method": "mean of 40 past dispatches over 4 inputs",
}
COST = {"usd": "0.291234567", "limit_usd": "50", "forecast": FORECAST}
DELTA = {"value": 512.3, "low": 401.0, "high": 733.2}
EFFECT = {
    "effective": True,
    "p95_delta_ms": DELTA,
    "failure_rate_delta": {"value": 0.0, "low": -0.02, "high": 0.02},
    "control": {"from_s": 0, "to_s": 10, "dispatches": 50, "p95_ms": 300.0, "failure_rate": 0.0},
    "during": {"from_s": 10, "to_s": 20, "dispatches": 50, "p95_ms": 812.3, "failure_rate": 0.0},
    "time_to_detection_s": 1.5,
    "time_to_recovery_s": 12.5,
}
FAULT = {
    "verdict": "happened",
    "started_at": None,
    "state": "completed",
    "target_instance_ids": ["i-1", "i-2"],
    "effect": EFFECT,
}


@pytest.fixture
def runs(home):
    """Two ended runs, the second of which took twice as long."""
    ws = Workspace.open(load_settings(home=home), actor="a test")
    scenario = Scenario(name="steady", stages=(Stage(name="steady", rate=50, duration_s=30),))
    for run_id, seed, times in (("before", 1, 1.0), ("after", 2, 2.0)):
        took = times * np.random.default_rng(seed).lognormal(6, 0.5, N)
        ended_run(ws, scenario, run_id=run_id, took_ms=took, state=np.full(N, "completed"))


def test_a_report_is_written_beside_the_ledger_and_its_files_are_named(pointsman, home, runs):
    document = pointsman("scenario", "report", "before", "--json").document
    assert set(document["files"]) == {"report.html", "k6-summary.json", "junit.xml"}
    for uri in document["files"].values():
        assert uri.startswith("file://")
    (page,) = (home / "results").rglob("report.html")
    assert "Load: fast@cpu" in page.read_text()
    assert "report.html" in pointsman("scenario", "report", "before").out


def test_a_regression_is_said_and_exits_1_and_the_other_way_round_it_does_not(pointsman, home, runs, tmp_path):
    page = tmp_path / "page.html"
    answer = pointsman("scenario", "compare", "before", "after", "--page", page, "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["regressed"] == ["p50", "p95"]
    assert "Regression of p50, p95." in answer.err
    assert "Two runs compared" in page.read_text()
    answer = pointsman("scenario", "compare", "after", "before")
    assert answer.code == 0
    assert "Improvement of p50, p95." in answer.out
    assert pointsman("scenario", "compare", "after", "absent").code == 2


def shown(out):
    """What was printed, without the frames of its tables and where these broke lines."""
    return " ".join(part.strip() for line in out.splitlines() for part in line.replace("┃", "│").split("│")).split()


@pytest.fixture
def paid(home):
    """Two ended runs, with their costs and a fault; what the second one cost is not known."""
    ws = Workspace.open(load_settings(home=home), actor="a test")
    scenario = Scenario(name="steady", stages=(Stage(name="steady", rate=50, duration_s=30),))
    unknown = {"usd": None, "missing": {"usd": "the target reports no usage"}}
    for run_id, cost in (("paid", COST), ("unknown", unknown)):
        ended_run(ws, scenario, run_id=run_id, metrics={"cost": cost})
        metrics = read_run(ws, run_id).metrics_json
        metrics["stages"][0]["fault"] = FAULT
        runs = tables.load_test_runs
        with ws.database.begin() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(metrics_json=metrics))
    return ws


def test_a_run_shows_what_it_cost_beside_its_forecast_and_its_limit(pointsman, paid):
    words = " ".join(shown(pointsman("scenario", "status", "paid").out))
    completed = pointsman("scenario", "status", "paid", "--json").document["counts"]["completed"]
    assert "forecast 0.3 USD (0.15 to 0.6)" in words
    assert "forecast per dispatch 0.0002 USD (0.0001 to 0.0004)" in words
    assert "limit of the run 50 USD" in words
    assert "measured, failed attempts included 0.2912 USD" in words
    assert f"measured per completed dispatch {0.291234567 / completed:.4g} USD" in words
    report = to_markdown(scenario_report(paid, "paid"))
    assert "forecast per dispatch" in report
    assert "0.2912 USD" in report


def test_what_is_not_known_of_a_cost_says_why(pointsman, paid):
    words = " ".join(shown(pointsman("scenario", "status", "unknown").out))
    assert "forecast not measured (it is made when the run is admitted)" in words
    assert "measured per completed dispatch not measured (the target reports no usage)" in words
    assert "the target reports no usage" in to_markdown(scenario_report(paid, "unknown"))


def test_a_run_shows_what_its_fault_did(pointsman, paid):
    words = shown(pointsman("scenario", "status", "paid").out)
    assert "detected" not in words
    assert {"Faults", "i-1,", "i-2", "completed", "+512", "(+401", "+733)", "+0.0"} <= set(words)


def test_times_that_are_not_known_say_why(pointsman, home):
    plan(Workspace.open(load_settings(home=home), actor="a test"))
    out = pointsman("scenario", "status", "run1").out
    assert "lateness p99" in out
    assert "not measured (no dispatch was sent yet)" in out
    assert "{" not in out


def test_a_plan_says_what_the_run_would_cost_or_why_that_is_not_known(pointsman, home, tmp_path, monkeypatch):
    registered(home)
    path = tmp_path / "load.yaml"
    path.write_text("name: try\nstages:\n  - {name: only, kind: constant, rate: 5, duration_s: 2}\n")
    assert "name one with --variant" in pointsman("scenario", "plan", path).out
    words = ["scenario", "plan", path, "--variant", INCUMBENT, "--input-set", "some-clips"]
    assert "no dispatch of the variant was priced before" in " ".join(shown(pointsman(*words).out))
    assert pointsman(*words, "--json").document["forecast"]["usd"] is None
    # As if the price book had a price for a job at the provider.
    monkeypatch.setattr("pointsman.economics.price_book.PriceBook.price", lambda book, sku, at: Decimal("0.25"))
    assert "forecast per dispatch 0.25 USD (0.25 to 0.25)" in " ".join(shown(pointsman(*words).out))
    assert pointsman(*words, "--json").document["forecast"]["high"] == "2.500000000000"
