"""A small real world for tests of the chain: a Prefect server, the lab, few inputs, all in one temporary home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_LOGGING_LEVEL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    temporary_settings,
)

from pointsman.ids import VariantId
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from service.cli.lab_setup import gateway_file, prepare_lab
from service.cli.running import hand_over
from service.cli.world import World, executor_secret
from tests.few_inputs import free_ports, register_few_inputs

FEW_INPUTS = "one-clip-of-each-photograph"


@dataclass(frozen=True)
class LabWorld:
    """A running world and what tests ask of it. Its settings hold only inside `active`."""

    home: Path
    world: World
    incumbent: VariantId

    @property
    def route_key(self) -> str:
        return str(self.incumbent.route_key)

    @property
    def flagd_file(self) -> Path:
        return gateway_file(self.home)

    @contextmanager
    def active(self) -> Iterator[None]:
        with _environment(self.home), _prefect(self.world.prefect_api_url or ""):
            yield

    def workspace(self) -> Workspace:
        return Workspace.open(load_settings(home=self.home), actor="a test")

    def lab(self, method: str, path: str, body: Any = None) -> Any:
        answer = httpx.request(
            method,
            f"{self.world.lab_url}{path}",
            json=body,
            headers={"X-Studio-Executor-Secret": executor_secret(self.home)},
            timeout=20,
        )
        return answer.raise_for_status().json()

    def accepted(self) -> int:
        return int(self.lab("GET", "/v1/stats")["accepted"])


@contextmanager
def running_world(home: Path) -> Iterator[LabWorld]:
    """Start Prefect and the lab on free ports, register few inputs, and end both."""
    prefect_port, lab_port = free_ports(2)
    world = World(home)
    with _environment(home), _prefect(f"http://127.0.0.1:{prefect_port}/api"):
        try:
            incumbent = prepare_lab(world, prefect_port=prefect_port, lab_port=lab_port, owner="tests")
            register_few_inputs(Workspace.open(load_settings(home=home), actor="a test"), home, FEW_INPUTS, 8)
            yield LabWorld(home, world, incumbent)
        finally:
            hand_over()
            world.stop(list(world.processes))


@contextmanager
def _environment(home: Path) -> Iterator[None]:
    """POINTSMAN_HOME and whatever `prepare_lab` sets, until the block ends."""
    before = dict(os.environ)
    # Worlds may be nested: one must not be started with the secret of another.
    for name in ("PREFECT_API_URL", "STUDIO_EXECUTOR_SECRET"):
        os.environ.pop(name, None)
    os.environ["POINTSMAN_HOME"] = str(home)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _prefect(api_url: str) -> Iterator[None]:
    """Prefect may have been imported long before: the environment comes too late for its settings."""
    settings: dict[Any, Any] = {
        PREFECT_API_URL: api_url,
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        PREFECT_LOGGING_LEVEL: "ERROR",
        # Its thread makes every flow last a second or more.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(settings):
        yield
