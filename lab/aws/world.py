"""What the lab's AWS holds from its start: an Auto Scaling group of the lab's workers, the target group that checks
their health, and an experiment template.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from moto.autoscaling.models import AutoScalingBackend, autoscaling_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends, instances
from moto.elbv2.models import elbv2_backends
from moto.fis.models import FISBackend, fis_backends

from lab.effects.catalogue import REGION

TEMPLATE = "lab-stop-workers"
_IMAGE = "ami-12c6146b"
"""One that moto knows."""


def fis() -> FISBackend:
    return fis_backends[DEFAULT_ACCOUNT_ID][REGION]


def autoscaling() -> AutoScalingBackend:
    return autoscaling_backends[DEFAULT_ACCOUNT_ID][REGION]


def make_group(name: str, instance_ids: Sequence[str]) -> None:
    """An Auto Scaling group, and a target group of the same name, whose instances have these ids."""
    ec2 = ec2_backends[DEFAULT_ACCOUNT_ID][REGION]
    network = ec2.get_default_vpc()
    assert network is not None
    targets = elbv2_backends[DEFAULT_ACCOUNT_ID][REGION].create_target_group(
        name, vpc_id=network.id, protocol="HTTP", port="80", target_type="instance"
    )
    template = ec2.create_launch_template(
        name=name,
        description="one lab worker",
        template_data={"InstanceType": "t3.micro", "ImageId": _IMAGE},
        tag_spec={},
    )
    with _these_ids(instance_ids):
        autoscaling().create_auto_scaling_group(
            name=name,
            availability_zones=[f"{REGION}a"],
            desired_capacity=len(instance_ids),
            max_size=len(instance_ids),
            min_size=0,
            launch_config_name="",
            launch_template={"LaunchTemplateId": template.id},
            vpc_zone_identifier=None,
            default_cooldown=None,
            health_check_period=None,
            health_check_type=None,
            load_balancers=[],
            target_group_arns=[targets.arn],
            placement_group=None,
            termination_policies=[],
            tags=[],
        )


def make_template(template_id: str, *, action_id: str = "aws:ec2:stop-instances") -> None:
    """An operator's experiment template with a fixed id: it names no instance, because each run brings its own."""
    made = fis().create_experiment_template(
        client_token=None,
        description="Stop lab workers, and start them again",
        stop_conditions=[{"source": "none"}],
        targets={
            "workers": {
                "resourceType": "aws:ec2:instance",
                "resourceTags": {"lab": "workers"},
                "selectionMode": "COUNT(1)",
            }
        },
        actions={
            "stop": {
                "actionId": action_id,
                "parameters": {"startInstancesAfterDuration": "PT5M"},
                "targets": {"Instances": "workers"},
            }
        },
        role_arn=f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/lab-fis",
    )
    templates = fis().experiment_templates
    template = templates.pop(made["id"])
    template.id = template_id
    templates[template_id] = template


@contextmanager
def _these_ids(instance_ids: Sequence[str]) -> Iterator[None]:
    """moto draws the ids of instances; the lab's are those that its effects backend knows its workers by."""
    drawn, given = instances.random_instance_id, iter(instance_ids)
    instances.random_instance_id = lambda: next(given)
    try:
        yield
    finally:
        instances.random_instance_id = drawn
