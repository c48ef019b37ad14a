"""What a stage says about its fault: which experiment, when, on how many instances, and for how long."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_INSTANCES = 5
"""How many resources one action of AWS FIS may name by ARN."""
EARLIEST_S = 5
FEWEST = 20
"""Of completed dispatches in a window: a p95 of fewer is its slowest one."""
CONTROL_AT_LEAST_S = 30.0
LEFT_OUT = 1 / 4
"""Of the control, its last part at most: what was planned then may still have been open when the fault began."""


class Fault(BaseModel):
    """One fault experiment within a stage, run by AWS FIS from the operator's own experiment template.

    The instances are drawn with the run's seed from those of the environment's Auto Scaling group that are InService
    and Healthy.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fault_enabled: bool = Field(
        default=True,
        title="Enabled",
        description="Off: the stage runs without its fault, as a control of the same length.",
        examples=[True],
    )
    fault_method: Literal["fis"] = Field(
        default="fis", title="Method", description="fis: AWS Fault Injection Service.", examples=["fis"]
    )
    template: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        title="Experiment template",
        description="Id of the operator's FIS experiment template: its actions, role and stop conditions are used, its "
        "targets are replaced by the drawn instances.",
        examples=["EXT1a2b3c4d5e6f7"],
    )
    offset_s: float = Field(
        ge=EARLIEST_S,
        le=86_400,
        allow_inf_nan=False,
        title="Offset in the stage in seconds",
        description="When the fault begins. The time of the stage before it is the control that its effect is measured "
        "against.",
        examples=[60],
    )
    duration_s: int = Field(
        ge=1,
        le=43_200,
        title="Duration in seconds",
        description="How long the fault lasts, written into the template's actions. AWS itself takes no less than a "
        "minute for stopped instances.",
        examples=[120],
    )
    instances: int = Field(
        default=1,
        ge=1,
        le=MAX_INSTANCES,
        title="Instances",
        description=f"How many instances to draw, {MAX_INSTANCES} at most.",
        examples=[1],
    )

    @property
    def control_s(self) -> float:
        """So much of the stage before the fault is sure to be what its effect is measured against, in seconds."""
        return min(self.offset_s, max(self.duration_s, CONTROL_AT_LEAST_S)) * (1 - LEFT_OUT)
