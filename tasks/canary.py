"""Tasks of a canary: look at the step where it is, go on to the next one, or stay."""

from __future__ import annotations

import polars as pl
from prefect import task

from pointsman import routing
from pointsman.benchmark import input_set
from pointsman.errors import Conflict
from pointsman.ids import RouteKey, derive
from pointsman.routing import CanaryRules, Finding, Rollout
from pointsman.safety import Consent
from pointsman.workspace import Workspace
from tasks.bridging import cancelled
from tasks.opening import executor_secret, open_gateway, open_target, open_workspace
from tasks.policies import CHANGE, DRIVE, RECORD
from tasks.routing import Moved, at_step


@task(name="look-at-canary", **DRIVE)
def look_at_canary(
    moved: Moved, run_id: str, target: str, input_set_id: str, rules: CanaryRules, consent: Consent | None
) -> Finding:
    """Send routed jobs until both sides have met enough of them, and judge the newcomers.

    A brake of production that stops them ends the canary.
    Raises `Conflict` (`canary_moved`) when somebody else moved the canary meanwhile.
    """
    ws = open_workspace()
    rollout = routing.read_rollout(ws, str(moved.rollout_id))
    records = {one.binding.generation: one.binding for one in routing.history(ws, rollout.route_key)}
    binding, before = records[moved.generation or 0], records[rollout.base_generation]
    members = input_set(ws, input_set_id).members
    seen: list[pl.DataFrame] = []
    for look in range(rules.looks):
        first = look * rules.jobs_per_step
        sample = routing.sample_route(
            ws,
            run_id=derive("canary", run_id, rollout.id, look),
            binding=binding,
            inputs=[members[(first + index) % len(members)] for index in range(rules.jobs_per_step)],
            target=open_target(target),
            secret=executor_secret(),
            cancelled=cancelled,
            consent=consent,
        )
        _still_there(ws, rollout, binding.generation)
        if not isinstance(sample, pl.DataFrame):
            finding = routing.stopped_canary(binding, before.weights, sample.message)
            break
        seen = [*(routing.arrived(one, binding) for one in seen), sample]
        finding = routing.judge_canary(pl.concat(seen), binding, before.weights, rules)
        if finding.decision != "wait":
            break
    routing.note_finding(ws, rollout.id, finding.as_document())
    return finding


def _still_there(ws: Workspace, rollout: Rollout, generation: int) -> None:
    now = routing.current(ws, rollout.route_key)
    if now is None or now.generation != generation:
        raise Conflict(
            f"Somebody else moved the canary of {rollout.route_key} from generation {generation} to "
            f"{now.generation if now else 'none'}.",
            instruction=f"pointsman route history {rollout.route_key}",
            code="canary_moved",
        )


@task(name="advance-canary", **CHANGE)
def advance_canary(
    moved: Moved, gateway: str | None, why: str, consent: Consent | None, *, to_end: bool = False
) -> Moved:
    """Let the next step serve, or at once the last one."""
    ws = open_workspace()
    assert moved.step is not None
    door = open_gateway(moved.route_key, gateway)
    serves = routing.advance(ws, door, str(moved.rollout_id), after=moved.step, why=why, to_end=to_end, consent=consent)
    return at_step(ws, moved, serves)


@task(name="check-promotion", **RECORD)
def check_promotion(moved: Moved, gateway: str | None, *, to_end: bool) -> None:
    """Refuse a step that breaks a rule of the route, before anybody is asked to agree to it."""
    ws = open_workspace()
    assert moved.step is not None
    routing.ensure_may_advance(
        ws, open_gateway(moved.route_key, gateway), str(moved.rollout_id), after=moved.step, to_end=to_end
    )


@task(name="pause-canary", **RECORD)
def pause_canary(route_key: str, why: str) -> None:
    """Stay at the step where it is."""
    routing.pause(open_workspace(), RouteKey.parse(route_key), why)


@task(name="find-canary", **RECORD)
def find_canary(route_key: str, expected: int) -> Moved:
    """The canary that the route is in, at the step where it is.

    Raises `GuardRefused` when the route is in none, `Conflict` when another generation than `expected` serves.
    """
    ws = open_workspace()
    key = RouteKey.parse(route_key)
    rollout, serving = routing.require_canary(ws, key)
    if serving.binding.generation != expected:
        raise Conflict(
            f"Generation {serving.binding.generation} of {key} serves, and not {expected} as expected.",
            instruction=f"pointsman route show {key}",
            code="stale_generation",
        )
    base = next(one.binding for one in routing.history(ws, key) if one.binding.generation == rollout.base_generation)
    moved = Moved(
        route_key=route_key,
        before={str(one): weight for one, weight in base.weights.items()},
        before_generation=base.generation,
        after={},
        generation=None,
        cause=serving.binding.cause,
        verdict_id=serving.verdict_id,
    )
    return at_step(ws, moved, serving.binding)


@task(name="take-up-canary", **RECORD)
def take_up_canary(moved: Moved, why: str) -> Moved:
    """Let it go on where it was paused."""
    routing.resume(open_workspace(), str(moved.rollout_id), why)
    return moved
