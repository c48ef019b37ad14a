"""Tasks of an acceptance: look at the environment, and show what was found."""

from __future__ import annotations

from prefect import task

from pointsman import acceptance
from tasks.opening import open_workspace
from tasks.policies import RECORD
from tasks.recording import record_report


@task(name="read-environment", **RECORD)
def read_environment(run_id: str, *, environment_id: str, region: str | None, cluster: str | None) -> None:
    """Look at every part of the environment, and store what was found; a repetition finds it stored."""
    acceptance.capture_baseline(
        open_workspace(), run_id=run_id, environment_id=environment_id, region=region, cluster=cluster
    )


@task(name="report-baseline", **RECORD)
def report_baseline(run_id: str) -> None:
    record_report("staging-baseline", acceptance.baseline_report(acceptance.read_baseline(open_workspace(), run_id)))
