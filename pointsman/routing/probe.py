"""The probe: routed jobs, sent as traffic is, that show where the route leads now.

A probe is a closed-loop drive of dispatches that name the route key. Its folder derives from the run and the
generation, so that the same call continues an interrupted probe and answers a finished one from its ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import comb
from pathlib import Path
from typing import Any

import polars as pl

from pointsman.benchmark import seen_by_all
from pointsman.canonical import canonical_json
from pointsman.dispatch import (
    DriveInput,
    DrivePlan,
    Limits,
    TargetSpec,
    drive,
    has_plan,
    planned_dispatches,
    read_dispatches,
    read_summary,
    write_drive,
)
from pointsman.errors import Cancelled, InputRefused
from pointsman.ids import derive
from pointsman.model import Binding, InputMember
from pointsman.routing.consent import require_guarded
from pointsman.safety import Consent
from pointsman.scenario.production_watch import brakes_of
from pointsman.scenario.readings import Brake
from pointsman.settings import Secret
from pointsman.storage import write_atomically
from pointsman.workspace import Workspace

PROBE_IN_FLIGHT = 4
_MAX_JOBS = 1000
_LIMITS = Limits(max_in_flight=PROBE_IN_FLIGHT, drain_limit_s=300.0)
"""A slow variant is waited for as long as by the matrix that chose it."""
_AGAIN_AFTER_S = (10.0, 50.0)
"""Whoever resolves routes from a cache follows a little later: a service after seconds, AppConfig's agent a minute."""
PROBES_AT_MOST = 1 + len(_AGAIN_AFTER_S)
_IMPLAUSIBLE = 1e-4
"""A share that an honest gateway would miss this rarely counts as not kept."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the probe saw: completed jobs per variant id and per generation, and a sentence for everything amiss."""

    jobs: int
    seen: Mapping[str, int]
    generations: Mapping[int, int]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def why(self) -> str:
        """Why it did not pass, in one line; empty when it did."""
        return "; ".join(self.failures)

    def as_document(self) -> dict[str, Any]:
        """Plain data for artifacts and `--json`."""
        generations = {str(generation): count for generation, count in self.generations.items()}
        return {**asdict(self), "generations": generations, "failures": list(self.failures), "passed": self.passed}


def probe_plan(
    *,
    run_id: str,
    attempt: int,
    binding: Binding,
    inputs: Sequence[InputMember],
    target: TargetSpec,
    per_s: int | None = None,
    sees: Sequence[str] = (),
) -> DrivePlan:
    """A routed dispatch per element of `inputs`, which may hold a member several times; at most four at once.

    `per_s` is how many may be sent in a second, `sees` the data classes of inputs that every variant with a share may
    be given.

    Raises `InputRefused` unless there are 1 to 1000 of them.
    """
    if not 1 <= len(inputs) <= _MAX_JOBS:
        raise InputRefused("probe inputs", len(inputs), f"1 to {_MAX_JOBS}")
    before: Counter[str] = Counter()
    repeats = []
    for member in inputs:
        repeats.append(before[member.input_id])
        before[member.input_id] += 1
    return DrivePlan(
        run_id=derive("probe", run_id, binding.route_key, binding.generation, attempt),
        target=target,
        variants={},
        inputs={member.input_id: DriveInput.of(member) for member in inputs},
        dispatches=planned_dispatches(
            route=str(binding.route_key), input_id=[member.input_id for member in inputs], repeat=repeats
        ),
        limits=_LIMITS.model_copy(update={"submits_per_s": per_s}),
        sees={str(binding.route_key): sees},
    )


def judge_probe(dispatches: pl.DataFrame, expected: Binding) -> ProbeResult:
    """Whether the dispatches of a probe went where `expected` sends them.

    Every job must complete, on the expected generation, on a variant that has a share. For a split the counts must also
    be plausible: a share whose count has a binomial tail below 1 in 10,000 was not kept.
    """
    completed = dispatches.filter(pl.col("state") == "completed")
    seen = Counter(text or "an unnamed variant" for text in completed["variant"].to_list())
    generations = Counter(completed["generation"].to_list())
    shares = {str(variant): weight for variant, weight in expected.weights.items()}
    failures: list[str] = []
    if dispatches.height == 0:
        failures.append("no job was sent")
    for row in dispatches.filter(pl.col("state") != "completed").iter_rows(named=True):
        why = f": {row['reason']}" if row["reason"] else ""
        failures.append(f"{row['dispatch_id']} ended as {row['state']}{why}")
    for generation, count in generations.items():
        if generation != expected.generation:
            told = "no generation" if generation is None else f"generation {generation}"
            failures.append(f"{count} jobs were given {told} and not generation {expected.generation}")
    for text, count in seen.items():
        if not shares.get(text):
            failures.append(f"{count} jobs ran on {text}, which has no share")
    for text, weight in shares.items():
        if weight and _tail(seen[text], completed.height, weight) < _IMPLAUSIBLE:
            failures.append(f"{seen[text]} of {completed.height} jobs ran on {text}, whose share is {weight} %")
    known = {generation: count for generation, count in sorted(generations.items(), key=str) if generation is not None}
    return ProbeResult(dispatches.height, dict(sorted(seen.items())), known, tuple(failures))


