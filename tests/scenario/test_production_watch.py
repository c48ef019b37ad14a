"""A run against production is ended by the safety lever, by the operator's alarms, and when neither can be known."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import boto3
import pytest
import sqlalchemy as sa
from moto import mock_aws

from lab.aws import gaps
from pointsman.errors import DependencyDown, NotFound
from pointsman.safety import Consent
from pointsman.scenario.production_watch import EVERY_S, PATIENCE_S, ProductionWatcher, brakes_of
from pointsman.scenario.readings import Brake, production_brake
from pointsman.scenario.record import advance, read_run
from pointsman.scenario.watchers import build_watchers
from pointsman.settings import AwsPlace
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import SCENARIO, plan

PLACE = AwsPlace("production", "us-east-1")
RINGS = Brake("alarm_rings", "In ALARM: effects-5xx.")


@pytest.fixture
def watcher(ws: Workspace) -> Callable[..., ProductionWatcher]:
    plan(ws)

    def made(*answers: Any) -> ProductionWatcher:
        left = list(answers)

        def brake() -> Brake | None:
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]

        found = ProductionWatcher(read_run(ws, "run1"), brake)
        found.begin(ws.clock.now(), {})
        return found

    return made


def test_it_ends_the_run_at_the_next_look_after_something_rings(watcher: Callable[..., ProductionWatcher]) -> None:
    watching = watcher(None, None, RINGS)
    looked = {now_s: watching.look(now_s, []) for now_s in (0.0, 1.0, EVERY_S, EVERY_S + 1, 2 * EVERY_S)}
    assert [now_s for now_s, stop in looked.items() if stop] == [2 * EVERY_S]
    stop = looked[2 * EVERY_S]
    assert stop is not None
    assert (stop.event, stop.code, stop.message) == ("stop_condition_met", "alarm_rings", "In ALARM: effects-5xx.")
    assert stop.instruction.endswith("pointsman scenario status run1")
    watching.halt()
    assert watching.end() == {}


@pytest.mark.parametrize("why", [DependencyDown("AWS is away."), NotFound("observe.alarms", "effects-5xx", "one")])
def test_it_is_patient_for_a_minute_while_nothing_can_be_known(
    watcher: Callable[..., ProductionWatcher], why: Exception
) -> None:
    watching = watcher(None, why)
    times = [index * EVERY_S for index in range(9)]
    stops = {now_s: watching.look(now_s, []) for now_s in times}
    first = min(now_s for now_s, stop in stops.items() if stop)
    assert first == PATIENCE_S + EVERY_S
    stop = stops[first]
    assert stop is not None
    assert stop.code == "production_brakes_unknown"
    assert "For 70 s nothing could be learnt" in stop.message


def test_another_coordinator_goes_on_with_what_was_known(
    ws: Workspace, watcher: Callable[..., ProductionWatcher]
) -> None:
    before = watcher(None)
    before.look(300.0, [])
    after = watcher(DependencyDown("AWS is away."))
    after.begin(ws.clock.now(), before.state())
    assert after.look(301.0, []) is None


def test_only_a_run_against_production_has_one(ws: Workspace) -> None:
    plan(ws)
    assert "production" not in [one.name for one in build_watchers(ws, read_run(ws, "run1"), SCENARIO)]
    advance(ws, "run1", None, metrics={"production": {"approval_id": "ap_1", "alarms": ["effects-5xx"]}})
    assert "production" in [one.name for one in build_watchers(ws, read_run(ws, "run1"), SCENARIO)]


def test_lever_and_alarms_are_read_from_aws(ws: Workspace) -> None:
    place = {"id": "prod", "name": "Production", "kind": "production", "aliases": [], "region": "us-east-1"}
    with ws.database.begin() as connection:
        connection.execute(sa.insert(tables.execution_environments).values(**place))
    gaps.fill_gaps()
    gaps.LEVER.update(status="disengaged", reason="the test began")
    with mock_aws():
        cloudwatch = boto3.client("cloudwatch", region_name="us-east-1")
        about = {"MetricName": "Errors", "Namespace": "Effects", "Period": 60, "EvaluationPeriods": 1}
        comparison = {"Threshold": 1, "Statistic": "Sum", "ComparisonOperator": "GreaterThanThreshold"}
        cloudwatch.put_metric_alarm(AlarmName="effects-5xx", **about, **comparison)
        brake = production_brake(PLACE, ["effects-5xx"])
        brakes = brakes_of(ws, Consent("ap_1", "prod", 1, Decimal(1), ("effects-5xx",)))
        assert (brake(), brakes.look(0.0)) == (None, None)
        cloudwatch.set_alarm_state(AlarmName="effects-5xx", StateValue="ALARM", StateReason="a test")
        assert (brake(), brakes.look(1.0), brakes.look(EVERY_S)) == (RINGS, None, RINGS)
        gaps.LEVER.update(status="engaged", reason="a drill")
        assert brake() == Brake("safety_lever_engaged", "The FIS safety lever of the account is engaged.")
        gaps.LEVER.update(status="disengaged", reason="the test ended")
        with pytest.raises(NotFound):
            production_brake(PLACE, ["effects-typo"])()
