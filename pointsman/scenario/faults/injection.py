"""One fault experiment, step by step: choose, see what FIS would hit, start, follow, put away.

A step makes a call or two and returns what is then known, as a value that survives the process. Every step may be
repeated: FIS answers a client token that it knows with what it made for it before.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pointsman.errors import GuardRefused, NotFound
from pointsman.ids import derive
from pointsman.scenario.faults.aws import Experiment, FaultAws
from pointsman.scenario.faults.choosing import choose, refuse_strangers
from pointsman.scenario.faults.model import Fault
from pointsman.scenario.faults.outcomes import experiment_state, why_nothing_happened
from pointsman.scenario.faults.template import RUN_TAG, STAGE_TAG, run_template

MOST_ATTEMPTS = 3
"""How often instances are drawn for one fault: again when a drawn one was replaced before the fault began."""


class Injection(BaseModel):
    """What is known of one fault. `verdict` is None until its experiment has ended or will never be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    phase: Literal["planned", "previewing", "ready", "injected", "ended"] = "planned"
    attempt: int = 1
    target_instance_ids: tuple[str, ...] = ()
    template_id: str | None = None
    preview_id: str | None = None
    experiment_id: str | None = None
    experiment_arn: str | None = None
    state: str | None = None
    """Of the experiment, as FIS calls it."""
    reason: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    injected_at: datetime | None = None
    """When FIS took the experiment, by this machine's clock."""
    announced: bool = False
    """The action log has its `fault_injected`."""
    verdict: Literal["happened", "not_happened", "withdrawn"] | None = None
    """`withdrawn`: the run ended before the fault had."""


