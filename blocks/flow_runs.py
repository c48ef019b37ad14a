"""Runs of our deployed flows on a work pool, for whoever starts and watches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelling

from blocks.crashes import told_of
from pointsman.errors import DependencyDown, InputRefused
from pointsman.settings import ENVIRONMENT_NAMES, Settings

APPROVAL_TAG = "Approval"
"""The label, and on ECS the tag, without which IAM starts no task of production."""
_TIMEOUT_S = 5.0
_EVERY_S = 2.0
_AWAY_S = 10.0
"""How long a server that did not answer is left alone: whoever asks has a run to look after."""
_NOTHING: Mapping[str, Any] = {}


class FlowRuns:
    """Runs on the work pool `pool`. All runs are asked about together, every two seconds.

    They carry `labels` besides those of the pool and the deployment, and `variables` replace those of both. One that
    `needs_worker` is refused while no worker looks after the pool: nobody would start it.
    """

    def __init__(
        self,
        pool: str,
        *,
        needs_worker: bool = False,
        labels: Mapping[str, str] = _NOTHING,
        variables: Mapping[str, Any] = _NOTHING,
        time: Callable[[], float] = monotonic,
    ) -> None:
        self._pool = pool
        self._needs_worker = needs_worker
        self._labels = dict(labels)
        self._variables = dict(variables)
        self._time = time
        self._deployments: dict[str, tuple[UUID, dict[str, Any] | None]] = {}
        self._ended: dict[str, str | None] = {}
        self._seen_ended: dict[str, float] = {}
        self._tasks: dict[str, str] = {}
        self._ask_at = 0.0
        self._away_until = 0.0

    def launch(self, flow: str, request: Mapping[str, Any], *, key: str) -> str:
        with self._server() as client:
            if flow not in self._deployments:
                self._deployments[flow] = self._deployment(client, f"{flow}/{self._pool}")
            if self._needs_worker:
                self._require_worker(client)
            deployment_id, job_variables = self._deployments[flow]
            made = client.create_flow_run_from_deployment(
                deployment_id,
                parameters={"request": dict(request)},
                name=key,
                idempotency_key=key,
                job_variables=job_variables,
            )
        self._ended[str(made.id)] = None
        return str(made.id)

    def ended(self, run: str) -> str | None:
        if self._ended[run] is None and self._time() >= self._ask_at:
            self._ask()
            self._ask_at = self._time() + _EVERY_S
        return self._ended[run]

    def task(self, run: str) -> str | None:
        return self._tasks.get(run)

    def cancel(self, run: str) -> None:
        with self._server() as client:
            client.set_flow_run_state(UUID(run), Cancelling())

    def _ask(self) -> None:
        going = {run for run, how in self._ended.items() if how is None}
        with self._server() as client:
            wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run) for run in going]))
            found = {str(one.id): one for one in client.read_flow_runs(flow_run_filter=wanted)}
            for run in going:
                one = found.get(run)
                state = one.state if one is not None else None
                _, _, arn = str(one.infrastructure_pid if one is not None else "").partition("::")
                if arn:  # an ECS worker writes CLUSTER::TASK
                    self._tasks[run] = arn
                if state is None:
                    self._ended[run] = "deleted"
                elif state.is_final():
                    for_s = self._time() - self._seen_ended.setdefault(run, self._time())
                    self._ended[run] = told_of(client, UUID(run), state, for_s=for_s)

    def _deployment(self, client: SyncPrefectClient, name: str) -> tuple[UUID, dict[str, Any] | None]:
        try:
            found = client.read_deployment_by_name(name)
            return found.id, {**self._variables, **labelled(client, found, self._labels)} or None
        except ObjectNotFound as error:
            raise DependencyDown(
                f"{name} is not deployed.",
                instruction="Deploy the flows and start a worker: pointsman up",
                code="not_deployed",
            ) from error

    def _require_worker(self, client: SyncPrefectClient) -> None:
        if not is_looked_after(client, self._pool):
            raise DependencyDown(
                f"No worker of the work pool {self._pool} is online, so nothing would start there.",
                instruction=f"prefect worker start --pool {self._pool}",
                code="no_worker",
            )

    @contextmanager
    def _server(self) -> Iterator[SyncPrefectClient]:
        """A client that tries once: whoever uses it has other work that must not wait, and asks again."""
        if self._time() < self._away_until:
            raise _unreachable("it did not a moment ago")
        if not PREFECT_API_URL.value():
            raise _unreachable("PREFECT_API_URL is not set")  # else Prefect starts a server of its own
        try:
            with (
                temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
                get_client(sync_client=True, httpx_settings={"timeout": _TIMEOUT_S}) as client,
            ):
                yield client
        except (httpx.TransportError, PrefectHTTPStatusError, RuntimeError) as error:
            self._away_until = self._time() + _AWAY_S
            raise _unreachable(f"{type(error).__name__}: {str(error)[:200]}") from error


def ecs_runs(settings: Settings, labels: Mapping[str, str] = _NOTHING) -> FlowRuns:
    """Runs as ECS tasks, on the work pool and in the place that the settings name.

    Raises `InputRefused` for security groups without subnets.
    """
    pool = f"{settings.prefect_prefix}{settings.runner_pool}"
    return FlowRuns(pool, needs_worker=True, labels=labels, variables=_place(settings))


def _place(settings: Settings) -> dict[str, Any]:
    """Variables of the job template. A network of its own needs the pool's `vpc_id`."""
    if settings.runner_security_groups and not settings.runner_subnets:
        group, subnets = ENVIRONMENT_NAMES["runner_security_groups"], ENVIRONMENT_NAMES["runner_subnets"]
        raise InputRefused(group, settings.runner_security_groups, f"nothing without {subnets}")
    network = {
        "subnets": _listed(settings.runner_subnets),
        "securityGroups": _listed(settings.runner_security_groups),
    }
    place = {
        "cluster": settings.runner_cluster,
        "task_definition_arn": settings.runner_task_definition,
        "log_group": settings.runner_log_group,
        "network_configuration": {name: given for name, given in network.items() if given},
    }
    return {name: given for name, given in place.items() if given}


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def is_looked_after(client: SyncPrefectClient, pool: str) -> bool:
    """Whether a worker of the pool is online."""
    place = {"work_pool_name": pool}
    answer = client.request("POST", "/work_pools/{work_pool_name}/workers/filter", path_params=place, json={})
    return any(worker["status"] == "ONLINE" for worker in answer.json())


def labelled(client: SyncPrefectClient, found: DeploymentResponse, labels: Mapping[str, str]) -> dict[str, Any]:
    """Job variables by which a run has `labels` besides those of its pool and deployment, which they would replace."""
    if not labels:
        return {}
    given: dict[str, str] = {}
    if found.work_pool_name is not None:
        template = client.read_work_pool(found.work_pool_name).base_job_template
        given = template.get("variables", {}).get("properties", {}).get("labels", {}).get("default") or {}
    return {"labels": {**given, **found.job_variables.get("labels", {}), **labels}}


def _unreachable(why: str) -> DependencyDown:
    return DependencyDown(
        f"The Prefect server did not answer: {why}.", instruction="pointsman doctor", code="prefect_unreachable"
    )
