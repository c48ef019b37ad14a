"""What may look at a run while it is driven, and end it: SLOs and stop conditions, fault experiments, spending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pointsman.dispatch.seconds import Second


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run is ended. It becomes `metrics_json.failure`, and the event is logged."""

    event: str
    """Of the action catalogue, e.g. `load_test_slo_aborted`."""
    code: str
    message: str
    instruction: str
    data: Mapping[str, Any]


class Watcher(Protocol):
    """Called by the run's coordinator, never in parallel. All it knows must survive the coordinator: see `state`."""

    name: str
    """Under which its state is kept in `metrics_json.watchers`."""

    def begin(self, epoch: datetime, state: Mapping[str, Any]) -> None:
        """The run starts, or a new coordinator takes it over; `state` is what an earlier one last kept, or empty."""
        ...

    def look(self, now_s: float, seconds: Sequence[Second]) -> Stop | None:
        """About once a second: seconds after the epoch, and what became known since the last call, oldest first."""
        ...

    def state(self) -> Mapping[str, Any]:
        """What to keep, as JSON; asked after each look. Its `fault_events` are shown in the run's status."""
        ...

    def halt(self) -> None:
        """Somebody wants the run to end, and its jobs will be ended at the target next: first end what does harm.

        Takes a second or two at most and raises nothing, because the shards still send; `end` sees to the rest.
        """
        ...

    def end(self) -> Mapping[str, Any]:
        """The run is over, however it ended: clean up, and return what `metrics_json` shall hold. May be repeated.

        In it, `stages` maps names of stages to what is laid over their figures, and `failure` (code, message,
        instruction) fails a run that would have completed. A run whose watcher raises here has not ended; the same
        command again, or a cancel, comes back for it.
        """
        ...
