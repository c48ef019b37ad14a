"""What a fault did to the run: detection, recovery, and how much worse latency and failures were than before it.

Dispatches belong to a window by their planned time. The control is the time before the fault, in the same stage; its
last part, whose dispatches may still have been open when the fault began, is left out.

Intervals: the p95 delta by a block bootstrap stratified by window (Carlstein 1986: whole slices of time are drawn, so
that neighbours, which wait in the same queue, stay together), seeded; the failure-rate delta after Newcombe (1998,
method 10) from two Wilson intervals. Each has confidence 97.5 %, so that both together hold with 95 % (Bonferroni).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pointsman.model import Missing
from pointsman.scenario.faults.model import CONTROL_AT_LEAST_S, FEWEST, LEFT_OUT
from pointsman.statistics import Floats, cluster_weights, most_by_chance, wilson_interval

CONFIDENCE = 0.975
METHOD = (
    "p95: block bootstrap over slices of time, stratified by window, 2000 resamples, seeded; failure rate: Newcombe's "
    "interval; 97.5 % each, 95 % together"
)
_RESAMPLES = 2_000
_MOST_SLICES = 400
_WATCHED = 10
"""How many dispatches in a row are looked at to notice a change."""
_NEVER = 0.001

Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Served:
    """Dispatches of the fault's stage in order of their planned time, seconds after the epoch."""

    planned_s: Floats
    total_ms: Floats
    """From the planned time to the end; not a number where that is not known."""
    completed: Bools
    """Failed, refused, unknown and dropped ones did not complete."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of planned times and what happened to its dispatches."""

    from_s: float
    to_s: float
    dispatches: int
    p95_ms: float | None
    failure_rate: float | None


@dataclass(frozen=True, slots=True)
class Delta:
    """During the fault less in the control."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Effect:
    """`effective`: one of the two deltas is above zero with confidence. Unknown is `Missing`, with the reason."""

    effective: bool
    control: Window
    during: Window
    p95_delta_ms: Delta | Missing
    failure_rate_delta: Delta | Missing
    time_to_detection_s: float | Missing
    time_to_recovery_s: float | Missing

    def document(self) -> dict[str, Any]:
        """The `effect` of CONTRACTS' `stages[].fault`."""
        missing: dict[str, str] = {}
        found: dict[str, Any] = {
            "effective": self.effective,
            "control": _window(self.control),
            "during": _window(self.during),
            "confidence": CONFIDENCE,
            "method": METHOD,
        }
        for name in ("p95_delta_ms", "failure_rate_delta"):
            delta = getattr(self, name)
            if isinstance(delta, Missing):
                missing[name] = delta.reason
                found[name] = None
            else:
                found[name] = {part: round(getattr(delta, part), 6) for part in ("value", "low", "high")}
        for name in ("time_to_detection_s", "time_to_recovery_s"):
            time = getattr(self, name)
            if isinstance(time, Missing):
                missing[name] = time.reason
            found[name] = None if isinstance(time, Missing) else round(time, 3)
        return {**found, **({"missing": missing} if missing else {})}


def _window(window: Window) -> dict[str, Any]:
    return {
        "from_s": round(window.from_s, 3),
        "to_s": round(window.to_s, 3),
        "dispatches": window.dispatches,
        "p95_ms": window.p95_ms,
        "failure_rate": window.failure_rate,
    }


def fault_effect(served: Served, *, stage_from_s: float, start_s: float, end_s: float, seed: int) -> Effect:
    """The effect of a fault that lasted from `start_s` to `end_s`, in a stage that began at `stage_from_s`."""
    from_s = max(stage_from_s, start_s - max(end_s - start_s, CONTROL_AT_LEAST_S))
    before = _inside(served, from_s, start_s)
    open_s = _p95(_known(before)) / 1000 if _known(before).size else 0.0
    control_to_s = start_s - min(open_s, (start_s - from_s) * LEFT_OUT)
    control, during = _inside(served, from_s, control_to_s), _inside(served, start_s, end_s)
    p95 = _p95_delta(control, during, seed)
    failures = _failure_delta(control, during)
    detected, recovered = _times(served, control, start_s)
    return Effect(
        effective=any(isinstance(delta, Delta) and delta.low > 0 for delta in (p95, failures)),
        control=_describe(control, from_s, control_to_s),
        during=_describe(during, start_s, end_s),
        p95_delta_ms=p95,
        failure_rate_delta=failures,
        time_to_detection_s=detected,
        time_to_recovery_s=recovered,
    )


def _inside(served: Served, from_s: float, to_s: float) -> Served:
    chosen = (served.planned_s >= from_s) & (served.planned_s < to_s)
    return Served(served.planned_s[chosen], served.total_ms[chosen], served.completed[chosen])


def _describe(inside: Served, from_s: float, to_s: float) -> Window:
    count, done = inside.completed.size, _known(inside)
    return Window(
        from_s,
        to_s,
        count,
        round(_p95(done), 3) if done.size else None,
        round(1 - float(inside.completed.mean()), 6) if count else None,
    )


def _known(window: Served) -> Floats:
    """The times of the dispatches that completed."""
    done: Floats = window.total_ms[window.completed & ~np.isnan(window.total_ms)]
    return done


