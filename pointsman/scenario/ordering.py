"""What a run's coordinator tells the shards that do not see its disk, in the run's row: when to start, and to end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pointsman.dispatch import Start
from pointsman.scenario.record import RunRecord, advance
from pointsman.workspace import Workspace

_NONE: dict[str, Any] = {"start": None, "cancel": False}


@dataclass(frozen=True, slots=True)
class Orders:
    """`metrics_json.runner.orders`. A cancel of the run itself stands elsewhere in its row."""

    start: Start | None = None
    cancel: bool = False


def give_orders(ws: Workspace, run_id: str, orders: Orders) -> None:
    told = {"start": None if orders.start is None else asdict(orders.start), "cancel": orders.cancel}
    advance(ws, run_id, None, metrics={"runner": {"orders": told}})


def read_orders(record: RunRecord) -> Orders:
    found = {**_NONE, **record.metrics_json["runner"].get("orders", {})}
    return Orders(Start(**found["start"]) if found["start"] else None, found["cancel"])
