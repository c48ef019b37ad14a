"""The watcher of a run against production: the safety lever and the operator's alarms, for as long as it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pointsman.dispatch.seconds import Second
from pointsman.errors import DependencyDown, NotFound
from pointsman.safety.production import Consent
from pointsman.scenario.faults.environment import aws_place
from pointsman.scenario.readings import Brake, production_brake
from pointsman.scenario.record import RunRecord
from pointsman.scenario.watching import Stop
from pointsman.settings import AwsPlace
from pointsman.workspace import Workspace

EVERY_S = 10.0
PATIENCE_S = 60.0
"""How long the run goes on while AWS does not say how its brakes stand."""


class Brakes:
    """Safety lever and alarms, looked at every ten seconds for as long as something is sent to production.

    `known_s` is when they were last known. Times are seconds after a beginning of the caller's own.
    """

    def __init__(self, brake: Callable[[], Brake | None], *, known_s: float = 0.0) -> None:
        self._brake = brake
        self._next_s = 0.0
        self.known_s = known_s

    def look(self, now_s: float) -> Brake | None:
        """Why it must end, if it must: also when nothing could be learnt for a while."""
        if now_s < self._next_s:
            return None
        self._next_s = now_s + EVERY_S
        try:
            found = self._brake()
        except (DependencyDown, NotFound) as error:
            if now_s - self.known_s <= PATIENCE_S:
                return None
            unknown = f"For {now_s - self.known_s:.0f} s nothing could be learnt of safety lever and alarms"
            return Brake("production_brakes_unknown", f"{unknown}: {error.message}")
        self.known_s = now_s
        return found


def brakes_of(ws: Workspace, consent: Consent) -> Brakes:
    """Those of the environment that the consent is for."""
    place = aws_place(ws, consent.environment_id)
    return Brakes(production_brake(place, consent.alarms))


class ProductionWatcher:
    """Ends the run when the lever is engaged or an alarm rings, and when neither can be known for a while."""

    name = "production"

    def __init__(self, record: RunRecord, brake: Callable[[], Brake | None]) -> None:
        self._run_id = record.id
        self._environment = record.environment_id
        self._brakes = Brakes(brake)

    @classmethod
    def of(cls, record: RunRecord, place: AwsPlace) -> ProductionWatcher | None:
        """None for a run that is not against production."""
        admitted = record.metrics_json.get("production")
        return None if admitted is None else cls(record, production_brake(place, admitted["alarms"]))

    def begin(self, epoch: datetime, state: Mapping[str, Any]) -> None:
        self._brakes.known_s = state.get("known_s", 0.0)

    def look(self, now_s: float, seconds: Sequence[Second]) -> Stop | None:
        found = self._brakes.look(now_s)
        return None if found is None else self._stop(found.code, found.message)

    def state(self) -> Mapping[str, Any]:
        return {"known_s": self._brakes.known_s}

    def halt(self) -> None:
        """Nothing was begun that does harm."""

    def end(self) -> Mapping[str, Any]:
        return {}

    def _stop(self, code: str, message: str) -> Stop:
        instruction = f"See what was sent: pointsman scenario status {self._run_id}"
        return Stop("stop_condition_met", code, message, instruction, {"environment": self._environment})
