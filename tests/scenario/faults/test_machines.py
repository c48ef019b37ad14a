"""What became of a machine shows in EC2, in its group, to the load balancer, and so to conditions and to faults."""

from __future__ import annotations

import pytest

from lab.aws.machines import MachineState, MotoMachines
from pointsman.errors import GuardRefused
from pointsman.scenario.faults.injection import Injection
from pointsman.scenario.readings import Observe, aws_sources
from pointsman.settings import AwsPlace
from tests.scenario.faults.world import GROUP, INSTANCES, STAGE, Aws, _client

pytestmark = pytest.mark.xdist_group("fis")


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "of-a-test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


def unhealthy_targets() -> int:
    (group,) = _client("elbv2").describe_target_groups(Names=[GROUP])["TargetGroups"]
    read = aws_sources(Observe(target_groups=(group["TargetGroupArn"],)), AwsPlace(None, "us-east-1"))
    assert callable(read.unhealthy_targets)
    return read.unhealthy_targets()


def shown_in_ec2(instance_id: str) -> str:
    (found,) = _client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"]
    return str(found["Instances"][0]["State"]["Name"])


@pytest.mark.usefixtures("person")
@pytest.mark.parametrize("state", ["stopping", "stopped", "frozen", "shutting-down", "terminated", "running"])
def test_a_machine_that_is_away_is_healthy_to_nobody(aws: Aws, state: MachineState) -> None:
    MotoMachines().show(INSTANCES[0], state)
    assert shown_in_ec2(INSTANCES[0]) == ("running" if state == "frozen" else state)
    assert shown_in_ec2(INSTANCES[1]) == "running"
    away = state != "running"
    assert aws.faults.group(GROUP).healthy == tuple(INSTANCES[1:] if away else INSTANCES)
    assert unhealthy_targets() == int(away)


@pytest.mark.usefixtures("person")
def test_an_experiment_takes_its_machines_out_of_service_and_gives_them_back(aws: Aws) -> None:
    steps = aws.injector()
    now = Injection(stage="steady")
    while now.phase != "ready":
        now = steps.step(now)
        aws.clock.sleep(0.2)
    steps.inject(now)
    aws.let_begin()
    states = [set(map(shown_in_ec2, now.target_instance_ids))]
    assert aws.faults.group(GROUP).healthy == tuple(sorted(set(INSTANCES) - set(now.target_instance_ids)))
    assert unhealthy_targets() == 2
    aws.clock.sleep(0.2)
    states.append(set(map(shown_in_ec2, now.target_instance_ids)))
    assert states == [{"stopping"}, {"stopped"}]
    assert STAGE.fault is not None
    another = aws.injector(STAGE.fault.model_copy(update={"instances": 5}), run_id="run2")
    with pytest.raises(GuardRefused, match="has 4 of 6"):
        another.step(Injection(stage="steady"))
    aws.clock.sleep(11)
    assert set(map(shown_in_ec2, now.target_instance_ids)) == {"running"}
    assert aws.faults.group(GROUP).healthy == tuple(INSTANCES)
    assert unhealthy_targets() == 0
