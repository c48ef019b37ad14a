"""Load tests of environments that others use as well go one after the other: two at once would measure each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency

from pointsman.benchmark import environment_kind
from pointsman.errors import DependencyDown, GuardRefused
from pointsman.scenario import read_run
from pointsman.settings import load_settings
from tasks.opening import open_workspace

_LEASE_S = 60
"""How long nobody gets the turn of a process that died."""


@contextmanager
def turn_of(run_id: str) -> Iterator[None]:
    """Wait for the turn of this run, and hold it. On this machine's lab nobody waits.

    The limit is taken strictly: without it nothing is sent. A turn that cannot be renewed, because the Prefect server
    is away for a while, does not end the run. Raises `GuardRefused` where `deployments/bootstrap.py` has not made the
    limit, and `DependencyDown`.
    """
    ws = open_workspace()
    if environment_kind(ws, read_run(ws, run_id).environment_id) in (None, "local"):
        yield
        return
    name = f"{load_settings().prefect_prefix}load-test"
    try:
        with concurrency(name, strict=True, lease_duration=_LEASE_S, raise_on_lease_renewal_failure=False):
            yield
    except ConcurrencySlotAcquisitionError as error:
        if error.__cause__ is not None:
            raise DependencyDown(
                f"The Prefect server, by which load tests go one after the other, did not answer: {error}.",
                instruction="pointsman doctor",
                code="prefect_unreachable",
            ) from error
        raise GuardRefused(
            f"The Prefect server has no limit {name}, by which load tests go one after the other.",
            instruction="python -m deployments.bootstrap --pool local",
            code="no_load_test_limit",
        ) from error
