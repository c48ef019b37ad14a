"""One fault against moto and the lab's agent: every step, every state of an experiment, and what is left behind."""

import pytest

from lab.aws.agent import STRAY
from lab.aws.world import autoscaling, fis, make_template
from pointsman.errors import DependencyDown, GuardRefused, NotFound
from pointsman.scenario.faults import Fault
from pointsman.scenario.faults.choosing import refuse_strangers
from pointsman.scenario.faults.injection import Injection
from pointsman.scenario.faults.outcomes import EXPERIMENT_STATES, experiment_state, why_nothing_happened
from tests.scenario.faults.world import INSTANCES, TEMPLATE

pytestmark = pytest.mark.xdist_group("fis")


def prepared(aws, steps):
    now = Injection(stage="steady")
    while now.phase != "ready":
        now = steps.step(now)
        aws.clock.sleep(0.2)
    return now


def followed(aws, steps, now, *, limit=100):
    for _ in range(limit):
        if now.phase == "ended":
            return now
        aws.clock.sleep(0.5)
        now = steps.step(now)
    return now


def test_the_table_of_states_is_exactly_that_of_the_service(aws):
    shape = aws.client.meta.service_model.shape_for("ExperimentStatus")
    assert set(EXPERIMENT_STATES) == set(shape.enum)
    assert len(EXPERIMENT_STATES) == 8
    assert {name for name, state in EXPERIMENT_STATES.items() if state.ended} == {
        *("completed", "stopped", "failed", "cancelled")
    }
    assert [name for name, state in EXPERIMENT_STATES.items() if state.happened] == ["completed"]


def test_a_state_that_is_not_known_is_waited_for_and_never_taken_for_an_end():
    assert not experiment_state("hibernating").ended
    assert not experiment_state("hibernating").happened


@pytest.mark.parametrize("status", sorted(EXPERIMENT_STATES))
def test_only_a_completed_experiment_whose_actions_all_completed_did_something(status):
    said = why_nothing_happened(status, "because", ["completed"])
    assert (said is None) == (status == "completed")
    assert said is None or (status in said and "because" in said)


@pytest.mark.parametrize("action", ["skipped", "failed", "cancelled", "stopped", "pending"])
def test_a_completed_experiment_with_an_action_that_did_not_complete_did_nothing(action):
    assert action in why_nothing_happened("completed", "", ["completed", action])


def test_a_fault_hits_the_drawn_instances_and_gives_them_back(aws):
    steps = aws.injector()
    ready = prepared(aws, steps)
    assert len(ready.target_instance_ids) == 2
    assert set(ready.target_instance_ids) <= set(INSTANCES)
    assert aws.workers.told == [], "a preview harms nobody"
    now = steps.inject(ready)
    aws.let_begin()
    now = steps.step(now)
    assert now.state == "running"
    assert set(aws.workers.away) == set(ready.target_instance_ids)
    now = followed(aws, steps, now)
    assert (now.verdict, now.state) == ("happened", "completed")
    assert aws.workers.away == {}
    assert now.started_at is not None
    assert now.ended_at is not None
    assert now.experiment_arn == aws.experiments()[0].arn
    assert aws.templates() == []


def test_the_draw_is_the_same_for_the_same_seed_and_leaves_out_what_is_not_healthy(aws):
    first = prepared(aws, aws.injector(run_id="a")).target_instance_ids
    assert prepared(aws, aws.injector(run_id="b")).target_instance_ids == first
    aws.leave_group(first[0])
    third = prepared(aws, aws.injector(run_id="c")).target_instance_ids
    assert first[0] not in third


def test_the_template_of_the_run_is_the_operators_with_other_targets(aws):
    ready = prepared(aws, aws.injector())
    made = fis().experiment_templates[ready.template_id]
    operators = fis().experiment_templates[TEMPLATE]
    (target,) = made.targets.values()
    assert [arn.rpartition("/")[2] for arn in target["resourceArns"]] == list(ready.target_instance_ids)
    assert target["selectionMode"] == "ALL"
    assert "resourceTags" not in target
    (action,) = made.actions.values()
    assert action["parameters"] == {"startInstancesAfterDuration": "PT10S", "completeIfInstancesTerminated": "true"}
    assert made.role_arn == operators.role_arn
    assert made.stop_conditions == operators.stop_conditions
    assert made.experiment_options["emptyTargetResolutionMode"] == "fail"


