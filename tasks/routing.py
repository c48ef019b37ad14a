"""Tasks that move traffic: plan the change, apply it, prove it by routed jobs, put it back, and report it."""

from __future__ import annotations

from decimal import Decimal

from prefect import task
from pydantic import BaseModel, ConfigDict

from pointsman import routing
from pointsman.benchmark import input_set, variant
from pointsman.errors import Conflict, NotFound
from pointsman.ids import RouteKey, VariantId, derive
from pointsman.model import Binding
from pointsman.routing import ProposedBinding, binding_for_verdict
from pointsman.safety import Admission, Consent
from pointsman.workspace import Workspace
from tasks.bridging import cancelled
from tasks.opening import executor_secret, open_gateway, open_target, open_workspace
from tasks.policies import CHANGE, DRIVE, ONCE, RECORD
from tasks.recording import record_report
from tasks.safety import requester_of


class Probed(BaseModel):
    """What the routed jobs saw: jobs per variant, and why that is not the binding, if it is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    passed: bool
    seen: dict[str, int]
    generations: tuple[int, ...]
    why: str


class Moved(BaseModel):
    """A change of one route: planned when `generation` is None, else carried out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    route_key: str
    before: dict[str, int]
    before_generation: int | None
    after: dict[str, int]
    generation: int | None
    cause: str
    verdict_id: str | None = None
    rollout_id: str | None = None
    step: int | None = None
    """The step of a canary that it is at; None when it carries everything."""
    probe: Probed | None = None


def _shares(binding: Binding | None) -> dict[str, int]:
    return {str(one): weight for one, weight in binding.weights.items()} if binding else {}


def _generation(ws: Workspace, key: RouteKey, number: int | None) -> Binding | None:
    if number is None:
        return None
    for record in routing.history(ws, key):
        if record.binding.generation == number:
            return record.binding
    raise NotFound("expected generation", number, f"a generation of {key}")


@task(name="plan-change", **RECORD)
def plan_change(route_key: str, verdict_id: str | None, variant_id: str | None, expected: int | None) -> Moved:
    """What the change would be. Refuses a verdict that is not WINNER or is about another route."""
    ws = open_workspace()
    key = RouteKey.parse(route_key)
    if verdict_id is not None:
        proposed = binding_for_verdict(ws, verdict_id)
    else:
        chosen = variant(ws, str(variant_id)).id
        proposed = ProposedBinding(chosen.route_key, {chosen: 100}, f"an operator chose {chosen.label}")
    if proposed.route_key != key:
        raise Conflict(f"The change is about {proposed.route_key}, not {key}.", instruction="Name the other route.")
    return Moved(
        route_key=route_key,
        before=_shares(_generation(ws, key, expected)),
        before_generation=expected,
        after={str(one): weight for one, weight in proposed.weights.items()},
        generation=None,
        cause=proposed.cause,
        verdict_id=verdict_id,
    )


@task(name="check-capacity", **ONCE)
def check_capacity(planned: Moved, peak_per_s: float, headroom: float) -> None:
    """Refuse a change to a variant that was not shown to sustain its share of the peak."""
    weights = {VariantId.parse(one): weight for one, weight in planned.after.items()}
    peak, factor = Decimal(str(peak_per_s)), Decimal(str(headroom))
    routing.ensure_capacity(open_workspace(), weights, peak=peak, headroom=factor)


def _request(
    ws: Workspace, planned: Moved, run_id: str, steps: tuple[int, ...], ask_first: bool
) -> routing.BindingRequest:
    return routing.BindingRequest(
        RouteKey.parse(planned.route_key),
        {variant(ws, one).id: weight for one, weight in planned.after.items()},
        planned.before_generation,
        planned.cause,
        derive("apply", run_id),
        verdict_id=planned.verdict_id,
        steps=steps,
        requester=requester_of(ws),
        ask_first=ask_first,
    )


@task(name="check-change", **RECORD)
def check_change(planned: Moved, run_id: str, gateway: str | None, steps: tuple[int, ...], ask_first: bool) -> None:
    """Refuse what breaks a rule of the route, before anybody is asked to agree to it; what has begun is not asked."""
    ws = open_workspace()
    asked = _request(ws, planned, run_id, steps, ask_first)
    routing.ensure_may_apply(ws, open_gateway(planned.route_key, gateway), asked)


