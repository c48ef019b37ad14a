"""Which instances a fault hits: drawn with the run's seed from the healthy ones of one Auto Scaling group."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pointsman.errors import GuardRefused


@dataclass(frozen=True, slots=True)
class Group:
    """An Auto Scaling group as AWS describes it. `members` are all its instances, `healthy` those InService and
    Healthy."""

    name: str
    arn: str
    members: tuple[str, ...]
    healthy: tuple[str, ...]

    def instance_arn(self, instance_id: str) -> str:
        """The ARN of one of its instances, in the group's own partition, region and account."""
        _, partition, _, region, account, _ = self.arn.split(":", 5)
        return f"arn:{partition}:ec2:{region}:{account}:instance/{instance_id}"


def choose(group: Group, count: int, *, seed: int, stage: str, attempt: int) -> tuple[str, ...]:
    """`count` healthy instances, sorted; the same ones for the same group, seed, stage and attempt.

    Raises `GuardRefused` (`fault_too_few_instances`) when fewer are healthy.
    """
    if len(group.healthy) < count:
        raise GuardRefused(
            f"The fault of stage {stage} needs {count} instances that are InService and Healthy; "
            f"the group {group.name} has {len(group.healthy)} of {len(group.members)}.",
            instruction="Wait until the group is healthy, or lower `instances` of the fault; then run it again.",
            code="fault_too_few_instances",
        )
    drawn = random.Random(f"{seed}:{stage}:{attempt}").sample(sorted(group.healthy), count)
    return tuple(sorted(drawn))


def refuse_strangers(group: Group, chosen: Sequence[str], resolved: Sequence[str], *, stage: str) -> None:
    """Raise `GuardRefused` unless the `resolved` ARNs of an experiment are exactly the chosen instances of the group.

    Codes: `fault_target_outside_group`, and `fault_targets_differ` when FIS would hit others of the group, or fewer.
    """
    members = {group.instance_arn(instance) for instance in group.members}
    strangers = sorted(set(resolved) - members)
    if strangers:
        raise GuardRefused(
            f"The fault of stage {stage} would hit {', '.join(strangers)}, outside the allowed Auto Scaling group "
            f"{group.name}. Nothing was harmed.",
            instruction="Correct the environment's asg_name or the operator's FIS template; then run it again.",
            code="fault_target_outside_group",
        )
    expected = {group.instance_arn(instance) for instance in chosen}
    if set(resolved) != expected:
        raise GuardRefused(
            f"The fault of stage {stage} should hit {', '.join(sorted(expected))}; FIS resolved "
            f"{', '.join(sorted(set(resolved))) or 'nothing'}. Nothing was harmed.",
            instruction="Correct the selection in the operator's FIS template; then run it again.",
            code="fault_targets_differ",
        )