@pytest.mark.parametrize("ending", ["failed", "cancelled", "stopped", "skipped"])
def test_an_experiment_that_ends_otherwise_did_not_happen_and_leaves_nothing_behind(aws, ending):
    aws.agent.endings.append(ending)
    steps = aws.injector()
    now = followed(aws, steps, steps.inject(prepared(aws, steps)))
    assert now.verdict == "not_happened"
    assert ending in now.reason
    assert aws.workers.away == {}
    assert aws.templates() == []


def test_a_preview_that_finds_nothing_is_refused(aws):
    aws.agent.endings.append("empty")
    with pytest.raises(GuardRefused, match="empty set") as refused:
        prepared(aws, aws.injector())
    assert refused.value.code == "fault_preview_failed"
    assert aws.experiments() == []


def test_a_target_outside_the_group_is_refused_before_anything_is_harmed(aws):
    aws.agent.endings.append("stray")
    with pytest.raises(GuardRefused, match=STRAY) as refused:
        prepared(aws, aws.injector())
    assert refused.value.exit_code == 3
    assert refused.value.code == "fault_target_outside_group"
    assert aws.experiments() == []
    assert aws.workers.told == []


def test_fewer_targets_than_were_drawn_are_refused_too(aws):
    group = aws.faults.group("workers")
    with pytest.raises(GuardRefused, match="resolved nothing") as refused:
        refuse_strangers(group, INSTANCES[:1], [], stage="steady")
    assert refused.value.code == "fault_targets_differ"


def test_an_engaged_safety_lever_is_a_refusal_of_its_own_at_every_moment(aws):
    steps = aws.injector()
    aws.lever("engaged")
    with pytest.raises(GuardRefused, match="a drill of ours") as refused:
        steps.step(Injection(stage="steady"))
    assert refused.value.code == "fault_safety_lever"
    aws.lever("disengaged")
    ready = prepared(aws, steps)
    aws.lever("engaged")
    with pytest.raises(GuardRefused, match="safety lever"):
        steps.inject(ready)
    assert aws.experiments() == []


def test_a_lever_engaged_during_the_preview_is_named(aws):
    steps = aws.injector()
    previewing = steps.step(Injection(stage="steady"))
    aws.lever("engaged")
    aws.clock.sleep(0.2)
    with pytest.raises(GuardRefused) as refused:
        steps.step(previewing)
    assert refused.value.code == "fault_safety_lever"


def test_a_lever_engaged_during_the_fault_ends_it_and_it_did_not_happen(aws):
    steps = aws.injector()
    now = steps.inject(prepared(aws, steps))
    aws.let_begin()
    assert aws.workers.away
    aws.lever("engaged")
    now = followed(aws, steps, now)
    assert (now.verdict, now.state) == ("not_happened", "stopped")
    assert aws.workers.away == {}


def test_too_few_healthy_instances_are_refused(aws):
    for instance in INSTANCES[1:]:
        aws.leave_group(instance)
    with pytest.raises(GuardRefused, match=r"needs 2 instances .* has 1 of 6") as refused:
        aws.injector().step(Injection(stage="steady"))
    assert refused.value.code == "fault_too_few_instances"


def test_an_unknown_group_and_an_unknown_template_are_named(aws):
    steps = aws.injector(Fault(template="EXTunknown", offset_s=5, duration_s=5))
    with pytest.raises(NotFound, match="EXTunknown"):
        steps.step(Injection(stage="steady"))
    del autoscaling().autoscaling_groups["workers"]
    with pytest.raises(NotFound, match="workers"):
        aws.injector().step(Injection(stage="steady"))


def test_a_template_that_acts_on_more_than_instances_is_refused(aws):
    make_template("wide")
    fis().experiment_templates["wide"].targets["others"] = {
        "resourceType": "aws:rds:cluster",
        "resourceTags": {"lab": "workers"},
        "selectionMode": "ALL",
    }
    with pytest.raises(GuardRefused, match="aws:rds:cluster") as refused:
        aws.injector(Fault(template="wide", offset_s=5, duration_s=5)).step(Injection(stage="steady"))
    assert refused.value.code == "fault_template_refused"