def run_probe(
    ws: Workspace,
    *,
    run_id: str,
    binding: Binding,
    inputs: Sequence[InputMember],
    target: TargetSpec,
    secret: Secret | None,
    cancelled: Callable[[], bool],
    consent: Consent | None = None,
) -> ProbeResult:
    """Send a routed job per element of `inputs` and judge where they went.

    Files stand under `routing/<run_id>/probe/g<generation>/<attempt>`. The same call continues what was interrupted. A
    probe that somebody stopped raises `Cancelled`, does not count as failed, and is sent anew by the next call. One
    that met an older generation is sent again, at most `PROBES_AT_MOST` times in all. Raises as `drive` does:
    `DependencyDown` for a lost target, for one.

    Into production nothing is sent without the `consent` that the change was given (`GuardRefused`), and a probe that
    is stopped there by the safety lever or an alarm has failed, whatever it saw.
    """
    for again_s in (*_AGAIN_AFTER_S, None):
        sent = _send(ws, run_id, binding, inputs, target, secret, cancelled, consent)
        if sent.folder is None:
            assert sent.brake is not None
            return ProbeResult(0, {}, {}, (sent.brake.message,))
        result = judge_probe(read_dispatches(sent.folder), binding)
        if sent.brake is not None:
            return replace(result, failures=(sent.brake.message,))
        write_atomically(sent.folder / "probe.json", canonical_json(result.as_document()) + b"\n")
        if again_s is None or min(result.generations, default=binding.generation) >= binding.generation:
            break
        run_id = derive("again", run_id)
        if not has_plan(_folder(ws, run_id, binding, 1)):
            ws.clock.sleep(again_s)
    return result


def sample_route(
    ws: Workspace,
    *,
    run_id: str,
    binding: Binding,
    inputs: Sequence[InputMember],
    target: TargetSpec,
    secret: Secret | None,
    cancelled: Callable[[], bool],
    consent: Consent | None = None,
) -> pl.DataFrame | Brake:
    """Send a routed job per element of `inputs` and return what became of each, as the ledger has it.

    Like a probe in everything else; samples of one generation that are to be sent anew need run ids of their own. Where
    the safety lever or an alarm of production stopped them, that is returned, whatever they saw.
    """
    sent = _send(ws, run_id, binding, inputs, target, secret, cancelled, consent)
    if sent.brake is not None:
        return sent.brake
    assert sent.folder is not None
    return read_dispatches(sent.folder)


@dataclass(frozen=True, slots=True)
class _Sent:
    """Where the ledger is, if anything was sent, and what stopped it in production."""

    folder: Path | None
    brake: Brake | None


def _send(
    ws: Workspace,
    run_id: str,
    binding: Binding,
    inputs: Sequence[InputMember],
    target: TargetSpec,
    secret: Secret | None,
    cancelled: Callable[[], bool],
    consent: Consent | None,
) -> _Sent:
    require_guarded(ws, binding.route_key, consent, f"Sending routed jobs of {binding.route_key}")
    look = _Look(ws, cancelled, consent)
    if look() and look.brake is not None:
        return _Sent(None, look.brake)
    attempt = 1
    while (summary := read_summary(_folder(ws, run_id, binding, attempt))) and summary.outcome == "cancelled":
        attempt += 1
    folder = _folder(ws, run_id, binding, attempt)
    if not has_plan(folder):
        write_drive(
            folder,
            probe_plan(
                run_id=run_id,
                attempt=attempt,
                binding=binding,
                inputs=inputs,
                target=target,
                per_s=None if consent is None else consent.per_s,
                sees=seen_by_all(ws, [one for one, weight in binding.weights.items() if weight]),
            ),
        )
    summary = drive(folder, secret=secret, cancelled=look, clock=ws.clock)
    if look.brake is None and summary.outcome == "cancelled":
        raise Cancelled(
            f"The probe of generation {binding.generation} of {binding.route_key} was stopped before it had ended.",
            instruction=f"pointsman route show {binding.route_key}",
        )
    return _Sent(folder, look.brake)


class _Look:
    """Whether to stop: the caller says so, or the brakes of production."""

    def __init__(self, ws: Workspace, cancelled: Callable[[], bool], consent: Consent | None) -> None:
        self._clock = ws.clock
        self._cancelled = cancelled
        self._brakes = None if consent is None else brakes_of(ws, consent)
        self._zero_s = ws.clock.monotonic()
        self.brake: Brake | None = None

    def __call__(self) -> bool:
        if self._brakes is not None and self.brake is None:
            self.brake = self._brakes.look(self._clock.monotonic() - self._zero_s)
        return self.brake is not None or self._cancelled()


def _folder(ws: Workspace, run_id: str, binding: Binding, attempt: int) -> Path:
    return ws.results.path(f"routing/{run_id}/probe/g{binding.generation}/{attempt}")


def _tail(count: int, of: int, percent: int) -> float:
    """The smaller binomial tail of seeing `count` or fewer, or `count` or more, of `of` at this share."""
    share = percent / 100
    masses = [comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(of + 1)]
    return min(sum(masses[: count + 1]), sum(masses[count:]))
