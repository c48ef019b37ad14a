"""The watcher of a run's faults, second by second: with whichever coordinator, and whatever AWS does meanwhile."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from pointsman.actions import ActionLog
from pointsman.errors import DependencyDown, GuardRefused, InputRefused
from pointsman.scenario import Scenario, check_faults, plan_run, read_run, run_status
from pointsman.scenario.cancelling import request_stop
from pointsman.scenario.faults import evidence
from pointsman.scenario.faults.aws import FaultAws
from pointsman.scenario.faults.director import FaultDirector
from pointsman.scenario.record import advance
from pointsman.scenario.watchers import halt_faults
from pointsman.settings import AwsPlace
from tests.scenario.fake_engine import INPUTS, TARGET, VARIANT
from tests.scenario.faults.world import SCENARIO, STAGE, register_environment

pytestmark = pytest.mark.xdist_group("fis")


class Run:
    """A planned run whose coordinator is the test: it looks once a second, and may die in between."""

    def __init__(self, ws, aws, *, scenario=SCENARIO):
        plan_run(
            ws,
            run_id="run1",
            parent_run_id=None,
            scenario=scenario,
            seed=1,
            environment_id="lab",
            variant=VARIANT,
            target=TARGET,
            inputs=INPUTS,
        )
        self.ws, self.aws, self.scenario = ws, aws, scenario
        self.epoch = ws.clock.now()
        self.kept = {}
        self.director = self.take_over()

    def take_over(self):
        record = read_run(self.ws, "run1")
        made = FaultDirector(self.ws, record, self.scenario, open_aws=lambda allowed: self.aws.faults)
        made.begin(self.epoch, self.kept)
        self.director = made
        return made

    def drive(self, seconds, *, every=1, dying=False):
        """Look for so many seconds, or until somebody wants to stop. `dying`: another coordinator at each look."""
        for _ in range(seconds // every):
            now_s = (self.ws.clock.now() - self.epoch).total_seconds()
            stop = self.director.look(now_s, ())
            self.kept = self.director.state()
            if stop is not None:
                return stop
            for _ in range(4):
                self.ws.clock.sleep(every / 4)
            if dying:
                self.take_over()
        return None

    @property
    def fault(self):
        return self.director.state()["injections"]["steady"]

    def events(self):
        return [entry for entry in ActionLog(self.ws).read(run_id="run1") if entry.event.startswith("fault")]


@pytest.fixture
def run(ws, aws):
    register_environment(ws)
    return Run(ws, aws)


def ledger(*, slow_by=0.0, slow_from=30.0, slow_to=41.0):
    """What the drive would have written: four a second, the planned times from the epoch on."""
    planned = np.concatenate([np.arange(0, 10, 1.0), np.arange(10, 70, 0.25)])
    total = np.random.default_rng(1).gamma(8, 25.0, planned.size)
    total[(planned >= slow_from) & (planned < slow_to)] += slow_by
    return pl.DataFrame(
        {"planned_ns": (planned * 1e9).astype(np.int64), "total_ms": total, "state": ["completed"] * planned.size}
    )


@pytest.fixture
def books(monkeypatch):
    """Called with the ledger that the run's conclusion shall find."""

    def written(frame):
        monkeypatch.setattr(evidence, "scan_ledger", lambda ws, record: frame)

    return written


