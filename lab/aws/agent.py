"""The FIS agent: it walks moto's experiments through their states and does to the lab's workers what they say.

`aws:ec2:stop-instances`      the instance's workers are killed, and start again after the action's duration
`aws:ec2:terminate-instances` they are killed; half a minute later a machine of the same id takes their place
`aws:ec2:reboot-instances`    they are killed, and start again at once
`aws:ssm:send-command`        they are frozen for the action's duration, as a machine is that no longer answers

EC2 shows the instances accordingly as long as their workers are away.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from lab.aws.gaps import ENDED, LEVER, LabExperiment
from lab.aws.machines import MachineState
from pointsman.clock import Clock

Ending = Literal["completed", "skipped", "failed", "cancelled", "stopped", "empty", "stuck", "stray"]
"""How an experiment ends that was asked to end otherwise: `skipped` completes without its actions, `stopped` ends in
the middle of them, `empty` finds no target, `stuck` never gets past initiating, `stray` hits an instance of nobody."""
STRAY = "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0"
_TERMINATE = "aws:ec2:terminate-instances"
_KINDS: Mapping[str, tuple[str, MachineState, MachineState]] = {
    "aws:ec2:stop-instances": ("kill", "stopping", "stopped"),
    _TERMINATE: ("kill", "shutting-down", "terminated"),
    "aws:ec2:reboot-instances": ("kill", "running", "running"),
    "aws:ssm:send-command": ("freeze", "frozen", "frozen"),
}
"""What happens to the workers, and what the machine is shown as at first and a moment later."""
_REPLACED_AFTER_S = 30.0
_PAUSE_S = 0.1
"""How long an experiment is pending, and how long initiating."""
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?")


class Machines(Protocol):
    """The instances as EC2 shows them."""

    def show(self, instance_id: str, state: MachineState) -> None: ...


class Workers(Protocol):
    """The lab's workers by instance id."""

    def stop(self, instance_id: str, *, kind: str, at_most_s: float) -> None: ...
    def start(self, instance_id: str) -> None: ...


class Agent:
    """Call `step` often. `endings` says how the next experiments end that would do something; by default well."""

    def __init__(self, experiments: Mapping[str, Any], workers: Workers, machines: Machines, clock: Clock) -> None:
        self._experiments = experiments
        self._workers = workers
        self._machines = machines
        self._clock = clock
        self._since: dict[str, float] = {}
        self._endings: dict[str, Ending] = {}
        self._stopped: dict[str, set[str]] = {}
        self._replaced_at: dict[str, float] = {}
        self.endings: deque[Ending] = deque()

    def step(self) -> None:
        """Move every experiment that is due."""
        for experiment in list(self._experiments.values()):
            if experiment.status not in ENDED:
                self._move(experiment)
        for instance_id, at in list(self._replaced_at.items()):
            if self._clock.monotonic() >= at:
                del self._replaced_at[instance_id]
                self._give_back(instance_id)

    def _move(self, experiment: LabExperiment) -> None:
        now = self._clock.monotonic()
        since = self._since.setdefault(experiment.id, now)
        preview = experiment.experiment_options["actionsMode"] == "skip-all"
        if experiment.id not in self._endings:
            wanted = self.endings[0] if self.endings else "completed"
            # What FIS would resolve is asked of the preview; everything else happens to the experiment itself.
            of_preview = wanted in ("empty", "stray")
            self._endings[experiment.id] = wanted if preview == of_preview else "completed"
            if self.endings and preview == of_preview:
                self.endings.popleft()
        ending = self._endings[experiment.id]
        if experiment.status == "stopping":
            self._restore(experiment)
            self._to(experiment, "stopped", "Experiment was stopped.")
        elif LEVER["status"] != "disengaged" and experiment.status != "running":
            self._to(experiment, "cancelled", "The safety lever is engaged.")
        elif LEVER["status"] != "disengaged":
            self._to(experiment, "stopping", "The safety lever was engaged.")
        elif experiment.status == "pending" and now - since >= _PAUSE_S:
            self._since[experiment.id] = now
            if ending == "cancelled":
                self._to(experiment, "cancelled", "Experiment was cancelled.")
            else:
                self._to(experiment, "initiating", "Experiment is initiating.")
        elif experiment.status == "initiating" and now - since >= _PAUSE_S and ending != "stuck":
            self._since[experiment.id] = now
            self._begin(experiment, ending, preview)
        elif experiment.status == "running":
            self._run(experiment, ending, now - since)

    def _begin(self, experiment: LabExperiment, ending: Ending, preview: bool) -> None:
        if ending == "empty":
            for target in experiment.targets.values():
                target["resourceArns"] = []
            self._to(experiment, "failed", "Target resolution returned empty set.")
            return
        if ending == "stray":
            next(iter(experiment.targets.values()))["resourceArns"].append(STRAY)
        if preview or ending == "skipped":
            self._to(experiment, "completed", "Experiment completed.", actions="skipped")
        elif ending == "failed":
            self._to(experiment, "failed", "An action failed: the role lab-fis may not stop instances.")
        else:
            self._to(experiment, "running", "Experiment is running.")
            for instance_id, action_id, lasts_s in _acts(experiment):
                kind, at_first, _ = _KINDS[action_id]
                if action_id == _TERMINATE:
                    lasts_s = _REPLACED_AFTER_S
                    self._replaced_at[instance_id] = self._clock.monotonic() + lasts_s
                else:
                    self._stopped.setdefault(experiment.id, set()).add(instance_id)
                self._workers.stop(instance_id, kind=kind, at_most_s=lasts_s + 60)
                self._machines.show(instance_id, at_first)

    def _run(self, experiment: LabExperiment, ending: Ending, lasted_s: float) -> None:
        acts = _acts(experiment)
        for instance_id, action_id, _ in acts:
            self._machines.show(instance_id, _KINDS[action_id][2])
        lasts_s = max((lasts_s for _, _, lasts_s in acts), default=0.0)
        if ending == "stopped" and lasted_s >= lasts_s / 2:
            self._to(experiment, "stopping", "A stop condition was met.")
        elif lasted_s >= lasts_s:
            self._restore(experiment)
            self._to(experiment, "completed", "Experiment completed.")

    def _to(self, experiment: LabExperiment, status: str, reason: str, *, actions: str | None = None) -> None:
        experiment.move(status, reason, at=self._clock.now(), actions=actions)

    def _restore(self, experiment: LabExperiment) -> None:
        for instance_id in self._stopped.pop(experiment.id, ()):
            self._give_back(instance_id)

    def _give_back(self, instance_id: str) -> None:
        self._workers.start(instance_id)
        self._machines.show(instance_id, "running")


def _acts(experiment: LabExperiment) -> list[tuple[str, str, float]]:
    """(instance id, action id, how many seconds it lasts) of every action."""
    return [
        (arn.rpartition("/")[2], action["actionId"], _seconds(action.get("parameters") or {}))
        for action in experiment.actions.values()
        for target in (action.get("targets") or {}).values()
        for arn in experiment.targets[target]["resourceArns"]
    ]


def _seconds(parameters: Mapping[str, str]) -> float:
    said = parameters.get("startInstancesAfterDuration") or parameters.get("duration") or "PT0S"
    found = _DURATION.fullmatch(said)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return hours * 3600.0 + minutes * 60.0 + seconds
