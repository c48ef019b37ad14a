"""What may be asked to go wrong with the lab's ECS: refusals of calls, tasks that do not start, tasks that end; and an
S3 that answers nobody."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Operation = Literal["RunTask", "RegisterTaskDefinition"]
Times = Annotated[int, Field(ge=1, le=1000)]


class _Fault(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Coming(_Fault):
    """Of the next `times` calls of RunTask (`no-capacity`), or the next so many tasks (`cannot-pull`, `exit-0`)."""

    kind: Literal["no-capacity", "cannot-pull", "exit-0"]
    times: Times = 1


class Throttle(_Fault):
    """The next `times` calls of the operation are refused. botocore repeats a call by itself, which counts."""

    kind: Literal["throttle"]
    operation: Operation = "RunTask"
    times: Times = 1


class Kill(_Fault):
    """A running task's processes are killed now, as when its machine has no memory left."""

    kind: Literal["kill"]
    task: str = Field(description="its id or ARN")


class Spot(_Fault):
    """A running task is interrupted now, as Fargate Spot does. It is killed `notice_s` seconds later at the latest."""

    kind: Literal["spot"]
    task: str = Field(description="its id or ARN")
    notice_s: float = Field(default=120.0, ge=0, le=120)


class BucketsOut(_Fault):
    """From now on S3 refuses every call with 503, as long as this."""

    kind: Literal["s3-out"]
    for_s: float = Field(gt=0, le=600)


AnyFault: TypeAlias = "Coming | Throttle | Kill | Spot | BucketsOut"
FAULTS: TypeAdapter[list[AnyFault]] = TypeAdapter(list[Annotated[AnyFault, Field(discriminator="kind")]])


class ComingFaults:
    """How often each fault is still to come. Asked by many threads."""

    def __init__(self) -> None:
        self._left: Counter[str] = Counter()
        self._lock = threading.Lock()

    def replace(self, faults: list[Coming | Throttle]) -> None:
        """These are to come, and none that were asked for before."""
        with self._lock:
            self._left = Counter()
            for fault in faults:
                self._left[fault.operation if isinstance(fault, Throttle) else fault.kind] += fault.times

    def take(self, name: str) -> bool:
        """Whether the fault of this kind (or the throttling of this operation) strikes now; it then counts as taken."""
        with self._lock:
            if not self._left[name]:
                return False
            self._left[name] -= 1
            return True
