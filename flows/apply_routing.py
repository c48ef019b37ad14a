"""apply-routing: move a route to a verdict's winner or a named variant, prove it by routed jobs, else put it back."""

from __future__ import annotations

from typing import Self

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pointsman.errors import Conflict, GuardRefused, RunFailed
from pointsman.routing import HEADROOM, CanaryRules
from pointsman.safety import Consent
from tasks.approving import await_decision
from tasks.canary import advance_canary, look_at_canary, pause_canary
from tasks.production import enter_with_change, once_agreed
from tasks.routing import (
    Moved,
    apply_binding,
    check_capacity,
    check_change,
    plan_change,
    probe,
    propose_binding,
    report_routing,
    roll_back,
)


class ApplyRoutingRequest(BaseModel):
    """A verdict or a variant, and the generation it replaces."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route_key: str = Field(title="Route", description="er:<id>:env:<id>:stage:<stage>")
    verdict_id: str | None = Field(None, title="Verdict", description="Id of a WINNER verdict; or name a variant.")
    variant: str | None = Field(None, title="Variant", description="Id of a registered variant; or name a verdict.")
    expected_generation: int | None = Field(
        None, title="Expected generation", description="The generation now current; empty: none yet.", ge=1
    )
    dry_run: bool = Field(True, title="Dry run", description="Only say what would change.")
    gateway: str | None = Field(
        None,
        title="Gateway",
        description="Name of a saved routing gateway block: where a new route is shown. Empty: `default`; a route that "
        "is bound has its own.",
    )
    target: str = Field("lab", title="Target", description="Name of the target block that serves the route.")
    input_set: str = Field(title="Input set", description="Inputs of the routed jobs that prove the change.")
    probe_jobs: int = Field(
        6, title="Probe jobs", description="Routed jobs that must meet the new binding.", ge=1, le=1000
    )
    price_book: str = Field(
        "default", title="Price book", description="Name of a saved price book block: what the routed jobs will cost."
    )
    production: str | None = Field(
        None,
        title="Production",
        description="Only for a route of production: the id of that environment, to say so.",
        max_length=64,
    )
    canary: CanaryRules | None = Field(
        None, title="Canary", description="Go there in steps and look at each; empty: all at once."
    )
    ask_first: bool = Field(
        False,
        title="Ask first",
        description="Let it wait for somebody's consent whatever the rules of the route say, and overtake no other "
        "change that is under way.",
    )
    peak_per_s: float | None = Field(
        None,
        title="Peak per second",
        description="The most arrivals per second that the route gets. With it, a variant whose capacity was not shown "
        "to cover the peak times the headroom is refused.",
        gt=0,
        le=1_000_000,
    )
    headroom: float = Field(
        float(HEADROOM), title="Headroom", description="How many times the peak the capacity must be.", ge=1, le=100
    )
    run_id: str | None = Field(
        None,
        title="Run id",
        description="Names the change. The same id again continues it; empty: the flow run's own id.",
        pattern=r"^[A-Za-z0-9._-]{1,64}$",
    )

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.verdict_id is None) == (self.variant is None):
            raise ValueError("name either verdict_id or variant")
        return self


def in_steps(
    moved: Moved,
    run_id: str,
    gateway: str | None,
    target: str,
    input_set: str,
    rules: CanaryRules,
    consent: Consent | None,
) -> Moved:
    """Take a canary from the step where it is to its end; in production by the `consent` that its looks were given.

    Raises `RunFailed` (`canary_aborted`) after a step that was bad and was rolled back, `GuardRefused` when it stays at
    a step: too few jobs met the newcomers, a rule of the route forbids the next one, or somebody paused it.
    """
    while moved.step is not None:
        found = look_at_canary(moved, run_id, target, input_set, rules, consent)
        if found.decision == "abort":
            assert moved.generation is not None
            reason = f"the canary at {found.percent} %: {found.why}"
            back = roll_back(moved.route_key, moved.generation, run_id, gateway, reason)
            report_routing(back)
            raise RunFailed(
                f"The canary was bad at {found.percent} %: {found.why}. "
                f"Generation {back.generation} has the old content again.",
                instruction=f"pointsman route history {moved.route_key}",
                code="canary_aborted",
            )
        if found.decision == "wait":
            raise _stays(moved, found.why, code="canary_stuck")
        moved = go_on(moved, gateway, found.why, consent)
    return moved


def go_on(moved: Moved, gateway: str | None, why: str, consent: Consent | None, *, to_end: bool = False) -> Moved:
    """Let the next step serve. Where a rule of the route forbids it now, such as a freeze, the canary stays, paused."""
    try:
        return advance_canary(moved, gateway, why, consent, to_end=to_end)
    except GuardRefused as refused:
        if isinstance(refused, Conflict) or refused.code == "canary_paused":
            raise
        raise _stays(moved, refused.message, code=refused.code) from refused


def _stays(moved: Moved, why: str, *, code: str) -> GuardRefused:
    pause_canary(moved.route_key, why)
    report_routing(moved)
    percent = sum(max(0, weight - moved.before.get(one, 0)) for one, weight in moved.after.items())
    return GuardRefused(
        f"The canary of {moved.route_key} stays at {percent} %: {why.removesuffix('.')}.",
        instruction=f"Promote it, once that may be, or abort it: pointsman route promote {moved.route_key}",
        code=code,
    )


def prove(
    moved: Moved,
    run_id: str,
    gateway: str | None,
    target: str,
    input_set: str,
    jobs: int,
    consent: Consent | None,
) -> Moved:
    """Let routed jobs meet what serves now, else put back what served before. Raises `RunFailed` (`probe_failed`)."""
    proved = probe(moved, run_id, target, input_set, jobs, consent)
    if proved.probe is not None and not proved.probe.passed:
        assert proved.generation is not None
        back = roll_back(proved.route_key, proved.generation, run_id, gateway, f"probe failed: {proved.probe.why}")
        report_routing(back)
        raise RunFailed(
            f"The probe of generation {proved.generation} failed: {proved.probe.why}. "
            f"Generation {back.generation} has the old content again.",
            instruction=f"pointsman route history {proved.route_key}",
            code="probe_failed",
        )
    report_routing(proved)
    return proved


@flow(name="apply-routing", flow_run_name="apply-{request.route_key}")
def apply_routing(request: ApplyRoutingRequest) -> Moved:
    """Returns the binding before and after, and what the probe saw. Raises `RunFailed` after a failed probe or canary.

    Where the change takes consent, the run is suspended until somebody else decided, or ends and can be repeated.
    """
    run_id = request.run_id or flow_run.id
    planned = plan_change(request.route_key, request.verdict_id, request.variant, request.expected_generation)
    if request.peak_per_s is not None:
        check_capacity(planned, request.peak_per_s, request.headroom)
    steps = request.canary.steps if request.canary else (100,)
    if request.dry_run:
        report_routing(planned, steps)
        return planned
    check_change(planned, run_id, request.gateway, steps, request.ask_first)
    consent = once_agreed(
        lambda: enter_with_change(
            planned,
            run_id,
            input_set_id=request.input_set,
            probe_jobs=request.probe_jobs,
            canary=request.canary,
            price_book=request.price_book,
            production=request.production,
        )
    )
    waits = propose_binding(planned, run_id, request.gateway, steps, consent, request.ask_first)
    if waits is not None:
        report_routing(planned, steps, waits)
        await_decision(waits)
    applied = apply_binding(planned, run_id, request.gateway, steps, consent, request.ask_first)
    if request.canary is not None:
        applied = in_steps(applied, run_id, request.gateway, request.target, request.input_set, request.canary, consent)
    return prove(applied, run_id, request.gateway, request.target, request.input_set, request.probe_jobs, consent)
