"""A load test of a shared environment holds its turn on the Prefect server, and is refused where there is none."""

from __future__ import annotations

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from pointsman.benchmark import register_environment
from pointsman.errors import DependencyDown, GuardRefused
from tasks.opening import open_workspace
from tasks.turns import turn_of
from tests.few_inputs import free_ports
from tests.scenario.fake_engine import plan
from tests.world import LabWorld

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]


@pytest.fixture
def shared(lab_world: LabWorld, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run of an environment that others use as well."""
    monkeypatch.setenv("POINTSMAN_PREFECT_PREFIX", "turns-")
    register_environment(open_workspace(), "turns", name="Shared", kind="staging")
    return plan(open_workspace(), "run-turns", environment_id="turns")


def test_a_run_holds_its_turn_and_gives_it_back(shared: str) -> None:
    with pytest.raises(GuardRefused, match=r"no limit turns-load-test.*deployments\.bootstrap"), turn_of(shared):
        pytest.fail("it got a turn that does not exist")
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="turns-load-test", limit=1))
        with turn_of(shared):
            assert client.read_global_concurrency_limit_by_name("turns-load-test").active_slots == 1
        assert client.read_global_concurrency_limit_by_name("turns-load-test").active_slots == 0
        client.delete_global_concurrency_limit_by_name("turns-load-test")


def test_without_the_server_nothing_is_sent(shared: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMAN_PREFECT_PREFIX", "away-")  # Prefect keeps a client for each limit
    away = {PREFECT_API_URL: f"http://127.0.0.1:{free_ports(1)[0]}/api", PREFECT_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(away), pytest.raises(DependencyDown, match="did not answer"), turn_of(shared):
        pytest.fail("it got a turn of nobody")


def test_on_this_machine_nobody_waits(lab_world: LabWorld) -> None:
    run = plan(open_workspace(), "run-turns-lab")
    with turn_of(run), turn_of(run):
        pass
