"""The automation that lets a matrix that has ended start a proposal: what it listens to, and what it asks for."""

import asyncio
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from prefect.events.schemas.events import RelatedResource, Resource
from prefect.server.events.actions import RunDeployment

from deployments.automations import proposing
from deployments.bootstrap import _installation
from flows.benchmark_matrix import DRY_RUN
from flows.propose_routing import ProposeRoutingRequest

MADE = proposing("dev-", "dev-local", UUID(int=7), "relay")


def related(flow, pool):
    def one(role, name, resource_id):
        return RelatedResource(
            {"prefect.resource.id": resource_id, "prefect.resource.role": role, "prefect.resource.name": name}
        )

    tag = f"prefect.tag.pointsman-pool:{pool}"
    return [one("flow", flow, "prefect.flow.1"), one("tag", f"pointsman-pool:{pool}", tag)]


@pytest.mark.parametrize(
    ("flow", "pool", "heard"),
    [
        ("benchmark-matrix", "dev-local", True),
        ("benchmark-matrix", "local", False),
        ("choose-route", "dev-local", False),
    ],
)
def test_only_a_matrix_of_ones_own_pool_is_heard_of(flow, pool, heard):
    trigger = MADE.trigger
    assert trigger.expect == {"prefect.flow-run.Completed"}
    for message, so in (("", True), ("All states completed.", True), (f"{DRY_RUN}: nothing was sent.", False)):
        ended = Resource({"prefect.resource.id": "prefect.flow-run.1", "prefect.state-message": message})
        assert trigger.match.matches(ended) is so
    found = related(flow, pool)
    assert all(any(wanted.matches(one) for one in found) for wanted in trigger.match_related) is heard


@pytest.mark.parametrize("run_id", [None, "mine"])
def test_what_it_asks_for_is_a_request_about_the_run_of_the_matrix(run_id, monkeypatch):
    """As the server fills it in, which has its own way with templates."""
    (action,) = MADE.actions
    flow_run = SimpleNamespace(id=uuid4(), parameters={"request": {"run_id": run_id} if run_id else {}})

    async def known(*_):
        return {"flow_run": flow_run}

    monkeypatch.setattr(RunDeployment, "_template_context", known)
    on_server = RunDeployment.model_validate(action.model_dump())
    assert on_server.deployment_id == UUID(int=7)
    asked = ProposeRoutingRequest(**asyncio.run(on_server.render_parameters(None))["request"])
    assert (asked.of_run, asked.target) == (run_id or str(flow_run.id), "relay")


def test_it_is_made_only_where_it_is_asked_for(monkeypatch):
    monkeypatch.delenv("POINTSMAN_PREFECT_PREFIX", raising=False)
    assert _installation(["--propose"])[0].propose == "lab"
    assert _installation(["--propose", "relay"])[0].propose == "relay"
    assert _installation([])[0].propose is None
