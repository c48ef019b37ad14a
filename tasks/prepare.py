"""The task that prepares a choose-route run."""

from __future__ import annotations

from prefect import task
from pydantic import BaseModel

from pointsman import preparation
from pointsman.preparation import Preparation
from tasks.checks import read_own_rules
from tasks.opening import open_gateway, open_price_book, open_target, open_workspace
from tasks.policies import RECORD
from tasks.quality import judge_identities


@task(name="prepare", **RECORD)
def prepare(run_id: str, request: BaseModel) -> Preparation:
    """Check everything the request names before anything is sent, and fix the plan of the run."""
    asked = request.model_dump(mode="json", exclude={"run_id"})
    read_own_rules()
    open_target(asked["target"])
    open_gateway(asked["route_key"], asked["gateway"])
    return preparation.prepare(
        open_workspace(),
        run_id=run_id,
        request=asked,
        route_key=asked["route_key"],
        variants=asked["variants"],
        incumbent=asked["incumbent"],
        input_set_id=asked["input_set"],
        under_load=asked["scenario"] is not None,
        judges=judge_identities(asked["judge"], asked["price_book"]),
        price_book_sha256=open_price_book(asked["price_book"]).sha256,
        rules=asked["rules"],
        repeats=asked["repeats"],
        seed=asked["seed"],
    )
