"""The watcher that carries out a run's faults while it is driven, and says afterwards what they did."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from pointsman.actions import ActionLog
from pointsman.dispatch.seconds import Second
from pointsman.errors import DependencyDown, GuardRefused, InputRefused, PointsmanError
from pointsman.scenario.faults.aws import FaultAws
from pointsman.scenario.faults.environment import Allowed, OpenAws, allowed_in, faulty_stages, injector
from pointsman.scenario.faults.evidence import NAME, evidence, measured, why_not_effective
from pointsman.scenario.faults.injection import Injection, Injector
from pointsman.scenario.faults.model import Fault
from pointsman.scenario.model import Scenario
from pointsman.scenario.record import RunRecord, read_run
from pointsman.scenario.watching import Stop
from pointsman.workspace import Workspace

_OVERDUE_S = 300.0
"""How much longer than its fault an experiment may take before it is stopped: FIS itself needs its time."""
_GIVEN_UP_S = 420.0
_LONGEST_PAUSE_S = 15.0
_STOPPED_WITHIN_S = 60.0
_HALTED_WITHIN_S = 1.0
_BEGUN = frozenset({"running", "stopping", "completed", "stopped"})


class FaultDirector:
    """A `Watcher`. All that it knows is in `state`, so another coordinator can take over at any moment."""

    name = NAME

    def __init__(
        self, ws: Workspace, record: RunRecord, scenario: Scenario, *, open_aws: OpenAws = Allowed.open
    ) -> None:
        self._ws = ws
        self._record = record
        self._open_aws = open_aws
        self._stages = {stage.name: stage for stage in faulty_stages(scenario)}
        self._spans: dict[str, tuple[float, float]] = {}
        from_s = 0.0
        for stage, segment in zip(scenario.stages, scenario.segments, strict=True):
            to_s = from_s + segment.us / 1_000_000
            self._spans[stage.name] = (from_s, to_s)
            from_s = to_s
        self._known = {name: Injection(stage=name) for name in self._stages}
        self._since_s: dict[str, float] = {}
        """By stage: when FIS took its experiment, on the monotonic clock; one that is set makes no fault overdue."""
        self._events: list[dict[str, Any]] = []
        self._epoch: datetime | None = None
        self._pause_s = 0.0
        self._again_at_s = 0.0
        self._reached: tuple[Allowed, FaultAws] | None = None

    def begin(self, epoch: datetime, state: Mapping[str, Any]) -> None:
        self._epoch = epoch
        self._events = list(state.get("fault_events", []))
        for name, kept in state.get("injections", {}).items():
            self._known[name] = known = Injection.model_validate(kept)
            if known.injected_at is not None:
                lasted_s = (self._ws.clock.now() - known.injected_at).total_seconds()
                self._since_s[name] = self._ws.clock.monotonic() - lasted_s

    def state(self) -> Mapping[str, Any]:
        injections = {name: known.model_dump(mode="json") for name, known in self._known.items()}
        return {"injections": injections, "fault_events": list(self._events)}

    def look(self, now_s: float, seconds: Sequence[Second]) -> Stop | None:
        """Take at most one step of each fault. The run stops when a fault did not happen, or may not."""
        for name, known in self._known.items():
            if known.verdict is not None or now_s < self._again_at_s:
                continue
            try:
                found = self._step(name, known, now_s)
                self._pause_s = 0.0
            except (GuardRefused, InputRefused) as error:
                return self._not_happened(name, error.message, error.instruction, error.code)
            except DependencyDown as error:
                self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s or 1.0)
                self._again_at_s = now_s + self._pause_s
                self._reached = None  # the lab's AWS may be elsewhere by then
                found = known.model_copy(update={"reason": error.message})
            self._keep(found)
            if found.verdict == "not_happened":
                return self._not_happened(name, found.reason)
            if (why := self._too_late(name, found, now_s)) is not None:
                return self._not_happened(name, why)
        return None

    def halt(self) -> None:
        """Stop every experiment that goes on, and wait a second at most until it has, whatever AWS does meanwhile."""
        going = [known for known in self._known.values() if known.phase == "injected"]
        threads = [threading.Thread(target=self._halt, args=(known,), daemon=True) for known in going]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_HALTED_WITHIN_S)

    def end(self) -> Mapping[str, Any]:
        """Stop what still goes on, delete every template, and measure what happened.

        Raises `DependencyDown` while an experiment cannot be stopped: then call it again.
        """
        for name in self._known:
            self._let_finish(name)
            self._withdraw(name)
        found = {
            name: evidence(known, measured(self._ws, self._record, known, self._spans[name], self._epoch))
            for name, known in self._known.items()
        }
        stages = {name: {"fault": fault} for name, fault in found.items()}
        failure = next((told for name in self._known if (told := self._failure(name, found[name]))), None)
        return {"stages": stages, **({"failure": failure} if failure else {})}

    def _halt(self, known: Injection) -> None:
        with suppress(PointsmanError):  # `end` comes back for it, and says so
            for _ in range(10):
                if self._injector(known.stage).halt(known):
                    return
                self._ws.clock.sleep(0.1)

    def _step(self, name: str, known: Injection, now_s: float) -> Injection:
        steps = self._injector(name)
        if known.phase == "ready":
            due_s = self._spans[name][0] + self._fault(name).offset_s
            return steps.inject(known) if now_s >= due_s else known
        if known.phase == "injected" and self._lasted_s(known) > self._fault(name).duration_s + _OVERDUE_S:
            found = steps.withdraw(known)
            if found.verdict == "withdrawn":
                why = f"its experiment was still {known.state} long after it should have ended, and was stopped"
                return found.model_copy(update={"verdict": "not_happened", "reason": why})
            return found
        return steps.step(known)

    def _too_late(self, name: str, known: Injection, now_s: float) -> str | None:
        if known.phase in ("planned", "previewing", "ready") and now_s > self._spans[name][1]:
            return f"it could not begin before its stage ended{': ' + known.reason if known.reason else ''}"
        if known.phase == "injected" and self._lasted_s(known) > self._fault(name).duration_s + _GIVEN_UP_S:
            return f"its experiment did not end in time: it is {known.state} ({known.reason or 'no reason given'})"
        return None

    def _lasted_s(self, known: Injection) -> float:
        """Since FIS took the experiment, by this machine's clock: the one that the limits are meant by."""
        since_s = self._since_s.get(known.stage)
        return 0.0 if since_s is None else self._ws.clock.monotonic() - since_s

    def _keep(self, found: Injection) -> None:
        before = self._known[found.stage]
        if found.phase == "injected" and found.injected_at is None:
            found = found.model_copy(update={"injected_at": self._ws.clock.now()})
            self._since_s[found.stage] = self._ws.clock.monotonic()
        if found.state in _BEGUN and not found.announced:
            self._announce(found)
            found = found.model_copy(update={"announced": True})
        self._known[found.stage] = found
        if (before.phase, before.state, before.verdict) != (found.phase, found.state, found.verdict):
            self._events.append(
                {
                    "at": self._ws.clock.now().isoformat(),
                    "stage": found.stage,
                    "event": found.verdict or found.state or found.phase,
                    "reason": found.reason,
                    "fis_experiment_arn": found.experiment_arn,
                    "target_instance_ids": list(found.target_instance_ids),
                }
            )

    def _announce(self, found: Injection) -> None:
        log = ActionLog(self._ws)
        told = log.read(run_id=self._record.id, limit=1000)
        # Whoever was here before may have said so without living to keep that it did.
        if any(one.event == "fault_injected" and one.data["stage"] == found.stage for one in told):
            return
        log.record(
            "fault_injected",
            run_id=self._record.id,
            context=self._record.context,
            stage=found.stage,
            fis_experiment_arn=found.experiment_arn,
            target_instance_ids=found.target_instance_ids,
            duration_s=self._fault(found.stage).duration_s,
        )

    def _not_happened(self, name: str, why: str, instruction: str = "", code: str = "fault_not_effective") -> Stop:
        self._keep(self._known[name].model_copy(update={"verdict": "not_happened", "reason": why}))
        message = f"The fault of stage {name} did not happen: {why}"
        return Stop(
            event="fault_not_effective",
            code=code,
            message=message if message.endswith(".") else f"{message}.",
            instruction=instruction or self._instruction(),
            data={"stage": name, "reason": why, "fis_experiment_arn": self._known[name].experiment_arn},
        )

    def _let_finish(self, name: str) -> None:
        """Wait for an experiment that outlasts the last dispatch: FIS takes its time to give instances back.

        Not when somebody wants the run to end, and no longer than a look would wait.
        """
        limit_s = self._fault(name).duration_s + _OVERDUE_S
        while (known := self._known[name]).phase == "injected" and self._lasted_s(known) <= limit_s:
            metrics = (record := read_run(self._ws, self._record.id)).metrics_json
            if record.status == "cancelling" or metrics.get("stopped") or metrics.get("interrupted"):
                return
            with suppress(DependencyDown):
                self._keep(self._injector(name).step(known))
            self._ws.clock.sleep(1.0)

    def _withdraw(self, name: str) -> None:
        until = self._ws.clock.monotonic() + _STOPPED_WITHIN_S
        while self._known[name].phase != "ended":
            try:
                self._keep(self._injector(name).withdraw(self._known[name]))
            except (GuardRefused, InputRefused) as error:
                if self._known[name].phase != "planned":
                    raise
                # Where no fault may be, none was begun.
                update = {"phase": "ended", "verdict": "not_happened", "reason": error.message}
                self._keep(self._known[name].model_copy(update=update))
            known = self._known[name]
            if known.phase == "ended":
                return
            if self._ws.clock.monotonic() >= until:
                raise DependencyDown(
                    f"The experiment {known.experiment_id} of stage {name} is {known.state} and does not end.",
                    instruction=f"Stop it (aws fis stop-experiment --id {known.experiment_id}), then run the same "
                    "command again.",
                    code="fault_not_ended",
                )
            self._ws.clock.sleep(0.5)

    def _failure(self, name: str, fault: Mapping[str, Any]) -> dict[str, str] | None:
        """What `metrics_json.failure` shall hold when the fault did not happen or is not shown to have had effect."""
        known, instruction, shown = self._known[name], self._instruction(), ""
        if known.verdict == "happened":
            found = why_not_effective(fault)
            if found is None:
                return None
            why, shown = found, "shown to be "
            if fault["effect"] is not None and fault["effect"]["p95_delta_ms"] is None:
                instruction = (
                    f"Let more dispatches complete before the fault of stage {name} and while it lasts: raise the "
                    "stage's rate, or offset_s and duration_s of the fault; then run the scenario again."
                )
        else:
            left = f"the run ended when its experiment was {known.state or 'not yet started'}"
            why = left if known.verdict == "withdrawn" else known.reason
        record = read_run(self._ws, self._record.id)
        if record.status != "cancelling" and "stopped" not in record.metrics_json:
            self._tell_not_effective(name, why)
        return {
            "code": "fault_not_effective",
            "message": f"The fault of stage {name} was not {shown}effective: {why}.",
            "instruction": instruction,
        }

    def _tell_not_effective(self, name: str, why: str) -> None:
        log = ActionLog(self._ws)
        told = log.read(run_id=self._record.id, limit=1000)
        if not any(one.event == "fault_not_effective" and one.data["stage"] == name for one in told):
            log.record(
                "fault_not_effective",
                run_id=self._record.id,
                context=self._record.context,
                stage=name,
                reason=why,
                fis_experiment_arn=self._known[name].experiment_arn,
            )

    def _instruction(self) -> str:
        return f"pointsman scenario status {self._record.id} --json"

    def _fault(self, name: str) -> Fault:
        fault = self._stages[name].fault
        assert fault is not None
        return fault

    def _injector(self, name: str) -> Injector:
        if self._reached is None:
            allowed = allowed_in(self._ws, self._record.environment_id)
            self._reached = allowed, self._open_aws(allowed)
        allowed, aws = self._reached
        return injector(aws, allowed, self._record, self._stages[name])
