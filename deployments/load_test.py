"""Starts a load test on a deployment, waits for its end and fetches what it left: what CI runs, and a person may.

python -m deployments.load_test --deployment run-scenario/dev-ecs --scenario lab/scenarios/phase01-smoke.yaml \\
    --environment dev --variant VARIANT --input-set INPUTS --run-id mine-1 --results s3://BUCKET --output out

Prefect is reached as usual, by PREFECT_API_URL and PREFECT_API_AUTH_STRING. Being told to stop cancels the run.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from deployments.run_results import fetch, open_store, summary
from pointsman.clock import Clock, SystemClock
from pointsman.errors import Cancelled, InputRefused, PointsmanError, RunFailed
from pointsman.ids import VariantId
from pointsman.safety import PRODUCTION, approval_id
from pointsman.scenario import load_scenario, trouble_of

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import State

_POLL_S = 5.0


@dataclass(frozen=True, slots=True)
class Order:
    """One load test to start. `approval` is the id of the approval that a production run carries."""

    deployment: str
    request: dict[str, Any]
    environment: str
    approval: str | None

    @property
    def run_id(self) -> str:
        return str(self.request["run_id"])

    @property
    def scenario(self) -> str:
        return str(self.request["scenario"]["name"])


def order(arguments: argparse.Namespace) -> Order:
    """What the arguments ask for. Raises `InputRefused`, also for a variant of another environment."""
    variant = VariantId.parse(arguments.variant)
    if variant.environment != arguments.environment:
        raise InputRefused(
            "--variant",
            arguments.variant,
            f"a variant with env:{arguments.environment}",
            instruction="Choose the environment that the variant belongs to, or a variant of this one.",
        )
    scenario = load_scenario(Path(arguments.scenario))
    request = {
        "scenario": scenario.model_dump(mode="json"),
        "variant": arguments.variant,
        "input_set": arguments.input_set,
        "seed": arguments.seed,
        "run_id": arguments.run_id,
    }
    if arguments.approval:
        request["production"] = arguments.environment
        if arguments.approval != (belongs := approval_id(PRODUCTION, arguments.run_id)):
            raise InputRefused(
                "--approval",
                arguments.approval,
                f"{belongs}, which is the approval of the run {arguments.run_id}",
                instruction="Name the run that was approved with --run-id: an approval is for one run.",
            )
    return Order(arguments.deployment, request, arguments.environment, arguments.approval or None)


def start(asked: Order) -> UUID:
    """Create the flow run and return its id; the same run id again returns the same flow run."""
    from prefect.deployments import run_deployment

    made: Any = run_deployment(
        asked.deployment,
        parameters={"request": asked.request},
        timeout=0,
        as_subflow=False,
        flow_run_name=asked.run_id,
        idempotency_key=asked.run_id,
        job_variables=_job_variables(asked),
        tags=["ci"],
    )
    flow_run_id: UUID = made.id
    return flow_run_id


def _job_variables(asked: Order) -> dict[str, Any] | None:
    """The pool's and the deployment's labels, with the approval among them: ECS gets them as tags of the task."""
    if asked.approval is None:
        return None
    from prefect.client.orchestration import get_client

    from blocks.flow_runs import APPROVAL_TAG, labelled

    with get_client(sync_client=True) as client:
        return labelled(client, client.read_deployment_by_name(asked.deployment), {APPROVAL_TAG: asked.approval})


def await_end(flow_run_id: UUID, *, at_most_s: float, clock: Clock) -> State[Any]:
    """The state in which the flow run ended. Raises `RunFailed` (`load_test_timeout`), having cancelled it."""
    from prefect.client.orchestration import get_client

    began, shown = clock.monotonic(), ""
    with get_client(sync_client=True) as client:
        while True:
            state = client.read_flow_run(flow_run_id).state
            name = state.name if state else "unknown"
            if name != shown:
                _say(f"{clock.now():%H:%M:%S} {name}")
                shown = str(name)
            if state is not None and state.is_final():
                return state
            if clock.monotonic() - began > at_most_s:
                cancel(flow_run_id)
                raise RunFailed(
                    f"The load test did not end within {at_most_s:.0f} s and was told to stop; it was {shown}.",
                    instruction="Read the flow run in the Prefect UI; a run that waits for approval: pointsman approve",
                    code="load_test_timeout",
                )
            clock.sleep(_POLL_S)


def cancel(flow_run_id: UUID) -> None:
    """Ask Prefect to cancel the flow run; one that has ended stays as it is."""
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelling

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, Cancelling())


def run(asked: Order, *, results: str, output: Path, at_most_s: float, clock: Clock) -> int:
    """Start, wait, fetch, and write `summary.md` beside what was fetched. Returns 0 for a run that completed."""
    flow_run_id = start(asked)
    _say(f"flow run {flow_run_id} of {asked.deployment}, run {asked.run_id}")
    try:
        ended = await_end(flow_run_id, at_most_s=at_most_s, clock=clock)
    except Cancelled:
        cancel(flow_run_id)
        raise
    output.mkdir(parents=True, exist_ok=True)
    place = {"environment": asked.environment, "scenario": asked.scenario}
    missing = ""
    try:
        folder = fetch(open_store(results), **place, run_id=asked.run_id, into=output)
        where = f"{results.rstrip('/')}/{folder}"
    except PointsmanError as error:
        missing = where = str(error)
    about = {"run": asked.run_id, "flow run": str(flow_run_id), **place, "variant": str(asked.request["variant"])}
    told = _told(flow_run_id, ended, clock)
    if trouble := trouble_of(told):
        about |= {"trouble": trouble.code, "what to do": trouble.instruction}
        _say(trouble.instruction)
    (output / "summary.md").write_text(summary(output, state=told, where=where, about=about))
    _say(told)
    return 0 if ended.is_completed() and not missing else 1


def _told(flow_run_id: UUID, ended: State[Any], clock: Clock) -> str:
    from prefect.client.orchestration import get_client

    from blocks import SAYS_WHY_WITHIN_S, told_of

    with get_client(sync_client=True) as client:
        began = clock.monotonic()
        while (told := told_of(client, flow_run_id, ended, for_s=clock.monotonic() - began)) is None:
            clock.sleep(SAYS_WHY_WITHIN_S / 4)
    return told


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code of CONTRACTS: 0 completed, 1 failed, 2 refused input, 4 a dependency is out of reach."""
    parser = argparse.ArgumentParser(prog="python -m deployments.load_test", description=__doc__)
    for name in ("deployment", "scenario", "environment", "variant", "input-set", "run-id", "results"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--approval", default="", help="Id of the approval that a production run carries.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="Folder for what is fetched, and summary.md.")
    parser.add_argument("--timeout-s", type=float, default=14_400.0)
    given = parser.parse_args(argv)
    for told in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told, _stop)
    try:
        return run(
            order(given), results=given.results, output=given.output, at_most_s=given.timeout_s, clock=SystemClock()
        )
    except PointsmanError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _stop(number: int, frame: object) -> NoReturn:
    raise Cancelled("Told to stop: the load test is cancelled.", code="load_test_cancelled")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
