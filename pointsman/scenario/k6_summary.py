"""A run in the form that `k6 run --summary-export` writes, for dashboards and scripts that read k6's results.

One k6 request stands for one dispatch: a job from its submission to its end, however many HTTP requests it took.

| k6 | here |
| --- | --- |
| `http_reqs`, `iterations` | dispatches sent; those of them that completed or failed |
| `http_req_duration`, `iteration_duration` | milliseconds from sending to completion: k6 too measures from sending |
| `job_total_ms` | the same from the planned time, so that waiting for a late driver counts (k6 has no such figure) |
| `job_queue_ms`, `job_run_ms`, `job_lateness_ms` | waiting and running as the target tells; lateness of sending |
| `http_req_failed` | of the sent: `passes` failed or have an unknown outcome (as k6 counts them), `fails` did not |
| `dropped_iterations` | dispatches that the limit of jobs in flight kept from being sent |
| `vus`, `vus_max` | most in flight at once; how many were allowed |
| `checks`, `root_group.checks` | the run's verdicts; one that was not measured is in neither count |

Rates are per second from the run's start to the last thing learnt. A metric without a value is absent, as in k6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.model import Missing
from pointsman.scenario.assessment import Check
from pointsman.scenario.model import Scenario
from pointsman.scenario.series import Distribution, RunSeries

_TRENDS = {
    "http_req_duration": "raw_total_ms",
    "iteration_duration": "raw_total_ms",
    "job_total_ms": "total_ms",
    "job_queue_ms": "queue_ms",
    "job_run_ms": "run_ms",
    "job_lateness_ms": "lateness_ms",
}


def k6_summary(
    scenario: Scenario, counts: Mapping[str, int], series: RunSeries | Missing, checks: Sequence[Check]
) -> dict[str, Any]:
    """The document. Of a run without a ledger there are only checks."""
    metrics: dict[str, Any] = {}
    if not isinstance(series, Missing):
        metrics = _metrics(scenario, counts, series)
    known = [check for check in checks if check.verdict != "not measured"]
    if known:
        metrics["checks"] = _share(sum(check.verdict == "passed" for check in known), len(known))
    return {
        "metrics": metrics,
        "root_group": {
            "name": "",
            "path": "",
            "id": _id(""),
            "groups": {},
            "checks": {check.name: _check(check) for check in known},
        },
    }


def _metrics(scenario: Scenario, counts: Mapping[str, int], series: RunSeries) -> dict[str, Any]:
    def counter(count: int) -> dict[str, float]:
        return {"count": count, "rate": count / series.until_s}

    metrics: dict[str, Any] = {
        "http_reqs": counter(counts["sent"]),
        "iterations": counter(counts["completed"] + counts["failed"]),
        **{name: _trend(series.distributions[of]) for name, of in _TRENDS.items() if of in series.distributions},
    }
    if counts["sent"]:
        metrics["http_req_failed"] = _share(counts["failed"] + counts["unknown"], counts["sent"])
    if counts["dropped"]:
        metrics["dropped_iterations"] = counter(counts["dropped"])
    if not series.in_flight.is_empty():
        at_once = series.in_flight["in_flight"].to_list()
        metrics["vus"] = {"value": at_once[-1], "min": min(at_once), "max": max(at_once)}
    allowed = scenario.max_in_flight
    metrics["vus_max"] = {"value": allowed, "min": allowed, "max": allowed}
    return metrics


def _trend(found: Distribution) -> dict[str, float]:
    return {
        "avg": found.mean,
        "min": found.smallest,
        "med": found.quantiles["p50"],
        "max": found.largest,
        "p(90)": found.quantiles["p90"],
        "p(95)": found.quantiles["p95"],
        "p(99)": found.quantiles["p99"],
    }


def _share(passes: int, of: int) -> dict[str, float]:
    return {"passes": passes, "fails": of - passes, "value": passes / of}


def _check(check: Check) -> dict[str, Any]:
    path = f"::{check.name}"
    passed = check.verdict == "passed"
    return {"name": check.name, "path": path, "id": _id(path), "passes": int(passed), "fails": int(not passed)}


def _id(path: str) -> str:
    """k6 names groups and checks by the MD5 of their path."""
    return hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()
