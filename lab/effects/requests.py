"""The bodies that the API takes. Unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

DispatchId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,400}$")]
Param = bool | int | float | str | None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Input(_Body):
    """A file of an allowed root, by absolute path or `file://` URI, and the hash that it must have."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    uri: Annotated[str, Field(min_length=1, max_length=4096)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class JobRequest(_Body):
    """One job: a variant, or a route key whose binding names the variant."""

    dispatch_id: DispatchId
    variant: str | None = None
    route_key: str | None = None
    input: Input
    params: dict[str, Param] = {}

    @model_validator(mode="after")
    def _one_of_variant_and_route(self) -> JobRequest:
        if (self.variant is None) == (self.route_key is None):
            raise ValueError("exactly one of variant and route_key must be given")
        return self


class StatusRequest(_Body):
    ids: Annotated[list[DispatchId], Field(max_length=500)]


class FaultRequest(_Body):
    """What the next `count` answers suffer; see `faults.py`."""

    kind: Literal["garbage", "status_500", "stall", "reject"]
    count: Annotated[int, Field(ge=0, le=100_000)]
    seconds: Annotated[float, Field(ge=0, le=600, strict=False)] = 1.0


class InstanceStop(_Body):
    """What happens to the workers of an instance: killed, or frozen as they are. They start again by themselves after
    `at_most_s`, should nobody start them before."""

    kind: Literal["kill", "freeze"]
    at_most_s: Annotated[float, Field(gt=0, le=50_000, strict=False)]
