"""A gateway that is a listener rule of an Application Load Balancer, whose target groups get the weights of a binding.

The rule's action says where traffic goes, its tags which generation that is. The two are two calls; the weights come
first, so that a gateway in between still names the older generation and is found out as drift, never the other way.
A load balancer refuses nothing that is older: whoever comes too late finds the newer generation in its tags, or puts it
back (`changing.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pointsman.errors import DependencyDown, InputRefused
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.routing.gateways.flagd_document import refuse_unless_newer
from pointsman.routing.gateways.protocol import ShowsNoBinding, shown_binding

_GENERATION = "pointsman:generation"
_MOST_GROUPS = 5
_WELL = ("healthy", "unused", "unavailable")
"""Of those that no rule names yet, and where checks of health are off, it is not known."""
_LAST = ("forward", "redirect", "fixed-response")
"""What ends a rule; it has one of these, after whatever it does before, such as to authenticate."""


class AlbSpec(BaseModel):
    """Which rule serves which route, and which target group is which variant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: dict[str, str] = Field(title="Rules", description="Route key to the ARN of its listener rule.")
    target_groups: dict[str, str] = Field(title="Target groups", description="Variant id to the ARN of its group.")

    def rule_of(self, key: RouteKey) -> str:
        """The ARN of a route's rule. Raises `InputRefused`."""
        if str(key) not in self.rules:
            raise InputRefused("route", str(key), f"a route with a rule: {', '.join(self.rules) or 'none'}")
        return self.rules[str(key)]


class AlbGateway:
    """Shows bindings as weights of target groups. The cause of a binding has no place here: the record has it."""

    def __init__(self, client: Any, spec: AlbSpec) -> None:
        self._client = client
        self._spec = spec
        self._groups = {VariantId.parse(one): arn for one, arn in spec.target_groups.items()}

    def read(self, key: RouteKey) -> Binding | None:
        """The weights of the route's rule; None for a rule that no generation was ever given to.

        Raises `InputRefused` for a route without a rule, `ShowsNoBinding` for a rule that shows none.
        """
        arn = self._spec.rule_of(key)
        tags = self._ask("describe_tags", ResourceArns=[arn])["TagDescriptions"][0]["Tags"]
        generation = next((one["Value"] for one in tags if one["Key"] == _GENERATION), None)
        if generation is None:
            return None
        (rule,) = self._ask("describe_rules", RuleArns=[arn])["Rules"]
        names = {group: variant for variant, group in self._groups.items() if variant.route_key == key}
        try:
            given = {one["TargetGroupArn"]: one["Weight"] for one in _forward(rule)["TargetGroups"]}
            return Binding(key, int(generation), {names[group]: weight for group, weight in given.items()}, "")
        except (KeyError, ValueError, InputRefused) as error:
            raise ShowsNoBinding(
                f"The rule {arn} shows no binding: {error!r}.",
                instruction=f"pointsman route show {key} --drift --restore",
            ) from error

    def publish(self, new: Binding, *, expected: int | None, at_once: bool = False) -> None:
        """Show `new`, as the protocol says, and as far as a load balancer can."""
        arn = self._spec.rule_of(new.route_key)
        shown = shown_binding(self, new.route_key)
        if new.leads_as(shown):
            return
        refuse_unless_newer(new, shown, expected, where=f"The rule {arn}")
        weights = dict(sorted(new.weights.items()))
        if len(weights) > _MOST_GROUPS:
            raise InputRefused("binding weights", len(weights), f"at most {_MOST_GROUPS} variants at a load balancer")
        groups = [{"TargetGroupArn": self._group(one), "Weight": weight} for one, weight in weights.items()]
        (rule,) = self._ask("describe_rules", RuleArns=[arn])["Rules"]
        actions = sorted(rule["Actions"], key=lambda one: int(one.get("Order", 0)))
        kept = [_again(one) for one in actions if one["Type"] not in _LAST]
        sticky = [one["ForwardConfig"].get("TargetGroupStickinessConfig") for one in actions if "ForwardConfig" in one]
        config = {"TargetGroups": groups} | ({"TargetGroupStickinessConfig": sticky[-1]} if any(sticky[-1:]) else {})
        last = {"Type": "forward", "Order": 1 + max((one.get("Order", 0) for one in kept), default=0)}
        self._ask("modify_rule", RuleArn=arn, Actions=[*kept, {**last, "ForwardConfig": config}])
        self._ask("add_tags", ResourceArns=[arn], Tags=[{"Key": _GENERATION, "Value": str(new.generation)}])

    def unready(self, key: RouteKey, weights: Mapping[VariantId, int]) -> str:
        """Also where a target group that is to get traffic has nobody who is well."""
        if len(weights) > _MOST_GROUPS:
            return f"a load balancer splits traffic among {_MOST_GROUPS} variants at most, and these are {len(weights)}"
        for variant, weight in sorted(weights.items()):
            if variant not in self._groups:
                return f"no target group of {variant.label} is named"
            if weight and (why := self._unwell(self._groups[variant])):
                return f"the target group of {variant.label} {why}"
        return ""

    def _unwell(self, group: str) -> str:
        targets = self._ask("describe_target_health", TargetGroupArn=group)["TargetHealthDescriptions"]
        states = Counter(one["TargetHealth"]["State"] for one in targets)
        if any(states[state] for state in _WELL):
            return ""
        found = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return f"has no target that is well ({found})" if found else "has no targets"

    def _group(self, variant: VariantId) -> str:
        if variant not in self._groups:
            known = ", ".join(map(str, self._groups)) or "none"
            raise InputRefused("binding weights", str(variant), f"variants with a target group: {known}")
        return self._groups[variant]

    def _ask(self, call: str, **asked: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError  # slow to import, and most commands ask no AWS

        try:
            return getattr(self._client, call)(**asked)
        except (ClientError, BotoCoreError) as error:
            raise DependencyDown(
                f"The load balancer did not do {call}: {error}.",
                instruction="Look at the rule and the rights of whoever changes it, then repeat the command.",
                code="gateway_unusable",
            ) from error


def _again(action: dict[str, Any]) -> dict[str, Any]:
    """An action as it is described, so that it can be given again: the secret of an OIDC client is never described."""
    if action["Type"] != "authenticate-oidc":
        return action
    return {**action, "AuthenticateOidcConfig": {**action["AuthenticateOidcConfig"], "UseExistingClientSecret": True}}


def _forward(rule: dict[str, Any]) -> dict[str, Any]:
    """Raises KeyError for a rule that does something else in the end."""
    config: dict[str, Any] = max(rule["Actions"], key=lambda one: int(one.get("Order", 0)))["ForwardConfig"]
    return config
