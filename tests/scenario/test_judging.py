"""SLOs and stop conditions over simulated runs: every second is told by the test, and none is waited for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from pointsman.actions import ActionLog
from pointsman.dispatch import Second
from pointsman.errors import DependencyDown, NotFound
from pointsman.scenario import Scenario, Stage, execute_run, read_run, run_status
from pointsman.scenario.judging import Conditions, Load, conditions_of, load_of, unjudged_conditions
from pointsman.scenario.readings import Sources
from pointsman.scenario.watching import Stop
from pointsman.statistics.sketch import Sketch
from pointsman.workspace import Workspace
from tests.scenario.fake_engine import SCENARIO as SMOKE
from tests.scenario.fake_engine import FakeEngine, plan

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
STEADY = Load(planned=[10] * 1200, warm_up=frozenset(), counted_from_s=0)
Tell = Callable[[int], Second]


def second(
    at: int, *, stage: int = 0, sent: int = 10, completed: int = 10, failed: int = 0, refused: int = 0, ms: float = 100
) -> Second:
    counts = {"sent": sent, "completed": completed, "failed": failed + refused, "refused": refused}
    times = Sketch([ms] * completed)
    return Second(at, stage, counts, 0, 0, times, times, times, Sketch([1.0] * sent))


def conditions(*texts: str, slo: bool = False, load: Load = STEADY, **sources: Any) -> Conditions:
    found = {"slos": texts, "stop_conditions": ()} if slo else {"slos": (), "stop_conditions": texts}
    return Conditions("run1", **found, load=load, sources=Sources(**sources))


def run(watcher: Conditions, tell: Tell, *, until_s: int, hand_over: Callable[[], Conditions] | None = None) -> Any:
    """Judge second by second, each told 1.5 s after its end; returns when the run was stopped, and why."""
    watcher.begin(EPOCH, {})
    for at in range(until_s):
        if hand_over is not None and at and at % 7 == 0:
            kept = json.loads(json.dumps(watcher.state()))
            watcher = hand_over()
            watcher.begin(EPOCH, kept)
        stop = watcher.look(at + 2.5, [tell(at)])
        if stop is not None:
            return at + 2.5, stop, watcher
    return None, None, watcher


def verdict(watcher: Conditions) -> Mapping[str, Any]:
    ended = watcher.end()
    (one,) = [*ended["slos"], *ended["stop_conditions"]]
    return one


def test_a_percentile_over_its_slo_ends_the_run_within_five_seconds_of_the_breach() -> None:
    # From second 60 on jobs are slow. Of 300 in 30 s more than 15 are slow once second 61 is over.
    watcher = conditions("p95 total_ms < 5000 over 30s", slo=True)
    stopped_s, stop, watcher = run(watcher, lambda at: second(at, ms=100 if at < 60 else 9000), until_s=300)
    assert 61 < stopped_s <= 62 + 5
    assert (stop.event, stop.code) == ("load_test_slo_aborted", "slo_breached")
    assert "over the last 30 s: the SLO asks for p95 total_ms < 5000 over 30s" in stop.message
    assert stop.instruction == "pointsman scenario status run1"
    assert verdict(watcher)["verdict"] == "breached"
    assert verdict(watcher)["worst_at_s"] == 62


def test_an_slo_that_holds_says_its_worst_window() -> None:
    stopped_s, _, watcher = run(
        conditions("p95 total_ms < 5000 over 30s", slo=True),
        lambda at: second(at, ms=4000 if 90 <= at < 100 else 100),
        until_s=300,
    )
    assert stopped_s is None
    found = verdict(watcher)
    assert found["verdict"] == "held"
    assert found["worst"].startswith(("40", "39"))
    assert 91 <= found["worst_at_s"] <= 130


def test_percentiles_of_a_window_are_those_of_the_merged_sketches_and_not_an_average() -> None:
    # One second in four is slow: the p90 of the window is slow, the mean of the seconds' p90 is not.
    watcher = conditions("p90 total_ms < 2500 over 20s", slo=True)
    stopped_s, _, _ = run(watcher, lambda at: second(at, ms=100 if at % 4 else 9000), until_s=60)
    assert stopped_s == 19 + 2.5


def test_a_target_that_hangs_breaches_a_percentile_though_nothing_completes() -> None:
    # From second 60 on nothing ends. At second 68 some 30 dispatches have been in flight for more than 5 s.
    watcher = conditions("p95 total_ms < 5000 over 30s", slo=True)
    stopped_s, stop, _ = run(watcher, lambda at: second(at, completed=10 if at < 60 else 0), until_s=300)
    assert 65 < stopped_s <= 70
    assert stop.message.startswith("5000 ms")


def test_jobs_that_hang_for_ever_are_counted_when_they_become_late_and_not_ever_after() -> None:
    # Of two a second one in six hundred never ends: 0.17 %.
    def rarely(at: int) -> Second:
        return second(at, sent=2, completed=1 if at % 300 == 0 else 2)

    load = Load(planned=[2] * 6000, warm_up=frozenset(), counted_from_s=0)
    watcher = conditions("p95 total_ms < 5000 over 30s", slo=True, load=load)
    assert run(watcher, rarely, until_s=6000)[0] is None
    assert len(json.dumps(watcher.state())) < 10_000


def test_a_load_that_falls_makes_no_job_late() -> None:
    # Each takes 4.6 s. What is sent falls from 100 a second to one; long ago a hundred jobs hung for ever.
    def falling(at: int) -> Second:
        sent, then = (100 if at < 300 else 1), (100 if at - 5 < 300 else 1)
        hung = 100 if at == 20 else 0
        return second(at, sent=sent, completed=0 if at < 5 else max(0, then - hung), ms=4600)

    watcher = conditions("p99 total_ms < 5000 over 30s", slo=True)
    stopped_s, _, _ = run(watcher, lambda at: falling(at), until_s=15)
    assert stopped_s is None
    later = conditions("p95 total_ms < 5000 over 30s", slo=True)
    assert run(later, falling, until_s=600)[0] is None


def test_a_tenth_of_the_jobs_that_hangs_breaches_a_p95_as_long_as_it_lasts() -> None:
    watcher = conditions("p95 total_ms < 5000 over 30s", slo=True)
    stopped_s, _, _ = run(watcher, lambda at: second(at, completed=10 if at < 60 else 9), until_s=300)
    assert 65 < stopped_s <= 95
    whole = conditions("p95 total_ms < 5000", slo=True)
    assert run(whole, lambda at: second(at, completed=9), until_s=60)[0] is not None


@pytest.mark.parametrize("over", ["< 5000", "< 600000 over 1h", "< 5000 over 2h"])
def test_what_is_kept_of_a_condition_does_not_grow_with_the_run(over: str) -> None:
    load = Load(planned=[10] * 3000, warm_up=frozenset(), counted_from_s=0)
    unknown = ("unhealthy targets >= 1 for 5m", "failed_spend > 5 USD")
    watcher = conditions(f"p95 total_ms {over}", *unknown, load=load, unhealthy_targets=lambda: 0)
    watcher.begin(EPOCH, {})
    watcher.look(3000.0, [second(at) for at in range(3000)])
    assert len(json.dumps(watcher.state())) < 20_000


def test_what_is_in_flight_for_less_than_the_threshold_breaches_nothing() -> None:
    def lagging(at: int) -> Second:
        return second(at, completed=0 if at < 4 else 10, ms=4200)

    assert run(conditions("p95 total_ms < 5000 over 30s", slo=True), lagging, until_s=200)[0] is None


@pytest.mark.parametrize(
    ("text", "share", "stops"),
    [
        ("failure_rate > 20% for 10m", 3, True),
        ("failure_rate > 20% for 10m", 2, False),
        ("failure_rate > 5% for 2m", 1, True),
    ],
)
def test_a_failure_rate_is_that_of_all_that_ended_within_the_window(text: str, share: int, stops: bool) -> None:
    stopped_s, stop, watcher = run(
        conditions(text), lambda at: second(at, completed=10 - share, failed=share), until_s=700
    )
    assert (stopped_s is not None) is stops
    if stop is not None:
        assert stop.event == stop.code == "stop_condition_met"
        assert watcher.end()["stop_conditions"][0]["verdict"] == "met"
        assert stopped_s - 1.5 == (600 if "10m" in text else 120)


def test_a_burst_of_failures_that_the_window_outweighs_stops_nothing() -> None:
    def burst(at: int) -> Second:
        return second(at, completed=0, failed=10) if 700 <= at < 760 else second(at)

    stopped_s, _, watcher = run(conditions("failure_rate > 20% for 10m"), burst, until_s=1000)
    assert stopped_s is None
    assert verdict(watcher)["worst"].startswith("10")


def test_nothing_is_judged_before_a_whole_window_has_passed() -> None:
    watcher = conditions("failure_rate > 5% for 2m")
    assert run(watcher, lambda at: second(at, completed=0, failed=10), until_s=119)[0] is None


def test_warm_up_stages_do_not_count() -> None:
    load = Load(planned=[0] * 60 + [10] * 200, warm_up=frozenset({0}), counted_from_s=60)

    def cold(at: int) -> Second:
        return second(at, stage=0, completed=0, failed=10) if at < 60 else second(at, stage=1)

    texts = ("failure_rate > 5% for 10s", "achieved_rate < 95% over 10s", "p95 total_ms >= 5000")
    stopped_s, _, watcher = run(conditions(*texts, load=load), cold, until_s=260)
    assert stopped_s is None
    assert [one["verdict"] for one in watcher.end()["stop_conditions"]] == ["not met"] * 3


def test_an_achieved_rate_is_held_against_the_schedule_also_at_its_edges() -> None:
    assert run(conditions("achieved_rate < 95%"), lambda at: second(at, sent=10), until_s=300)[0] is None
    # Always one dispatch is sent a moment after the second in which it was due.
    late = [9, *[10] * 298, 11]
    sparse = Load(planned=[1, 0, 0, 0, 0] * 40, warm_up=frozenset(), counted_from_s=0)
    slow = conditions("achieved_rate < 95% over 10s")
    assert run(slow, lambda at: second(at, sent=late[at]), until_s=300)[0] is None
    shifted = conditions("achieved_rate < 95% over 10s", load=sparse)
    assert run(shifted, lambda at: second(at, sent=1 if at % 5 == 1 else 0), until_s=200)[0] is None
    stopped_s, stop, _ = run(conditions("achieved_rate < 95% over 10s"), lambda at: second(at, sent=9), until_s=300)
    assert stopped_s is not None
    assert "achieved_rate < 95%" in stop.message


def test_money_spent_on_failures_counts_from_the_first_dispatch() -> None:
    watcher = conditions("failed_spend > 5 USD", usd_per_dispatch=Decimal("0.5"))
    stopped_s, stop, _ = run(watcher, lambda at: second(at, failed=2, refused=3), until_s=60)
    assert stopped_s == 5 + 2.5
    assert stop.message.startswith("6 USD over the run so far")


def scripted(values: list[Any]) -> Callable[[], Any]:
    """A source that gives one value per reading, the last one for ever; an exception is raised."""

    def read(*_: Any) -> Any:
        value = values.pop(0) if len(values) > 1 else values[0]
        if isinstance(value, Exception):
            raise value
        return value

    return read


AWAY = DependencyDown("CloudWatch does not answer.")


def test_unhealthy_targets_must_be_so_at_every_reading_of_the_window() -> None:
    flapping = conditions("unhealthy targets >= 1 for 20s", unhealthy_targets=scripted([0, 1, 1, 0, 1, 0] * 20 + [0]))
    assert run(flapping, second, until_s=200)[0] is None
    lasting = conditions(
        "unhealthy targets >= 1 for 20s", unhealthy_targets=scripted([*[0] * 10, 1, AWAY, 1, AWAY, AWAY, 2])
    )
    stopped_s, stop, watcher = run(lasting, second, until_s=200)
    assert 40 <= stopped_s <= 40 + 2 + 2.5
    assert stop.message.startswith("2 over the last 20 s")
    assert watcher.end()["failed_readings"] == 3


def test_a_look_reads_once_what_several_conditions_speak_of() -> None:
    asked: list[int] = []
    texts = ("unhealthy targets >= 1 for 20s", "unhealthy targets >= 2 for 10s")
    watcher = conditions(*texts, unhealthy_targets=lambda: asked.append(1) or 0)
    run(watcher, second, until_s=20)
    assert len(asked) == 10, "every two seconds"


def test_only_an_alarm_that_moved_to_alarm_since_the_baseline_stops() -> None:
    normal = {"scale-in": True, "errors": False}
    watcher = conditions("alarms moved >= 1", alarms=scripted([normal] * 30 + [{"scale-in": True, "errors": True}]))
    stopped_s, stop, _ = run(watcher, second, until_s=200)
    assert stopped_s is not None
    assert "1 (errors) over the run so far" in stop.message
    assert run(conditions("alarms moved >= 1", alarms=lambda: normal), second, until_s=100)[0] is None
    back = conditions("alarms moved >= 1", alarms=scripted([normal, {"scale-in": False, "errors": False}, normal]))
    assert run(back, second, until_s=100)[0] is not None


def test_alarms_that_are_deleted_while_the_run_goes_on_leave_nothing_to_judge_by() -> None:
    gone = NotFound("observe.alarms", "errors", "the name of a CloudWatch alarm")
    watcher = conditions("alarms moved >= 1", alarms=scripted([{"errors": False}] * 5 + [gone]))
    assert run(watcher, second, until_s=100)[0] is None
    assert verdict(watcher)["verdict"] == "not judged"
    assert "errors" in verdict(watcher)["missing"]["worst"]
    taken_over = conditions("alarms moved >= 1", alarms=scripted([gone]))
    taken_over.begin(EPOCH, watcher.state())
    assert taken_over.look(100.0, []) is None


def before_and_under_load(before: list[Any], under_load: list[Any]) -> Callable[[datetime | None], Any]:
    first, then = scripted(before), scripted(under_load)
    return lambda at: then() if at is None else first()


def test_the_backends_errors_are_held_against_those_before_the_run() -> None:
    text = "backend_error_rate > baseline + 5% for 10s"
    usual = conditions(text, backend_errors=before_and_under_load([0.02], [None, 0.06]))
    assert run(usual, second, until_s=100)[0] is None
    worse = conditions(text, backend_errors=before_and_under_load([AWAY, AWAY, 0.02], [0.02, 0.02, 0.08]))
    stopped_s, stop, _ = run(worse, second, until_s=100)
    assert stopped_s is not None
    assert stop.message.startswith("8 % over the last 10 s")


def test_a_backend_that_was_idle_before_the_run_had_no_errors() -> None:
    text = "backend_error_rate > baseline + 5% for 10s"
    stopped_s, stop, _ = run(
        conditions(text, backend_errors=before_and_under_load([None], [1.0])),
        second,
        until_s=100,
        hand_over=lambda: conditions(text, backend_errors=before_and_under_load([AWAY], [1.0])),
    )
    assert 10 <= stopped_s <= 15
    assert stop.message.startswith("100 %")


def test_what_is_read_under_load_is_never_the_baseline() -> None:
    asked: list[datetime | None] = []

    def read(at: datetime | None) -> float:
        asked.append(at)
        raise AWAY

    watcher = conditions("backend_error_rate > baseline + 5% for 10s", backend_errors=read)
    assert run(watcher, second, until_s=100)[0] is None
    assert set(asked) == {EPOCH}, "again and again, of the time before the run"
    assert verdict(watcher)["verdict"] == "not judged"


def test_a_new_coordinator_goes_on_as_if_there_had_been_one() -> None:
    texts = ("failure_rate > 15% for 2m", "p95 total_ms >= 5000 over 30s", "achieved_rate < 95%")

    def tell(at: int) -> Second:
        return second(at, failed=2 if at > 50 else 0, ms=3000 if at % 2 else 100)

    def fresh() -> Conditions:
        return conditions(*texts)

    alone_s, alone, first = run(fresh(), tell, until_s=400)
    handed_s, handed, second_one = run(fresh(), tell, until_s=400, hand_over=fresh)
    assert alone_s is not None
    assert (handed_s, handed) == (alone_s, alone)
    assert first.end() == second_one.end()
    assert len(json.dumps(first.state())) < 60_000


def test_a_condition_stops_once_and_its_verdict_stays() -> None:
    watcher = conditions("failure_rate > 5% for 10s")
    _, stop, watcher = run(watcher, lambda at: second(at, failed=5), until_s=60)
    assert stop is not None
    assert watcher.look(200.0, [second(150, completed=500)]) is None
    assert verdict(watcher)["verdict"] == "met"
    assert watcher.end() == watcher.end()


SCENARIO = Scenario(
    name="watched",
    stages=(
        Stage(name="cold", rate=5, duration_s=10, warm_up=True),
        Stage(name="steady", rate=2, duration_s=30),
    ),
    slos=("p95 total_ms < 5000 over 1m", "p95 queue_ms < 500 over 10s"),
    stop_conditions=(
        "alarms moved >= 1",
        "unhealthy targets >= 1 for 5m",
        "failed_spend > 5 USD",
        "achieved_rate < 95%",
    ),
)


def test_the_schedule_of_a_scenario_is_counted_without_its_warm_up() -> None:
    load = load_of(SCENARIO, 1)
    assert load.planned == [0] * 10 + [2] * 30
    assert (load.warm_up, load.counted_from_s, load.counted_s) == (frozenset({0}), 10, 30)


def test_what_a_run_cannot_be_judged_by_is_known_before_it_starts_and_stands_in_its_verdicts() -> None:
    said = unjudged_conditions(SCENARIO, 1, Sources())
    assert said == {
        "p95 total_ms < 5000 over 1m": "the stages that count last 30 s, less than its window",
        "alarms moved >= 1": "the scenario's observe.alarms names none",
        "unhealthy targets >= 1 for 5m": "the scenario's observe.target_groups names none",
        "failed_spend > 5 USD": "what a dispatch costs is not known before the forecast of the run",
    }
    watcher = conditions_of("run1", SCENARIO, 1, Sources())
    assert watcher is not None
    watcher.begin(EPOCH, {})
    ended = watcher.end()
    assert ended["slos"][0]["verdict"] == "not judged"
    assert ended["slos"][0]["missing"]["worst"] == said["p95 total_ms < 5000 over 1m"]
    assert ended["slos"][1]["missing"]["worst"] == "nothing happened by which it could be judged"
    assert conditions_of("run1", replace_conditions(SCENARIO), 1, Sources()) is None


def replace_conditions(scenario: Scenario) -> Scenario:
    return scenario.model_copy(update={"slos": (), "stop_conditions": ()})


def test_an_alarm_that_does_not_exist_is_said_and_not_ignored() -> None:
    def absent() -> Mapping[str, bool]:
        raise NotFound("observe.alarms", "gone", "the name of a CloudWatch alarm")

    watcher = conditions("alarms moved >= 1", alarms=absent)
    stop: Stop | None = run(watcher, second, until_s=20)[1]
    assert stop is None
    assert verdict(watcher)["verdict"] == "not judged"
    assert "gone" in verdict(watcher)["missing"]["worst"]


@pytest.mark.parametrize(
    ("slo", "said", "stopped_early"),
    [
        ("p95 total_ms < 50 over 2s", "breached", True),
        ("p95 total_ms < 50", "breached", False),
        ("p95 total_ms < 99", "held", False),
        ("p95 total_ms < 99 over 1m", "not judged", False),
    ],
)
def test_a_run_ends_by_its_slos_and_its_row_keeps_each_verdict(
    ws: Workspace, engine: FakeEngine, slo: str, said: str, stopped_early: bool
) -> None:
    plan(ws, scenario=SMOKE.model_copy(update={"slos": (slo, "p50 total_ms < 100 over 2s")}))
    live: list[list[Mapping[str, Any]]] = []
    engine.at_second = lambda at: live.append(run_status(ws, "run1")["slos"])
    ended = execute_run(ws, "run1", secret=None, cancelled=lambda: False)
    record = read_run(ws, "run1")
    first, second_one = record.metrics_json["slos"]
    assert run_status(ws, "run1")["slos"] == [first, second_one]
    assert (first["verdict"], second_one["verdict"]) == (said, "held")
    shown = [[one["verdict"] for one in slos] for slos in live if slos]
    assert shown[0] == ["not judged", "not judged"]
    assert stopped_early or shown[-1] == ["not judged", "held"], "what is asked of the whole run is judged in the end"
    assert [one.keys() - {"missing"} for one in live[-1]] == [one.keys() - {"missing"} for one in (first, second_one)]
    assert first["condition"] == slo
    events = ActionLog(ws).read(run_id="run1")
    assert (record.metrics_json["counts"]["cancelled_unsent"] > 0) is stopped_early
    if said == "breached":
        assert ended.status == "failed"
        assert ended.failure is not None
        assert ended.failure["code"] == "slo_breached"
        assert "p95 total_ms < 50" in ended.failure["message"]
    else:
        assert ended.status == "completed"
    assert [(event.event, event.instruction) for event in events] == (
        [("load_test_slo_aborted", "pointsman scenario status run1")] if said == "breached" else []
    )