def _p95(values: Floats) -> float:
    return float(np.quantile(values, 0.95, method="inverted_cdf"))


def _p95_delta(control: Served, during: Served, seed: int) -> Delta | Missing:
    for name, window in (("in the control before the fault", control), ("while the fault lasted", during)):
        done = _known(window).size
        if done < FEWEST:
            return Missing(f"{done} dispatches planned {name} completed; a p95 needs {FEWEST}")
    value = _p95(_known(during)) - _p95(_known(control))
    drawn = _resampled_p95(during, seed, 1) - _resampled_p95(control, seed, 0)
    low, high = _percentiles(drawn)
    # The estimate is always inside, also where few values make the resampled ones lean to one side.
    return Delta(value, min(low, value), max(high, value))


def _resampled_p95(window: Served, seed: int, stratum: int) -> Floats:
    """The p95 of each resample of the window's slices of time."""
    values = _known(window)
    slices = min(_MOST_SLICES, math.ceil(values.size ** (2 / 3)))
    # Slices of equally many neighbours: so no resample is empty, whatever the rate did.
    of_slice = np.arange(values.size) * slices // values.size
    levels, of_level = np.unique(_rounded(values), return_inverse=True)
    counts = np.zeros((slices, levels.size))
    np.add.at(counts, (of_slice, of_level), 1)
    weights = cluster_weights(slices, resamples=_RESAMPLES, seed=seed * 2 + stratum)
    reached = np.cumsum(weights @ counts, axis=1)
    found: Floats = levels[(reached >= 0.95 * reached[:, -1:] - 1e-9).argmax(axis=1)]
    return found


def _rounded(values: Floats) -> Floats:
    """Values as they are, or to three digits where there are so many that all levels would not fit into memory."""
    if values.size <= 5_000:
        return values
    scale = 10.0 ** (2 - np.floor(np.log10(np.maximum(values, 1e-3))))
    rounded: Floats = np.round(values * scale) / scale
    return rounded


def _percentiles(drawn: Floats) -> tuple[float, float]:
    ordered, tail = np.sort(drawn), (1 - CONFIDENCE) / 2
    last = ordered.size - 1
    return float(ordered[math.floor(tail * last)]), float(ordered[math.ceil((1 - tail) * last)])


def _failure_delta(control: Served, during: Served) -> Delta | Missing:
    if not control.completed.size or not during.completed.size:
        return Missing("no dispatch was planned in one of the two windows")
    (p1, low1, high1), (p0, low0, high0) = (_failure_share(during), _failure_share(control))
    value = p1 - p0
    return Delta(value, value - math.hypot(p1 - low1, high0 - p0), value + math.hypot(high1 - p1, p0 - low0))


def _failure_share(window: Served) -> tuple[float, float, float]:
    failed, count = int((~window.completed).sum()), window.completed.size
    return failed / count, *wilson_interval(failed, count, confidence=CONFIDENCE)


def _times(served: Served, control: Served, start_s: float) -> tuple[float | Missing, float | Missing]:
    """Detection and recovery, in seconds after the fault's start.

    A dispatch is bad when it did not complete or took longer than the control's p95, and is known to be so no later
    than that time after it was planned. Detected: when so many of the ten last known ones are bad as ten of the control
    are once in a thousand times. Recovered: with the first good one of which, the nine after it included, no more are
    bad than 95 % of ten in the control are.
    """
    done = _known(control)
    if done.size < FEWEST:
        short = Missing(
            f"{done.size} dispatches planned in the control before the fault completed; {FEWEST} are needed"
        )
        return short, short
    limit = _p95(done)
    bad = ~served.completed | (served.total_ms > limit)
    usual = min(0.9, max(0.05, float((~control.completed | (control.total_ms > limit)).mean())))
    early = bad | np.isnan(served.total_ms)
    known_s = served.planned_s + np.where(early, np.fmin(served.total_ms, limit), served.total_ms) / 1000
    order = np.argsort(known_s, kind="stable")
    since = bad & (known_s >= start_s)
    seen = np.flatnonzero(_counts(since[order]) > most_by_chance(_WATCHED, usual, confidence=1 - _NEVER))
    if not seen.size:
        unseen = Missing("no ten dispatches in a row were worse than the control makes likely")
        return unseen, unseen
    detected_s = float(known_s[order][seen[0] + _WATCHED - 1])
    calm = _counts(bad) <= most_by_chance(_WATCHED, usual, confidence=0.95)
    first_calm = np.flatnonzero(calm & ~bad[: calm.size] & (np.arange(calm.size) > np.flatnonzero(since)[0]))
    if not first_calm.size:
        return detected_s - start_s, Missing("the stage ended before ten dispatches in a row were as in the control")
    return detected_s - start_s, float(served.planned_s[first_calm[0]]) - start_s


def _counts(bad: Bools) -> npt.NDArray[np.int64]:
    """How many are bad of each `_WATCHED` neighbours; empty where there are fewer in all."""
    sums = np.concatenate([[0], np.cumsum(bad)])
    found: npt.NDArray[np.int64] = (sums[_WATCHED:] - sums[:-_WATCHED]).astype(np.int64)
    return found
