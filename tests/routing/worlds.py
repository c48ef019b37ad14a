"""What the routing tests share: variants of one route, a workspace that knows them, and a gateway in memory."""

from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from pointsman.clock import ManualClock
from pointsman.errors import Conflict
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.storage import LocalResults, open_database, tables
from pointsman.workspace import Workspace

DATABASE = "pointsman.db"
ROUTE = RouteKey("postcard-1", "lab", "demo")
OTHER_ROUTE = RouteKey("postcard-2", "lab", "demo")


def variant(workflow: str, *, provider: str = "lab-cpu", route: RouteKey = ROUTE) -> VariantId:
    return VariantId(route.effect_revision, workflow, route.environment, route.stage, provider, "base")


A, B, C = variant("x264"), variant("x265"), variant("vp9", provider="lab-spot")


def workspace(folder: Path, *, migrate: bool = True) -> Workspace:
    return Workspace(
        database=open_database(f"sqlite:///{folder / DATABASE}", migrate=migrate),
        results=LocalResults(folder / "results"),
        clock=ManualClock(),
        actor="tester",
    )


def register(ws: Workspace, *variants: VariantId, enabled: bool = True) -> None:
    with ws.database.begin() as connection:
        connection.execute(
            sa.insert(tables.variants),
            [
                {
                    "id": str(one),
                    "route_key": str(one.route_key),
                    "target": "lab",
                    "params": {},
                    "enabled": enabled,
                    "created_at": ws.clock.now(),
                }
                for one in variants
            ],
        )


class MemoryGateway:
    """A gateway that follows the protocol and counts what it was asked."""

    def __init__(self) -> None:
        self.shown: dict[RouteKey, Binding] = {}
        self.published: list[Binding] = []

    def read(self, key: RouteKey) -> Binding | None:
        return self.shown.get(key)

    def unready(self, key: RouteKey, weights: Mapping[VariantId, int]) -> str:
        return ""

    def publish(self, new: Binding, *, expected: int | None, at_once: bool = False) -> None:
        self.published.append(new)
        shown = self.shown.get(new.route_key)
        if shown == new:
            return
        generation = shown.generation if shown else None
        if generation != expected or (generation is not None and new.generation <= generation):
            raise Conflict(f"shows {generation}, expected {expected}, new {new.generation}", code="gateway_conflict")
        self.shown[new.route_key] = new
