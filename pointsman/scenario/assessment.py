"""Whether a run may be believed and whether it held: the checks that its report shows and that JUnit counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pointsman.dispatch import PLANNED_TERMS, SENT_TERMS
from pointsman.reporting import show
from pointsman.scenario.faults.evidence import why_not_effective

RATE_KEPT = 0.99
"""Sent of planned, at least: below it the target was offered another load than the scenario's."""
LATENESS_P99_MS = 50.0
"""Lateness of sending, at most: far below what a job of minutes or seconds takes."""
Verdict = Literal["passed", "failed", "not measured"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `asked` is what must hold; `found` is what was seen, or why nothing was."""

    group: Literal["run", "load", "slo", "stop condition", "fault"]
    name: str
    verdict: Verdict
    asked: str
    found: str


def assess(status: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[Check]:
    """The checks of a run, from its status (`run_status`) and its `metrics_json`."""
    return [
        _ended(status),
        _conserved(status["counts"]),
        *load_checks(status["counts"], status["lateness"]),
        *(_condition("slo", "held", rule) for rule in metrics.get("slos", ())),
        *(_condition("stop condition", "not met", rule) for rule in metrics.get("stop_conditions", ())),
        *_faults(status["stages"]),
    ]


def load_checks(counts: Mapping[str, int], lateness: Mapping[str, Any]) -> list[Check]:
    """Whether the target was offered the load that was planned, and when it was planned."""
    return [_rate(counts), _lateness(lateness)]


def _ended(status: Mapping[str, Any]) -> Check:
    failure, stop = status["failure"], status["runner"].get("stop")
    found = f"it is {status['status']}"
    if failure:
        found += f": {failure['message']} {failure['instruction']}".rstrip()
    elif stop:
        found += f": stopped by {stop['who']} at {stop['when']}: {stop['reason']}"
    verdict: Verdict = "failed"
    if status["status"] == "completed":
        verdict = "passed"
    elif status["status"] not in ("failed", "cancelled"):
        verdict = "not measured"
    return Check("run", "the run completed", verdict, "every planned dispatch was sent and ended", found)


def _conserved(counts: Mapping[str, int]) -> Check:
    wrong = [
        f"{name} is {counts[name]}, its parts add up to {total}"
        for name, total in (
            ("planned", sum(counts[term] for term in PLANNED_TERMS)),
            ("sent", sum(counts[term] for term in SENT_TERMS)),
        )
        if total != counts[name]
    ]
    found = "; ".join(wrong) or f"all {counts['planned']} planned and {counts['sent']} sent are accounted for"
    asked = "planned and sent are the sums of their parts"
    return Check("run", "no dispatch is lost", "failed" if wrong else "passed", asked, found)


def _rate(counts: Mapping[str, int]) -> Check:
    share = counts["sent"] / counts["planned"]
    unsent = counts["planned"] - counts["sent"]
    found = f"{share:.2%} were sent; {counts['dropped']} of the other {unsent} were dropped" if unsent else "all were"
    verdict: Verdict = "passed" if share >= RATE_KEPT else "failed"
    return Check("load", "the planned rate was kept", verdict, f"at least {RATE_KEPT:.0%} of planned were sent", found)


def _lateness(lateness: Mapping[str, Any]) -> Check:
    p99, asked = lateness["p99"], f"p99 of lateness is at most {LATENESS_P99_MS:g} ms"
    name = "dispatches left on time"
    if p99 is None:
        return Check("load", name, "not measured", asked, lateness["missing"]["p99"])
    return Check("load", name, "passed" if p99 <= LATENESS_P99_MS else "failed", asked, f"p99 is {show(p99)} ms")


def _condition(group: Literal["slo", "stop condition"], good: str, rule: Mapping[str, Any]) -> Check:
    asked = "it holds over every window" if group == "slo" else "it is met in no window"
    if rule["worst"] is None:
        return Check(group, rule["condition"], "not measured", asked, rule["missing"]["worst"])
    found = f"{rule['verdict']}; at worst {rule['worst']}, at {rule['worst_at_s']} s"
    return Check(group, rule["condition"], "passed" if rule["verdict"] == good else "failed", asked, found)


def _faults(stages: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    for stage in stages:
        if not (fault := stage.get("fault")):
            continue
        name, asked = f"the fault of stage {stage['name']} had an effect", "latency or failures rose while it lasted"
        if fault["verdict"] in (None, "withdrawn"):  # not ended yet, or ended because the run did
            why = fault["reason"] or fault["missing"].get("verdict", "the run ended before it")
            yield Check("fault", name, "not measured", asked, why)
            continue
        why = why_not_effective(fault) if fault["verdict"] == "happened" else fault["reason"] or "it did not happen"
        found = f"its experiment is {fault['state'] or 'not started'}; {why or 'latency or failures rose'}"
        yield Check("fault", name, "failed" if why else "passed", asked, found)
