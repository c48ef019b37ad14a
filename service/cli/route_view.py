"""Canaries, what is held for a route, and its rules, as a terminal shows them."""

from __future__ import annotations

from deployments.blocks import saved_targets
from pointsman.benchmark import variant
from pointsman.dispatch import TargetSpec
from pointsman.errors import GuardRefused, NotFound
from pointsman.ids import RouteKey
from pointsman.model import Binding
from pointsman.routing import Rollout, RoutingRules, confirm, litellm_config, litellm_yaml, open_hold
from pointsman.workspace import Workspace
from service.cli.output import agree, console, emit, table
from service.cli.running import connect


def confirm_switch(ws: Workspace, key: RouteKey, reason: str, *, yes: bool, as_json: bool) -> None:
    """Take a switch for good. Raises `GuardRefused` (`nothing_to_promote`) where nothing is held."""
    held = open_hold(ws, key)
    if held is None:
        raise GuardRefused(
            f"{key} is in no canary, and its last switch is confirmed.",
            instruction=f"pointsman route show {key}",
            code="nothing_to_promote",
        )
    agree(yes, key, f"Confirm the switch of {key}: generation {held.generation} is held no longer.")
    confirm(ws, key, reason)
    labels = ", ".join(one.label for one in held.variants)
    document = {"route_key": str(key), "confirmed": True, "released": [str(one) for one in held.variants]}
    emit(as_json, document, lambda: console.print(f"Confirmed; {labels} is held no longer.", markup=False))


def show_canary(rollout: Rollout, as_json: bool) -> None:
    """Its steps, its state, and what was found."""
    document = {
        "route_key": str(rollout.route_key),
        "rollout_id": rollout.id,
        "state": rollout.state,
        "steps": list(rollout.steps),
        "findings": list(rollout.findings),
    }

    def render() -> None:
        rows = [(one["at"][:19], one.get("percent", ""), one["decision"], one["why"]) for one in rollout.findings]
        table(f"Canary of {rollout.route_key}: {rollout.state}", ("at (UTC)", "percent", "finding", "why"), rows)

    emit(as_json, document, render)


def show_litellm(ws: Workspace, key: RouteKey, binding: Binding | None, as_json: bool) -> None:
    """The route as LiteLLM's proxy would be configured. Raises `InputRefused` where it cannot be."""
    if binding is None:
        raise NotFound("binding", str(key), "a route that has one")
    connect()
    targets = {one.name: one for one in saved_targets()}

    def target_of(name: str) -> TargetSpec:
        if name not in targets:
            raise NotFound("target", name, ", ".join(targets) or "none is saved")
        return targets[name]

    config = litellm_config(binding, lambda one: variant(ws, one), target_of)
    emit(as_json, config, lambda: console.print(litellm_yaml(config), markup=False, soft_wrap=True))


def show_rules(key: RouteKey, rules: RoutingRules, as_json: bool) -> None:
    """Every rule and its value."""
    document = rules.model_dump(mode="json")
    rows = [(name, "not asked" if value is None else value) for name, value in document.items()]
    emit(as_json, document, lambda: table(f"Rules of {key}", ("rule", "value"), rows))