@pytest.mark.parametrize("dying", [False, True])
def test_a_fault_begins_at_its_offset_and_its_effect_is_measured(run, aws, ws, books, dying):
    assert run.drive(29, dying=dying) is None
    assert run.fault["phase"] == "ready"
    assert aws.experiments() == []
    assert run.drive(41, dying=dying) is None
    assert run.fault["verdict"] == "happened"
    assert len(aws.experiments()) == 1
    began_s = (run.director._known["steady"].started_at - run.epoch).total_seconds()
    assert 30 <= began_s <= 32
    books(ledger(slow_by=800, slow_from=began_s))
    told = run.director.end()
    assert "failure" not in told
    fault = told["stages"]["steady"]["fault"]
    assert fault["method"] == "fis"
    assert fault["fis_experiment_arn"] == aws.experiments()[0].arn
    assert len(fault["target_instance_ids"]) == 2
    assert fault["state"] == "completed"
    assert fault["effect"]["effective"]
    assert fault["effect"]["p95_delta_ms"]["low"] > 500
    assert fault["effect"]["time_to_recovery_s"] is not None
    assert "missing" not in fault
    assert [event.event for event in run.events()] == ["fault_injected"]
    assert run.events()[0].instruction == "pointsman scenario status run1"
    assert aws.templates() == []
    assert run.director.end() == told


def test_status_tells_of_the_fault_while_it_goes_on(run, ws):
    run.drive(34)
    advance(ws, "run1", None, metrics={"watchers": {"faults": run.kept}})
    status = run_status(ws, "run1")
    (stage,) = [stage for stage in status["stages"] if stage["name"] == "steady"]
    assert stage["fault"]["state"] == "running"
    assert stage["fault"]["missing"] == {
        "ended_at": "the experiment has not ended",
        "verdict": "the fault has not ended",
        "effect": "it is measured when the run has ended",
    }
    told = [event["event"] for event in status["fault_events"]]
    assert told == ["previewing", "ready", "pending", "running"] or told == [
        *("previewing", "ready", "pending", "initiating", "running")
    ]
    assert status["fault_events"][-1]["target_instance_ids"] == stage["fault"]["target_instance_ids"]


def test_a_fault_that_changed_nothing_fails_the_run(run, books):
    run.drive(70)
    books(ledger())
    told = run.director.end()
    assert told["failure"]["code"] == "fault_not_effective"
    assert "changed nothing" in told["failure"]["message"]
    assert not told["stages"]["steady"]["fault"]["effect"]["effective"]
    run.director.end()
    assert sorted(event.event for event in run.events()) == ["fault_injected", "fault_not_effective"]


def test_a_fault_whose_control_is_too_thin_to_compare_with_says_so_and_what_to_plan(run, books):
    run.drive(70)
    books(ledger().filter((pl.col("planned_ns") < 12e9) | (pl.col("planned_ns") >= 32e9)))
    told = run.director.end()
    said = told["failure"]["message"]
    assert "changed nothing" not in said
    assert "the p95 could not be compared (8 dispatches planned in the control before the fault completed" in said
    assert "the failure rate was not worse than in the control before it" in said
    assert "raise the stage's rate, or offset_s and duration_s of the fault" in told["failure"]["instruction"]


@pytest.mark.parametrize("unknown", ["books", "times"])
def test_a_fault_whose_effect_was_not_measured_says_why(run, books, monkeypatch, unknown):
    run.drive(70)
    books(ledger(slow_by=800))
    if unknown == "books":

        def broken(ws, record):
            raise DependencyDown("The books do not add up.", instruction="", code="books")

        monkeypatch.setattr(evidence, "scan_ledger", broken)
    else:
        known = run.director._known["steady"]
        run.director._known["steady"] = known.model_copy(update={"ended_at": None})
    told = run.director.end()
    why = {
        "books": "the run's books cannot be read: The books do not add up",
        "times": "it is not known when its experiment began and ended",
    }[unknown]
    assert told["failure"]["message"] == (
        f"The fault of stage steady was not shown to be effective: its effect was not measured: {why}."
    )
    assert told["stages"]["steady"]["fault"]["missing"]["effect"] == why
    assert run.events()[0].data["reason"] == f"its effect was not measured: {why}"


