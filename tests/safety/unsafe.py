"""Everything that may be unsafe about a run against production, and the rule that refuses it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from lab.aws.world import autoscaling
from pointsman.safety import Forecast, Identity
from pointsman.scenario import Fault, Scenario, Stage
from tests.safety.production_world import BOB, DISPATCHES, MACHINES, SCENARIO, World, costing

Mutation = Callable[[World], Any]


def fault(instances: int) -> Scenario:
    named = Fault(template="EXT1", offset_s=40, duration_s=10, instances=instances)
    stage = Stage(name="steady", rate=2, duration_s=60, fault=named)
    return Scenario(name="evening", stages=(stage,), max_in_flight=10)


def settings(**values: str) -> Mutation:
    return lambda world: world.environ.update({f"POINTSMAN_{name.upper()}": value for name, value in values.items()})


def unhealthy(world: World) -> None:
    autoscaling().set_instance_health(MACHINES[0], "Unhealthy")


BEFORE_APPROVAL: dict[str, tuple[str, Mutation]] = {
    "nobody was asked": ("awaiting_approval", lambda world: None),
    "the approval is for another run": ("awaiting_approval", lambda world: world.approve("run2")),
    "the approval is only for money": ("awaiting_approval", lambda world: world.approve(scope="load-test run")),
    "nobody has decided": (
        "awaiting_approval",
        lambda world: (world.approve(), world.approval(decision=None, decided_by=None, decided_at=None)),
    ),
}
"""Unsafe for want of an approval: these runs wait for it."""
UNSAFE: dict[str, tuple[str, Mutation]] = {
    # The keys.
    "it does not say production": ("production_not_named", lambda world: world.ask(production=None)),
    "it names another environment": ("production_named_another", lambda world: world.ask(production="staging")),
    "it names the environment otherwise": ("production_named_another", lambda world: world.ask(production="PROD")),
    "production was never registered": (
        "environment_not_registered",
        lambda world: world.ask(environment_id="production", production="production"),
    ),
    "a viewer starts it": (
        "role_too_low",
        lambda world: world.ask(requester=Identity("eve", "viewer", "token")),
    ),
    "it was rejected": ("approval_rejected", lambda world: world.approval(decision="rejected")),
    "the approval has expired": ("approval_expired", lambda world: world.ws.clock.sleep(24 * 3600 + 1)),
    "the approval expires at this moment": ("approval_expired", lambda world: world.ws.clock.sleep(24 * 3600)),
    "the approval is good for a month": (
        "approval_too_long",
        lambda world: world.approval(expires_at=world.ws.clock.now() + timedelta(days=30)),
    ),
    "who approved starts it": ("own_approval", lambda world: world.ask(requester=BOB)),
    "the approval is for another environment": (
        "approval_of_another_place",
        lambda world: world.approval(environment_id="staging"),
    ),
    "the approval is for no environment": (
        "approval_of_another_place",
        lambda world: world.approval(environment_id=None),
    ),
    "the approval is for less money": ("approval_over_limit", lambda world: world.approval(limit_usd=Decimal("9.99"))),
    "it became dearer since": ("approval_over_limit", lambda world: setattr(world, "forecast", costing("20.001"))),
    "what it costs is not known any more": (
        "approval_over_limit",
        lambda world: setattr(world, "forecast", Forecast.unknown(DISPATCHES, "no price")),
    ),
    "the approval is for a lower rate": ("approval_over_rate", lambda world: world.approval(limit_per_s=1)),
    "the approval is for no rate": ("approval_over_rate", lambda world: world.approval(limit_per_s=None)),
    "it became faster since": ("approval_over_rate", lambda world: world.rate(3)),
    "its arrivals come in bursts": (
        "approval_over_rate",
        lambda world: world.ask(scenario=SCENARIO.model_copy(update={"arrivals": "poisson"})),
    ),
    # The place.
    "its account is not allowed": ("account_not_allowed", settings(production_accounts="999999999999")),
    "no account is allowed": ("account_not_allowed", settings(production_accounts=" , ")),
    "its account is not registered": ("account_not_registered", lambda world: world.environment(account=None)),
    "the credentials are another account's": (
        "wrong_account",
        lambda world: world.environment(account="999999999999"),
    ),
    "AWS does not say which account it is": ("account_unknown", lambda world: world.denied.add("GetCallerIdentity")),
    "AWS is out of reach": ("account_unknown", lambda world: setattr(world, "out_of_reach", True)),
    "there are no credentials": ("account_unknown", lambda world: setattr(world, "aws", None)),
    "its region is not allowed": ("region_not_allowed", settings(production_regions="eu-west-1")),
    "its region is not registered": ("region_not_registered", lambda world: world.environment(region=None)),
    "its cluster is not allowed": ("cluster_not_allowed", settings(production_clusters="other,effect")),
    "its cluster is gone": ("cluster_unknown", lambda world: world.environment(ecs_cluster="gone")),
    "its cluster was deleted": ("cluster_unknown", lambda world: world.environment(ecs_cluster="of-yesterday")),
    "its cluster cannot be looked at": ("cluster_unknown", lambda world: world.denied.add("DescribeClusters")),
    "its cluster is in another region": ("cluster_elsewhere", lambda world: world.environment(region="eu-west-1")),
    "nothing is registered that it is": (
        "cluster_not_registered",
        lambda world: world.environment(ecs_cluster=None, asg_name=None),
    ),
    "its group is not allowed": ("group_not_allowed", settings(production_groups="effects")),
    "its group is gone": ("group_unknown", lambda world: world.environment(asg_name="gone")),
    "its group cannot be looked at": (
        "group_unknown",
        lambda world: world.denied.add("DescribeAutoScalingGroups"),
    ),
    "its group is in another account": ("group_elsewhere", lambda world: world.environment(account="999999999999")),
    "its group has lost a machine": ("group_degraded", unhealthy),
    # The size.
    "it has too many dispatches": ("too_many_dispatches", settings(max_dispatches=str(DISPATCHES - 1))),
    "it has too many in flight": ("too_many_in_flight", settings(max_in_flight="9")),
    "it is over production's cap": ("over_run_budget", lambda world: setattr(world, "forecast", costing("50.01"))),
    "it is over the cap of every run": ("over_run_budget", settings(max_run_usd="9.99")),
    "the month's money is gone": ("over_month_budget", lambda world: world.spend("1990.01")),
    "it is over production's rate": ("over_production_rate", lambda world: world.rate(6)),
    "the rate was capped since": ("over_production_rate", settings(max_production_per_s="1")),
    "another run is starting": ("another_run_goes_on", lambda world: world.another_run("starting")),
    "another run goes on": ("another_run_goes_on", lambda world: world.another_run("running")),
    "another run is about to begin": (
        "another_run_goes_on",
        lambda world: world.another_run("created", admitted=True),
    ),
    "another run still drains": ("another_run_goes_on", lambda world: world.another_run("draining")),
    "another run is not yet cancelled": ("another_run_goes_on", lambda world: world.another_run("cancelling")),
    "it has a fault": ("fault_in_production", lambda world: world.ask(scenario=fault(1))),
    "its fault takes most machines away": ("blast_radius", lambda world: world.ask(scenario=fault(3))),
    "its fault takes an unknown share away": (
        "blast_radius",
        lambda world: (world.ask(scenario=fault(1)), world.environment(asg_name=None)),
    ),
    "a matrix goes on": ("another_run_goes_on", lambda world: world.another_matrix("running")),
    "a matrix is about to begin": ("another_run_goes_on", lambda world: world.another_matrix("created")),
    # The brakes.
    "the safety lever is engaged": ("safety_lever_engaged", lambda world: world.lever("engaged")),
    "the safety lever is being engaged": ("safety_lever_engaged", lambda world: world.lever("engaging")),
    "the safety lever cannot be read": ("safety_lever_unknown", lambda world: world.denied.add("GetSafetyLever")),
    "no alarm is named": ("alarms_not_named", settings(production_alarms="")),
    "a named alarm does not exist": ("alarm_absent", settings(production_alarms="effects-5xx,effects-typo")),
    "an alarm rings": ("alarm_rings", lambda world: world.ring("ALARM")),
    "alarms cannot be read": ("alarms_unknown", lambda world: world.denied.add("DescribeAlarms")),
}
"""By what is unsafe about a run that was approved: the rule that refuses it."""