@task(name="propose-binding", **RECORD)
def propose_binding(
    planned: Moved,
    run_id: str,
    gateway: str | None,
    steps: tuple[int, ...],
    consent: Consent | None,
    ask_first: bool,
) -> Admission | None:
    """Record the change and hold it to the rules of its route; the consent that it waits for, if any."""
    ws = open_workspace()
    asked = _request(ws, planned, run_id, steps, ask_first)
    approval = routing.propose_binding(ws, open_gateway(planned.route_key, gateway), asked, consent=consent)
    if approval is None or approval.state(ws.clock.now()) != "waiting":
        return None
    return Admission(approval.subject_id, "waiting", approval)


@task(name="apply-binding", **CHANGE)
def apply_binding(
    planned: Moved,
    run_id: str,
    gateway: str | None,
    steps: tuple[int, ...],
    consent: Consent | None,
    ask_first: bool,
) -> Moved:
    """Let it serve, or the first step of a canary; one that has begun is found at the step where it is."""
    ws = open_workspace()
    asked = _request(ws, planned, run_id, steps, ask_first)
    applied = routing.apply_binding(ws, open_gateway(planned.route_key, gateway), asked, consent=consent)
    return at_step(ws, planned, applied)


def at_step(ws: Workspace, moved: Moved, binding: Binding) -> Moved:
    """The change as its binding stands; of a canary, as it stands now."""
    record = next(one for one in routing.history(ws, binding.route_key) if one.binding == binding)
    if record.rollout_id is not None:
        serving = next(one for one in routing.history(ws, binding.route_key) if one.status in ("active", "canary"))
        record = serving if serving.rollout_id == record.rollout_id else record
    return moved.model_copy(
        update={
            "generation": record.binding.generation,
            "after": _shares(record.binding),
            "cause": record.binding.cause,
            "rollout_id": record.rollout_id,
            "step": record.step,
        }
    )


@task(name="probe", **DRIVE)
def probe(moved: Moved, run_id: str, target: str, input_set_id: str, jobs: int, consent: Consent | None) -> Moved:
    """Send routed jobs and hold what they met against the binding."""
    ws = open_workspace()
    key = RouteKey.parse(moved.route_key)
    binding = _generation(ws, key, moved.generation)
    assert binding is not None
    members = input_set(ws, input_set_id).members
    found = routing.run_probe(
        ws,
        run_id=derive("probe", run_id),
        binding=binding,
        inputs=[members[index % len(members)] for index in range(jobs)],
        target=open_target(target),
        secret=executor_secret(),
        cancelled=cancelled,
        consent=consent,
    )
    seen = Probed(
        passed=found.passed,
        seen=dict(found.seen),
        generations=tuple(sorted(found.generations)),
        why="; ".join(found.failures),
    )
    return moved.model_copy(update={"probe": seen})


@task(name="takes-guard", **RECORD)
def takes_guard(route_key: str) -> bool:
    """Whether routed jobs have to pass the guard of production."""
    return routing.in_production(open_workspace(), RouteKey.parse(route_key))


@task(name="roll-back", **CHANGE)
def roll_back(
    route_key: str, expected: int, run_id: str, gateway: str | None, reason: str, *, to_generation: int | None = None
) -> Moved:
    """Make what served before `expected`, or the named generation, the next one."""
    ws = open_workspace()
    key = RouteKey.parse(route_key)
    undone = _generation(ws, key, expected)
    back = routing.rollback(
        ws,
        open_gateway(route_key, gateway),
        route_key=key,
        expected=expected,
        idempotency_key=derive("rollback", run_id, expected),
        reason=reason,
        to_generation=to_generation,
    )
    return Moved(
        route_key=route_key,
        before=_shares(undone),
        before_generation=expected,
        after=_shares(back),
        generation=back.generation,
        cause=back.cause,
    )


@task(name="report-routing", **RECORD)
def report_routing(moved: Moved, steps: tuple[int, ...] = (100,), waits: Admission | None = None) -> None:
    """What became of a change; of one that is not made, what it would be, in so many steps, and the consent that it
    waits for, if any.
    """
    ws = open_workspace()
    key = RouteKey.parse(moved.route_key)
    if moved.generation is None:
        weights = {VariantId.parse(one): weight for one, weight in moved.after.items()}
        report = routing.proposal_report(
            ws,
            key,
            weights,
            cause=moved.cause,
            verdict_id=moved.verdict_id,
            steps=steps,
            approval=waits.approval if waits else None,
        )
    else:
        report = routing.routing_report(ws, key, moved.probe)
    record_report("routing-change", report)
