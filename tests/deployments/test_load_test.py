"""A load test started on a deployment of a real Prefect server, followed to its end, given up, cancelled."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Cancelled as CancelledState
from prefect.states import Completed, Crashed, Failed, State

from deployments.load_test import Order, main, run, start
from pointsman.clock import ManualClock
from pointsman.errors import Cancelled, RunFailed
from pointsman.safety import PRODUCTION, approval_id
from tests.world import LabWorld

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]
CHECKOUT = Path(__file__).resolve().parents[2]
VARIANT = "er:postcard-1:wf:x264:env:dev:stage:demo:provider:lab:exp:base"
DEPLOYMENT = "run-scenario/ci-ecs"


class Worker(ManualClock):
    """A clock that, when somebody waits, does what a worker would: it carries the flow run a step further."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        super().__init__()
        self._steps = list(steps)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self._steps:
            self._steps.pop(0)()


def arguments(tmp_path: Path, *more: str, variant: str = VARIANT, run_id: str = "gh-1") -> list[str]:
    scenario = str(CHECKOUT / "lab" / "scenarios" / "phase01-smoke.yaml")
    given = {
        "deployment": DEPLOYMENT,
        "scenario": scenario,
        "environment": "dev",
        "variant": variant,
        "input-set": "inputs",
        "run-id": run_id,
        "results": str(tmp_path / "results"),
        "output": str(tmp_path / "out"),
    }
    return [*(word for name, value in given.items() for word in (f"--{name}", value)), *more]


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Order]:
    """What `main` hands over to `run` for some arguments."""

    def ask(*more: str, run_id: str) -> Order:
        taken: list[Order] = []
        monkeypatch.setattr("deployments.load_test.run", lambda one, **_: taken.append(one) or 0)
        assert main(arguments(tmp_path, *more, run_id=run_id)) == 0
        return taken[0]

    return ask


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def deployed(lab_world: LabWorld) -> None:
    """The deployment, once; nothing serves its pool, so that runs go on only when a test says so."""
    with get_client(sync_client=True) as client:
        if any(pool.name == "ci-ecs" for pool in client.read_work_pools()):
            return
        labels = {"type": "object", "default": {"Environment": "dev"}}
        template = {
            "job_configuration": {"labels": "{{ labels }}"},
            "variables": {"type": "object", "properties": {"labels": labels}},
        }
        client.create_work_pool(WorkPoolCreate(name="ci-ecs", type="process", base_job_template=template))
        flow_id = client.create_flow_from_name("run-scenario")
        client.create_deployment(flow_id, name="ci-ecs", work_pool_name="ci-ecs")


def put(flow_run_name: str, state: State) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(of_name(flow_run_name), state, force=True)


def of_name(flow_run_name: str) -> UUID:
    with get_client(sync_client=True) as client:
        return next(one.id for one in client.read_flow_runs(limit=200) if one.name == flow_run_name)


def leave_results(tmp_path: Path, run_id: str) -> None:
    folder = tmp_path / "results" / "dev" / "phase01-smoke" / "20260131T080000" / run_id
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"run_id": run_id, "totals": {"planned": 30}}))


def drive(tmp_path: Path, asked_for: Order, worker: ManualClock, at_most_s: float = 600) -> int:
    return run(asked_for, results=str(tmp_path / "results"), output=tmp_path / "out", at_most_s=at_most_s, clock=worker)


def test_a_load_test_is_started_followed_and_fetched_and_a_repetition_is_the_same_run(
    deployed: None, tmp_path: Path, asked: Callable[..., Order], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = asked(run_id="gh-done")
    leave_results(tmp_path, "gh-done")
    assert start(wanted) == start(wanted)
    with get_client(sync_client=True) as client:
        made = client.read_flow_run(of_name("gh-done"))
    assert made.parameters["request"]["run_id"] == "gh-done"
    assert made.parameters["request"]["scenario"]["name"] == "phase01-smoke"
    assert drive(tmp_path, wanted, Worker(lambda: put("gh-done", Completed()))) == 0
    told = (tmp_path / "out" / "summary.md").read_text()
    assert "| state | Completed |" in told
    assert "phase01-smoke/20260131T080000/gh-done" in told
    assert json.loads((tmp_path / "out" / "results.json").read_text())["totals"] == {"planned": 30}
    assert "Completed" in capsys.readouterr().out


def test_a_run_that_failed_or_left_nothing_fails_and_says_why(
    deployed: None, tmp_path: Path, asked: Callable[..., Order]
) -> None:
    wanted = asked(run_id="gh-failed")
    leave_results(tmp_path, "gh-failed")
    assert drive(tmp_path, wanted, Worker(lambda: put("gh-failed", Failed(message="p95 was 6210 ms")))) == 1
    assert "| state | Failed (p95 was 6210 ms) |" in (tmp_path / "out" / "summary.md").read_text()
    wanted = asked(run_id="gh-throttled")
    throttled = Crashed(message="An error occurred (ThrottlingException) when calling the RunTask operation")
    assert drive(tmp_path, wanted, Worker(lambda: put("gh-throttled", throttled))) == 1
    told = (tmp_path / "out" / "summary.md").read_text()
    assert "| trouble | ecs_throttled |" in told
    assert "| what to do | ECS takes fewer calls" in told
    wanted = asked(run_id="gh-lost")
    assert drive(tmp_path, wanted, Worker(lambda: put("gh-lost", Completed()))) == 1
    assert "is not allowed; allowed: a run with results.json" in (tmp_path / "out" / "summary.md").read_text()


def test_a_run_that_does_not_end_is_cancelled(deployed: None, tmp_path: Path, asked: Callable[..., Order]) -> None:
    wanted = asked(run_id="gh-slow")
    with pytest.raises(RunFailed, match="did not end within 10 s") as raised:
        drive(tmp_path, wanted, ManualClock(), at_most_s=10)
    assert raised.value.code == "load_test_timeout"
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(of_name("gh-slow")).state
    assert state is not None
    assert state.name in ("Cancelling", "Cancelled")


def test_being_told_to_stop_cancels_the_run(deployed: None, tmp_path: Path, asked: Callable[..., Order]) -> None:
    wanted = asked(run_id="gh-told")
    with pytest.raises(Cancelled):
        drive(tmp_path, wanted, Worker(lambda: signal.raise_signal(signal.SIGTERM)))
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(of_name("gh-told")).state
    assert state is not None
    assert state.name in ("Cancelling", "Cancelled")
    put("gh-told", CancelledState())


def test_an_approval_travels_as_a_tag_beside_the_pools_own(
    deployed: None, tmp_path: Path, asked: Callable[..., Order]
) -> None:
    given = approval_id(PRODUCTION, "gh-approved")
    wanted = asked("--approval", given, run_id="gh-approved")
    with get_client(sync_client=True) as client:
        made = client.read_flow_run(start(wanted))
    assert made.job_variables["labels"] == {"Environment": "dev", "Approval": given}
    assert made.parameters["request"]["production"] == "dev"


def test_an_approval_of_another_run_is_refused_with_the_one_that_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(tmp_path, "--approval", "ap_0123456789ab", run_id="gh-other")) == 2
    assert f"allowed: {approval_id(PRODUCTION, 'gh-other')}, which" in capsys.readouterr().err


def test_a_variant_of_another_environment_is_refused_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = VARIANT.replace("env:dev", "env:prod")
    assert main(arguments(tmp_path, variant=elsewhere)) == 2
    assert "a variant with env:dev" in capsys.readouterr().err