@pytest.mark.parametrize("ending", ["failed", "cancelled", "stopped", "skipped"])
def test_a_fault_that_did_not_happen_stops_the_run_at_once(run, aws, ending):
    aws.agent.endings.append(ending)
    stop = run.drive(70)
    assert (stop.event, stop.code) == ("fault_not_effective", "fault_not_effective")
    assert stop.message.startswith("The fault of stage steady did not happen: its experiment is")
    assert stop.instruction == "pointsman scenario status run1 --json"
    assert run.drive(2) is None, "it is said once"
    told = run.director.end()
    assert told["stages"]["steady"]["fault"]["verdict"] == "not_happened"
    assert told["stages"]["steady"]["fault"]["effect"] is None
    assert aws.workers.away == {}
    assert aws.templates() == []


@pytest.mark.parametrize("ending", ["empty", "stray"])
def test_a_preview_that_may_not_be_stops_the_run_before_anything_is_harmed(run, aws, ending):
    aws.agent.endings.append(ending)
    stop = run.drive(70)
    assert stop.code in ("fault_preview_failed", "fault_target_outside_group")
    run.director.end()
    assert aws.workers.told == []
    assert aws.templates() == []


def test_an_engaged_lever_stops_the_run_by_its_own_name(run, aws):
    run.drive(25)
    aws.lever("engaged")
    stop = run.drive(20)
    assert stop.code == "fault_safety_lever"
    assert aws.experiments() == []


def test_an_experiment_that_never_runs_is_stopped_after_a_limit(run, aws):
    aws.agent.endings.append("stuck")
    stop = run.drive(600, every=5)
    assert "stopped" in stop.message
    assert "long after it should have ended" in stop.message
    waited_s = (run.ws.clock.now() - run.epoch).total_seconds()
    assert waited_s < 30 + 10 + 420 + 5
    run.director.end()
    assert aws.templates() == []


def test_an_experiment_that_cannot_be_stopped_does_not_hang_the_run(run, aws, monkeypatch):
    aws.agent.endings.append("stuck")
    monkeypatch.setattr(aws.faults, "stop", aws.faults.experiment)
    stop = run.drive(600, every=5)
    assert "did not end in time: it is initiating" in stop.message
    with pytest.raises(DependencyDown) as down:
        run.director.end()
    assert down.value.code == "fault_not_ended"
    monkeypatch.undo()
    assert run.director.end()["stages"]["steady"]["fault"]["verdict"] == "not_happened"


@pytest.mark.parametrize("after_s", [0, 1, 3, 29, 31, 33, 60])
def test_a_cancel_at_any_moment_ends_the_experiment_and_blames_nothing(run, aws, ws, after_s):
    run.drive(after_s)
    request_stop(ws, "run1", reason="enough")
    told = run.director.end()
    assert all(one.status in ("completed", "stopped") for one in aws.experiments())
    assert aws.workers.away == {}
    assert aws.templates() == []
    assert "fault_not_effective" not in [event.event for event in run.events()]
    fault = told["stages"]["steady"]["fault"]
    assert fault["verdict"] == ("happened" if after_s == 60 else "withdrawn")


@pytest.mark.parametrize("by", ["its coordinator", "somebody else"])
def test_before_the_drain_the_experiment_is_over_and_the_machines_are_back(run, aws, ws, monkeypatch, by):
    monkeypatch.setattr("pointsman.scenario.faults.director._HALTED_WITHIN_S", 30.0)  # however slow the machine is
    run.drive(34)
    assert aws.workers.away
    advance(ws, "run1", None, metrics={"epoch": run.epoch.isoformat(), "watchers": {"faults": run.kept}})
    request_stop(ws, "run1", reason="enough")
    if by == "its coordinator":
        run.director.halt()
    else:
        monkeypatch.setattr("pointsman.scenario.faults.director.Allowed.open", lambda allowed: aws.faults)
        halt_faults(ws, read_run(ws, "run1"))
    assert [one.status for one in aws.experiments()] == ["stopped"]
    assert aws.workers.away == {}
    assert run.fault["state"] == "running", "what is known of it is told in the end"
    fault = run.director.end()["stages"]["steady"]["fault"]
    assert (fault["state"], fault["verdict"]) == ("stopped", "withdrawn")
    assert fault["fis_experiment_arn"] == aws.experiments()[0].arn
    assert aws.templates() == []


