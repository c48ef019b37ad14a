"""Before a run starts: would each of its faults hit what it may, and nothing else? FIS says so without doing it."""

from __future__ import annotations

from contextlib import suppress

from pointsman.errors import DependencyDown, PointsmanError
from pointsman.scenario.faults.environment import Allowed, OpenAws, allowed_in, faulty_stages, injector
from pointsman.scenario.faults.injection import Injection, Injector
from pointsman.scenario.record import advance, read_run, run_scenario
from pointsman.workspace import Workspace

_LOOK_EVERY_S = 0.5
_PREVIEWED_WITHIN_S = 90.0


def check_faults(ws: Workspace, run_id: str, *, open_aws: OpenAws = Allowed.open) -> int:
    """Preview every fault of a planned run, leave nothing behind, and return how many there are.

    Raises `GuardRefused` (targets outside the allowed group, too few healthy instances, an engaged safety lever, a
    template that acts on more than instances), `InputRefused` and `DependencyDown`: then nothing was harmed.
    """
    record = read_run(ws, run_id)
    stages = faulty_stages(run_scenario(ws, record))
    if record.ended or "epoch" in record.metrics_json or not stages:
        return len(stages)  # a run that has begun has a director, who looks before each fault
    try:
        allowed = allowed_in(ws, record.environment_id)
        aws = open_aws(allowed)
        for stage in stages:
            salt = f"check {ws.clock.now().isoformat()}"
            _preview(ws, injector(aws, allowed, record, stage, salt=salt), stage.name)
    except PointsmanError as error:
        # For whoever ends the run: this is why it never began.
        advance(ws, run_id, None, metrics={"interrupted": error.as_failure()})
        raise
    return len(stages)


def _preview(ws: Workspace, steps: Injector, stage: str) -> None:
    now = Injection(stage=stage)
    until = ws.clock.monotonic() + _PREVIEWED_WITHIN_S
    try:
        while (now := steps.step(now)).phase != "ready":
            if ws.clock.monotonic() >= until:
                raise DependencyDown(
                    f"FIS did not preview the fault of stage {stage} within {_PREVIEWED_WITHIN_S:g} s.",
                    instruction="Look at the experiment in the FIS console; then run the scenario again.",
                    code="fault_preview_late",
                )
            ws.clock.sleep(_LOOK_EVERY_S)
    except PointsmanError:
        with suppress(DependencyDown):  # what was refused is what the caller must hear
            steps.withdraw(now)
        raise
    steps.withdraw(now)