def test_an_instance_that_was_replaced_meanwhile_is_drawn_again_three_times_at_most(aws):
    steps = aws.injector()
    ready = prepared(aws, steps)
    aws.leave_group(ready.target_instance_ids[0])
    again = steps.inject(ready)
    assert (again.phase, again.attempt) == ("planned", 2)
    assert aws.templates() == []
    last = prepared(aws, steps).model_copy(update={"attempt": 3})
    aws.leave_group(last.target_instance_ids[0])
    with pytest.raises(GuardRefused) as refused:
        steps.inject(last)
    assert refused.value.code == "fault_group_unsteady"


def test_steps_that_were_not_kept_are_repeated_without_making_anything_twice(aws):
    steps = aws.injector()
    before = Injection(stage="steady")
    assert steps.step(before) == steps.step(before)
    ready = prepared(aws, steps)
    assert steps.inject(ready).experiment_id == steps.inject(ready).experiment_id
    assert len(aws.experiments()) == 1
    assert len(aws.templates()) == 1


@pytest.mark.parametrize("kept", ["ready", "injected"])
def test_withdrawing_stops_the_experiment_also_when_its_start_was_not_kept(aws, kept):
    steps = aws.injector()
    ready = prepared(aws, steps)
    injected = steps.inject(ready)
    aws.let_begin()
    assert aws.workers.away
    now = ready if kept == "ready" else injected
    for _ in range(5):
        now = steps.withdraw(now)
        aws.clock.sleep(0.2)
    assert (now.phase, now.verdict, now.state) == ("ended", "withdrawn", "stopped")
    assert aws.workers.away == {}
    assert aws.templates() == []
    assert steps.withdraw(now) == now


def test_withdrawing_an_experiment_that_fis_has_forgotten_ends_it(aws):
    steps = aws.injector()
    now = steps.inject(prepared(aws, steps))
    fis().experiments.clear()
    ended = steps.withdraw(now)
    assert (ended.phase, ended.verdict, ended.reason) == ("ended", "withdrawn", "FIS knows it no more")
    assert aws.templates() == []


def test_withdrawing_what_was_never_begun_only_puts_away(aws):
    steps = aws.injector()
    steps.step(Injection(stage="steady"))
    aws.clock.sleep(1)
    aws.clock.sleep(1)
    ended = steps.withdraw(Injection(stage="steady"))
    assert (ended.phase, ended.verdict) == ("ended", "withdrawn")
    assert aws.templates() == []


def test_an_experiment_that_ends_while_it_is_withdrawn_is_taken_as_it_ended(aws):
    steps = aws.injector()
    now = steps.inject(prepared(aws, steps))
    aws.let_begin()
    aws.clock.sleep(10)
    now = steps.withdraw(now)
    assert (now.phase, now.state, now.verdict) == ("ended", "completed", "happened")


def test_an_experiment_that_ended_between_look_and_stop_counts_as_stopped(aws, monkeypatch):
    steps = aws.injector()
    now = steps.inject(prepared(aws, steps))
    look = aws.faults.experiment
    seen = [look(now.experiment_id)]
    aws.let_begin()
    aws.clock.sleep(10)
    monkeypatch.setattr(aws.faults, "experiment", lambda wanted: seen.pop() if seen else look(wanted))
    assert aws.faults.stop(now.experiment_id).status == "completed"


def test_a_region_out_of_reach_is_told_apart_from_a_refusal(aws):
    from botocore.exceptions import EndpointConnectionError

    class Away:
        def get_safety_lever(self, **asked):
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    aws.faults._fis = Away()
    with pytest.raises(DependencyDown) as down:
        aws.faults.refuse_engaged_lever()
    assert down.value.code == "aws_unreachable"


@pytest.mark.parametrize(
    ("code", "status", "kind", "named"),
    [
        ("ThrottlingException", 429, DependencyDown, "aws_unreachable"),
        ("InternalServerException", 500, DependencyDown, "aws_unreachable"),
        ("AccessDeniedException", 403, DependencyDown, "aws_denied"),
        ("ServiceQuotaExceededException", 402, GuardRefused, "fault_quota"),
    ],
)
def test_errors_of_aws_are_named(aws, code, status, kind, named):
    from botocore.stub import Stubber

    with Stubber(aws.client) as stub:
        stub.add_client_error("get_safety_lever", code, "so it is", http_status_code=status)
        with pytest.raises(kind, match="so it is") as raised:
            aws.faults.refuse_engaged_lever()
    assert raised.value.code == named