@pytest.mark.parametrize("trouble", ["hangs", "is away", "is slow"])
def test_the_drain_does_not_wait_for_an_aws_that_does_not_answer(run, aws, monkeypatch, trouble):
    run.drive(34)
    answer = threading.Event()

    def stop(experiment_id):
        if trouble == "is away":
            raise DependencyDown("AWS is out of reach: no route.", code="aws_unreachable")
        if trouble == "hangs":
            answer.wait(20)
        return aws.faults.experiment(experiment_id)

    with monkeypatch.context() as patch:
        patch.setattr(aws.faults, "stop", stop)
        patch.setattr("pointsman.scenario.faults.director._HALTED_WITHIN_S", 0.05)
        run.director.halt()
        answer.set()
    assert aws.workers.away


def test_a_run_without_a_fault_at_work_has_nothing_to_halt(run, aws, ws):
    run.drive(20)
    halt_faults(ws, read_run(ws, "run1"))
    run.director.halt()
    assert aws.experiments() == []


def test_an_experiment_that_outlasts_the_run_is_waited_for_and_counts(run, aws, ws, books):
    run.drive(34)
    assert run.fault["state"] == "running"
    began_s = (run.director._known["steady"].started_at - run.epoch).total_seconds()
    books(ledger(slow_by=800, slow_from=began_s))
    told = run.director.end()
    assert "failure" not in told
    assert told["stages"]["steady"]["fault"]["verdict"] == "happened"
    assert 40 < (ws.clock.now() - run.epoch).total_seconds() < 50


def test_a_run_that_is_over_before_its_fault_began_says_so(run, aws):
    run.drive(25)
    told = run.director.end()
    assert told["failure"]["message"] == (
        "The fault of stage steady was not effective: the run ended when its experiment was not yet started."
    )
    assert aws.templates() == []


def test_a_run_that_is_given_up_ends_its_fault_at_once(run, aws, ws):
    run.drive(34)
    advance(ws, "run1", None, metrics={"interrupted": {"code": "target_lost"}})
    told = run.director.end()
    assert told["stages"]["steady"]["fault"]["verdict"] == "withdrawn"
    assert aws.workers.away == {}


def test_a_clock_that_is_set_makes_no_fault_overdue(run, monkeypatch):
    now = run.ws.clock.now
    assert run.drive(33) is None
    assert run.fault["phase"] == "injected"
    monkeypatch.setattr(run.ws.clock, "now", lambda: now() + timedelta(hours=1))
    assert run.director.look(34.0, ()) is None
    assert run.fault["verdict"] != "not_happened"


def test_whoever_takes_over_ends_what_a_dead_coordinator_had_begun_and_not_kept(run, aws):
    run.drive(30)
    before = run.kept
    run.drive(4)
    assert aws.workers.away
    run.kept = before
    run.take_over()
    request_stop(run.ws, "run1", reason="enough")
    run.director.end()
    assert aws.workers.away == {}
    assert aws.templates() == []
    assert [one.status for one in aws.experiments()] == ["stopped"]


def test_aws_out_of_reach_is_waited_out(run, aws, monkeypatch):
    run.drive(29)
    there = aws.faults.refuse_engaged_lever

    def away():
        raise DependencyDown("AWS is out of reach: no route.", code="aws_unreachable")

    monkeypatch.setattr(aws.faults, "refuse_engaged_lever", away)
    assert run.drive(10) is None
    assert run.fault["phase"] == "ready"
    monkeypatch.setattr(aws.faults, "refuse_engaged_lever", there)
    assert run.drive(30) is None
    assert run.fault["verdict"] == "happened"


def test_aws_out_of_reach_until_the_stage_is_over_is_a_fault_that_did_not_happen(run, aws, monkeypatch):
    def away(name):
        raise DependencyDown("AWS is out of reach: no route.", code="aws_unreachable")

    monkeypatch.setattr(aws.faults, "group", away)
    stop = run.drive(100)
    assert "could not begin before its stage ended: AWS is out of reach: no route" in stop.message
    monkeypatch.setattr(aws.faults, "templates_tagged", away)
    with pytest.raises(DependencyDown):
        run.director.end()


