"""The golden run: one tiny choose-route in the shared world, and what tests read of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort

from flows.apply_routing import ApplyRoutingRequest, apply_routing
from flows.choose_route import ChooseRouteRequest, RouteChoice, choose_route
from pointsman.ids import RouteKey
from pointsman.routing import current
from pointsman.workspace import Workspace
from tests.few_inputs import variant
from tests.world import FEW_INPUTS, LabWorld

RUN_ID = "golden"
INCUMBENT = variant("vp9-rt6-crf34")
CHALLENGER = variant("x265-fast-crf28")
PROBE_JOBS = 4


@dataclass
class Golden:
    """The run, and what tests read of it."""

    world: LabWorld
    ws: Workspace
    request: ChooseRouteRequest
    flow_run_id: UUID
    choice: RouteChoice
    flag_before: Any
    accepted: int

    def rows(self, table: sa.Table, **equal: Any) -> list[Any]:
        wanted = sa.select(table).where(*(table.c[name] == value for name, value in equal.items()))
        with self.ws.database.begin() as connection:
            return list(connection.execute(wanted))

    @property
    def benchmark_id(self) -> str:
        return self.choice.preparation.benchmark_id

    @property
    def verdict_id(self) -> str:
        return self.choice.decided.verdict_id

    @property
    def serving(self) -> Any:
        return serving(self.world)


def serving(world: LabWorld) -> Any:
    """What the gateway's file says of the route."""
    return json.loads(world.flagd_file.read_text())["flags"][world.route_key]


def artifacts(flow_run_id: UUID, key: str) -> list[str]:
    """The markdown of a run's artifacts under a key, oldest first, as the Prefect API has them."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(
                key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id])
            ),
            sort=ArtifactSort.CREATED_DESC,
        )
    return [str(one.data) for one in reversed(found)]


def run_golden(world: LabWorld) -> Golden:
    """Put the incumbent on the route, then choose."""
    ws = world.workspace()
    binding = current(ws, RouteKey.parse(world.route_key))
    assert binding is not None
    apply_routing(
        ApplyRoutingRequest(
            route_key=world.route_key,
            variant=INCUMBENT,
            expected_generation=binding.generation,
            dry_run=False,
            input_set=FEW_INPUTS,
            probe_jobs=1,
            run_id="before-golden",
        )
    )
    flag_before = serving(world)
    request = ChooseRouteRequest(
        route_key=world.route_key,
        input_set=FEW_INPUTS,
        dry_run=False,
        variants=(INCUMBENT, CHALLENGER),
        scenario={
            "name": "golden-load",
            "stages": [{"name": "steady", "kind": "constant", "rate": 2.0, "duration_s": 2.0}],
            "drain_limit_s": 30.0,
        },
        # Few inputs: what counts as not worse is wide enough to be seen with them.
        rules={"quality_margin": 10.0, "min_saving": 0.0, "alpha": 0.05, "swaps": 999},
        judge="local",
        probe_jobs=PROBE_JOBS,
        run_id=RUN_ID,
    )
    state = choose_route(request, return_state=True)
    return Golden(
        world=world,
        ws=ws,
        request=request,
        flow_run_id=state.state_details.flow_run_id,
        choice=state.result(),
        flag_before=flag_before,
        accepted=world.accepted(),
    )
