"""The lab's machines as moto shows them: their state in EC2, and with it their health in the group that holds them."""

from __future__ import annotations

from typing import Literal

from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from lab.aws.gaps import SILENT
from lab.aws.world import autoscaling
from lab.effects.catalogue import REGION

MachineState = Literal["running", "stopping", "stopped", "shutting-down", "terminated", "frozen"]
"""As EC2 says it, which still calls a frozen machine running: only health checks notice."""
_CODES = {"running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


class MotoMachines:
    """Instances of the Auto Scaling group."""

    def show(self, instance_id: str, state: MachineState) -> None:
        """From now on the instance is in this state."""
        instance = ec2_backends[DEFAULT_ACCOUNT_ID][REGION].get_instance(instance_id)
        name = "running" if state == "frozen" else state
        instance._state.name, instance._state.code = name, _CODES[name]
        (SILENT.add if state == "frozen" else SILENT.discard)(instance_id)
        autoscaling().set_instance_health(instance_id, "Healthy" if state == "running" else "Unhealthy")