def test_an_environment_that_lost_its_group_stops_the_run_and_it_still_ends(ws, aws):
    run = Run(ws, aws)
    stop = run.drive(2)
    assert "asg_name" in stop.message
    assert run.director.end()["stages"]["steady"]["fault"]["verdict"] == "not_happened"


def test_an_experiment_that_cannot_be_reached_is_never_taken_for_ended(run, aws, monkeypatch):
    run.drive(33)
    assert aws.workers.away

    def refused(*asked):
        raise GuardRefused("not from here", code="fault_not_in_the_lab")

    monkeypatch.setattr(aws.faults, "templates_tagged", refused)
    request_stop(run.ws, "run1", reason="enough")
    with pytest.raises(GuardRefused):
        run.director.end()
    monkeypatch.undo()
    assert run.director.end()["stages"]["steady"]["fault"]["verdict"] == "withdrawn"
    assert aws.workers.away == {}


def test_books_that_were_never_closed_leave_the_effect_unknown(run):
    run.drive(70)
    fault = run.director.end()["stages"]["steady"]["fault"]
    assert fault["effect"] is None
    assert "effect" in fault["missing"]


# Before the start


def check(ws, aws):
    return check_faults(ws, "run1", open_aws=lambda allowed: aws.faults)


def test_the_check_previews_and_leaves_nothing_behind(run, ws, aws):
    assert check(ws, aws) == 1
    assert aws.templates() == []
    assert aws.experiments() == []
    assert aws.workers.told == []
    assert check(ws, aws) == 1


def test_the_check_of_a_run_without_faults_asks_nobody(ws, aws):
    quiet = STAGE.model_copy(update={"fault": STAGE.fault.model_copy(update={"fault_enabled": False})})
    Run(ws, aws, scenario=Scenario(name="quiet", stages=(quiet,)))

    def never(allowed):
        raise AssertionError

    assert check_faults(ws, "run1", open_aws=never) == 0


@pytest.mark.parametrize("ending", ["empty", "stray"])
def test_the_check_refuses_what_the_preview_shows_and_keeps_why(run, ws, aws, ending):
    aws.agent.endings.append(ending)
    with pytest.raises(GuardRefused) as refused:
        check(ws, aws)
    assert refused.value.exit_code == 3
    assert read_run(ws, "run1").metrics_json["interrupted"]["code"] == refused.value.code
    assert aws.templates() == []


def test_the_check_does_not_wait_for_ever(run, ws, aws):
    ws.clock.step = lambda: None
    with pytest.raises(DependencyDown) as down:
        check(ws, aws)
    assert down.value.code == "fault_preview_late"


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [({"asg_name": None}, InputRefused, "asg_name"), ({"kind": "production"}, GuardRefused, "production")],
)
def test_faults_need_a_group_and_are_never_for_production(ws, aws, changes, kind, said):
    register_environment(ws, **changes)
    Run(ws, aws)
    with pytest.raises(kind, match=said):
        check(ws, aws)


def test_the_clients_of_an_environment_are_those_of_its_region(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    made = FaultAws.at(AwsPlace("local", "eu-west-1"))
    assert made._fis.meta.region_name == "eu-west-1"
    with pytest.raises(DependencyDown, match="out of reach"):
        made.group("workers")


def test_an_environment_without_a_region_anywhere_is_named(monkeypatch, tmp_path):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(DependencyDown, match="region"):
        FaultAws.at(AwsPlace("staging"))


def test_times_are_of_one_clock(run, aws):
    run.drive(34)
    known = run.director._known["steady"]
    assert abs(known.started_at - known.injected_at) < timedelta(seconds=2)
    assert replace(run.ws, actor="x").clock is aws.clock