class Injector:
    """The steps of one fault of one run."""

    def __init__(
        self, aws: FaultAws, fault: Fault, *, run_id: str, stage: str, group_name: str, seed: int, salt: str = ""
    ) -> None:
        """`salt` keeps the client tokens apart from those of another injector for the same fault."""
        self._aws = aws
        self._fault = fault
        self._run_id = run_id
        self._stage = stage
        self._group_name = group_name
        self._seed = seed
        self._salt = salt

    def step(self, now: Injection) -> Injection:
        """The next step towards `ready`, or towards the end of an injected fault; `ready` and `ended` stay.

        Raises `GuardRefused` and `InputRefused` for what may not be injected, `DependencyDown` when AWS is away.
        """
        if now.phase == "planned":
            return self._preview(now)
        if now.phase == "previewing":
            return self._check_preview(now)
        if now.phase == "injected":
            return self._follow(now)
        return now

    def inject(self, ready: Injection) -> Injection:
        """Start the experiment of a fault that is ready, or draw again when a drawn instance is no longer healthy."""
        self._aws.refuse_engaged_lever()
        group = self._aws.group(self._group_name)
        gone = sorted(set(ready.target_instance_ids) - set(group.healthy))
        if gone:
            if ready.attempt == MOST_ATTEMPTS:
                raise GuardRefused(
                    f"The instances drawn for the fault of stage {self._stage} were replaced {MOST_ATTEMPTS} times "
                    f"before it began, {', '.join(gone)} the last.",
                    instruction="Find out why the group replaces its instances; then run the scenario again.",
                    code="fault_group_unsteady",
                )
            self._put_away(ready)
            return Injection(stage=ready.stage, attempt=ready.attempt + 1)
        assert ready.template_id is not None
        started = self._aws.start(self._token(ready, "experiment"), ready.template_id, actions=True, tags=self._tags())
        return _seen(ready.model_copy(update={"phase": "injected", "experiment_id": started.id}), started)

    def halt(self, now: Injection) -> bool:
        """Stop the experiment that is known of; whether none goes on. What is known is not changed by it."""
        return now.experiment_id is None or experiment_state(self._aws.stop(now.experiment_id).status).ended

    def withdraw(self, now: Injection) -> Injection:
        """Stop what was started, if it still goes on. Repeat it until the phase is `ended`."""
        if now.phase == "ended":
            return now
        actions: tuple[str, ...] = ()
        # An experiment that was started and not yet kept is found by the run's tags on its template.
        of_templates = [one for template in self._templates() for one in self._aws.experiments_of(template)]
        for experiment_id in dict.fromkeys([*of_templates, *([now.experiment_id] if now.experiment_id else [])]):
            try:
                found = self._aws.stop(experiment_id)
            except NotFound:
                gone = {"phase": "ended", "verdict": now.verdict or "withdrawn", "reason": "FIS knows it no more"}
                self._put_away(now)
                return now.model_copy(update=gone)
            if experiment_id != now.preview_id and now.phase in ("ready", "injected"):
                now = _seen(now.model_copy(update={"experiment_id": experiment_id, "phase": "injected"}), found)
                actions = found.actions
        if now.phase == "injected" and not experiment_state(now.state or "").ended:
            return now
        self._put_away(now)
        done = now.phase == "injected" and why_nothing_happened(now.state or "", now.reason, actions) is None
        verdict = now.verdict or ("happened" if done else "withdrawn")
        return now.model_copy(update={"phase": "ended", "verdict": verdict})

    def _preview(self, now: Injection) -> Injection:
        self._aws.refuse_engaged_lever()
        group = self._aws.group(self._group_name)
        chosen = choose(group, self._fault.instances, seed=self._seed, stage=self._stage, attempt=now.attempt)
        request = run_template(
            self._aws.template(self._fault.template),
            [group.instance_arn(instance) for instance in chosen],
            duration_s=self._fault.duration_s,
            run_id=self._run_id,
            stage=self._stage,
        )
        # What is drawn goes into the token: after a crash another draw must not meet the template of the first.
        template_id = self._aws.create_template(self._token(now, "template", *chosen), request)
        preview = self._aws.start(self._token(now, "preview", *chosen), template_id, actions=False, tags=self._tags())
        return now.model_copy(
            update={
                "phase": "previewing",
                "target_instance_ids": chosen,
                "template_id": template_id,
                "preview_id": preview.id,
            }
        )

    def _check_preview(self, now: Injection) -> Injection:
        assert now.preview_id is not None
        preview = self._aws.experiment(now.preview_id)
        state = experiment_state(preview.status)
        if not state.ended:
            return now
        if not state.happened:
            self._aws.refuse_engaged_lever()  # what a cancelled preview most often means
            raise GuardRefused(
                f"FIS would not carry out the fault of stage {self._stage}: its preview is {preview.status} "
                f"({preview.reason or state.meaning}). Nothing was harmed.",
                instruction="Correct the operator's FIS template or its role; then run the scenario again.",
                code="fault_preview_failed",
            )
        resolved = self._aws.resolved(now.preview_id)
        refuse_strangers(self._aws.group(self._group_name), now.target_instance_ids, resolved, stage=self._stage)
        return now.model_copy(update={"phase": "ready"})

    def _follow(self, now: Injection) -> Injection:
        assert now.experiment_id is not None
        found = self._aws.experiment(now.experiment_id)
        now = _seen(now, found)
        if not experiment_state(found.status).ended:
            return now
        nothing = why_nothing_happened(found.status, found.reason, found.actions)
        self._put_away(now)
        return now.model_copy(
            update={
                "phase": "ended",
                "verdict": "not_happened" if nothing else "happened",
                "reason": nothing or found.reason,
            }
        )

    def _put_away(self, now: Injection) -> None:
        """Delete every template that was made for this fault."""
        for template_id in {*self._templates(), *([now.template_id] if now.template_id else [])}:
            self._aws.delete_template(template_id)

    def _templates(self) -> list[str]:
        return self._aws.templates_tagged({RUN_TAG: self._run_id, STAGE_TAG: self._stage})

    def _tags(self) -> dict[str, str]:
        return {RUN_TAG: self._run_id, STAGE_TAG: self._stage}

    def _token(self, now: Injection, *what: str) -> str:
        return derive("fault", self._run_id, self._stage, self._salt, now.attempt, *what)


def _seen(now: Injection, found: Experiment) -> Injection:
    """With what FIS says of the experiment. Times are FIS's own; an end without one is known from the state."""
    return now.model_copy(
        update={
            "experiment_arn": found.arn,
            "state": found.status,
            "reason": found.reason,
            "started_at": found.started_at,
            "ended_at": found.ended_at,
        }
    )
