"""SLOs and stop conditions as a watcher: judged about once a second on what the feed tells, ended at the first breach.

Time, the feed and every source come in as arguments, so that whole runs are judged in tests without a moment's wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import numpy as np

from pointsman.dispatch.seconds import Second
from pointsman.errors import DependencyDown, InputRefused
from pointsman.model import Missing
from pointsman.scenario.arrivals import plan_arrivals
from pointsman.scenario.conditions import Condition, Figure, parse_condition
from pointsman.scenario.model import Scenario
from pointsman.scenario.readings import Sources
from pointsman.scenario.trace import NO_TRACES, Traces
from pointsman.scenario.watching import Stop
from pointsman.scenario.windows import Window

_READ_EVERY_S = 2.0
_SETTLED_S = 10
"""A condition without a window is judged from this many counted seconds on: the first dispatches tell nothing. In a
shorter run it is judged from the end of the last stage on."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Load:
    """What the rules need to know of the schedule."""

    planned: Sequence[int]
    """Dispatches due in each second of the run, without those of warm-up stages."""
    warm_up: frozenset[int]
    """Indices of stages that do not count."""
    counted_from_s: int
    """When the first stage that counts begins."""

    @property
    def counted_s(self) -> int:
        return len(self.planned) - self.counted_from_s


def unjudged(condition: Condition, load: Load, sources: Sources) -> str | None:
    """Why a condition cannot be judged in this run, known before it starts; None when it can."""
    needed: Mapping[str, Any] = {
        "alarms_moved": sources.alarms,
        "unhealthy_targets": sources.unhealthy_targets,
        "backend_errors": sources.backend_errors,
        "failed_spend": sources.usd_per_dispatch,
    }
    source = needed.get(condition.figure)
    if isinstance(source, Missing):
        return source.reason
    if source is None and condition.window_s is not None and condition.window_s > load.counted_s:
        return f"the stages that count last {load.counted_s} s, less than its window"
    return None


def conditions_of(
    run_id: str, scenario: Scenario, seed: int, sources: Sources, traces: Traces = NO_TRACES
) -> Conditions | None:
    """The watcher of a run's SLOs and stop conditions; None when its scenario has none."""
    if not scenario.slos and not scenario.stop_conditions:
        return None
    load = load_of(scenario, seed, traces)
    return Conditions(run_id, slos=scenario.slos, stop_conditions=scenario.stop_conditions, load=load, sources=sources)


def load_of(scenario: Scenario, seed: int, traces: Traces = NO_TRACES) -> Load:
    """What the rules need to know of a scenario's schedule."""
    due, stages = plan_arrivals(scenario, seed, traces)
    warm_up = scenario.warm_up
    counted = due[~np.isin(stages, list(warm_up))]
    first = next(index for index in range(len(scenario.stages)) if index not in warm_up)
    return Load(
        planned=np.bincount(counted // 10**9, minlength=math.ceil(scenario.duration_s)).tolist(),
        warm_up=warm_up,
        counted_from_s=sum(segment.us for segment in scenario.segments[:first]) // 10**6,
    )


def unjudged_conditions(scenario: Scenario, seed: int, sources: Sources, traces: Traces = NO_TRACES) -> dict[str, str]:
    """The scenario's conditions that this run cannot be judged by, each with the reason; said before it starts."""
    load = load_of(scenario, seed, traces)
    found = {}
    for text in (*scenario.slos, *scenario.stop_conditions):
        if (why := unjudged(parse_condition(text), load, sources)) is not None:
            found[text] = why
    return found


@dataclass
class _Rule:
    """One condition as it stands."""

    condition: Condition
    is_slo: bool
    window: Window
    why_not: str | None
    broken: bool = False
    worst: float | None = None
    worst_at_s: int | None = None
    true_since_s: float | None = None
    judged: int = 0

    def document(self) -> dict[str, Any]:
        """For `metrics_json`: the verdict, and the worst figure of any window that ended at `worst_at_s`."""
        if not self.broken and (self.judged == 0 or self.why_not is not None):
            why = self.why_not or "nothing happened by which it could be judged"
            unknown = {"worst": why, "worst_at_s": why}
            names = {"worst": None, "worst_at_s": None, "missing": unknown}
            return {"condition": self.condition.text, "verdict": "not judged", **names}
        verdict = ("breached" if self.broken else "held") if self.is_slo else ("met" if self.broken else "not met")
        worst = None if self.worst is None else self.condition.shown(self.worst)
        return {
            "condition": self.condition.text,
            "verdict": verdict,
            "worst": worst,
            "worst_at_s": self.worst_at_s,
        }

    def take(self, value: float, at_s: int, *, baseline: float = 0.0) -> bool:
        """Note a figure, and answer whether it is one that must not be."""
        self.judged += 1
        grows = self.condition.comparison in ("<", "<=") if self.is_slo else self.condition.comparison in (">", ">=")
        if self.worst is None or (value > self.worst if grows else value < self.worst):
            self.worst, self.worst_at_s = value, at_s
        return self.condition.holds(value, baseline) is not self.is_slo


@dataclass
class _Readings:
    """What was read from outside, and since when it counts."""

    at_s: float = -_READ_EVERY_S
    armed: set[str] = field(default_factory=set)
    """Alarms that were seen in another state than ALARM since the run began."""
    moved: set[str] = field(default_factory=set)
    baseline: float | None = None
    """The share of the backend's errors before the run; None while it could not be read."""
    failed: int = 0


class Conditions:
    """A `Watcher` over a scenario's SLOs and stop conditions."""

    name = "conditions"

    def __init__(
        self, run_id: str, *, slos: Sequence[str], stop_conditions: Sequence[str], load: Load, sources: Sources
    ) -> None:
        self._run_id = run_id
        self._load = load
        self._sources = sources
        self._rules = [
            _Rule(condition, is_slo, Window(condition, load.planned), unjudged(condition, load, sources))
            for is_slo, texts in ((True, slos), (False, stop_conditions))
            for condition in map(parse_condition, texts)
        ]
        self._readings = _Readings()
        self._last = -1
        self._epoch: datetime | None = None
        self._seen: dict[Figure, float | Missing | None] = {}
        """What this look has read from outside."""

    def begin(self, epoch: datetime, state: Mapping[str, Any]) -> None:
        self._epoch = epoch
        if state:
            self._restore(state)
        else:
            self._sources.begin_look()
            self._read_alarms()
            self._read_baseline()

    def look(self, now_s: float, seconds: Sequence[Second]) -> Stop | None:
        for second in seconds:
            self._last = max(self._last, second.second)
            if second.stage not in self._load.warm_up:
                for rule in self._rules:
                    rule.window.add(second)
        counted = self._rules if now_s >= self._load.counted_from_s else []
        outside = now_s - self._readings.at_s >= _READ_EVERY_S
        if outside:
            self._readings.at_s = now_s
            self._seen = {}
            self._sources.begin_look()
        stop: Stop | None = None
        for rule in counted:
            if rule.why_not is None and not rule.broken and self._broken(rule, now_s, outside):
                rule.broken = True
                stop = stop or self._stop(rule)
        return stop

    def _broken(self, rule: _Rule, now_s: float, outside: bool) -> bool:
        condition = rule.condition
        if condition.figure in ("unhealthy_targets", "backend_errors", "alarms_moved"):
            return outside and self._broken_outside(rule, now_s)
        end_s = self._last + 1
        if condition.figure == "failed_spend":
            assert not isinstance(self._sources.usd_per_dispatch, Missing)
            failed = rule.window.value(end_s) or 0.0
            return rule.take(failed * float(self._sources.usd_per_dispatch), end_s)
        needed = condition.window_s or min(_SETTLED_S, self._load.counted_s)
        if end_s < self._load.counted_from_s + needed:
            return False
        value = rule.window.value(end_s)
        return value is not None and rule.take(value, end_s)

    def _broken_outside(self, rule: _Rule, now_s: float) -> bool:
        """A reading that failed changes nothing: neither does it end what has been so for long, nor prolong it."""
        condition = rule.condition
        if condition.figure not in self._seen:
            self._seen[condition.figure] = self._look_outside(condition.figure)
        value = self._seen[condition.figure]
        baseline = (self._readings.baseline or 0.0) if condition.figure == "backend_errors" else 0.0
        if value is None or isinstance(value, Missing):
            return False
        if not rule.take(value, int(now_s), baseline=baseline):
            rule.true_since_s = None
            return False
        if rule.true_since_s is None:
            rule.true_since_s = now_s
        return now_s - rule.true_since_s >= (condition.window_s or 0)

    def _look_outside(self, figure: Figure) -> float | Missing | None:
        if figure == "alarms_moved":
            return len(self._readings.moved) if self._read_alarms() else None
        if figure == "unhealthy_targets":
            return self._read(self._sources.unhealthy_targets)
        return self._read(self._sources.backend_errors, None) if self._read_baseline() else None

    def _read(self, source: Callable[..., T] | Missing, *asked: Any) -> T | Missing:
        if isinstance(source, Missing):
            return source
        try:
            return source(*asked)
        except DependencyDown as error:
            self._readings.failed += 1
            return Missing(error.message)

    def _read_baseline(self) -> bool:
        """Whether the backend's errors before the run are known. No requests are no errors; what cannot be read now is
        asked for again, and always of the time before the run: nothing that happens under load is a baseline."""
        if self._readings.baseline is None:
            found = self._read(self._sources.backend_errors, self._epoch)
            self._readings.baseline = None if isinstance(found, Missing) else found or 0.0
        return self._readings.baseline is not None

    def _read_alarms(self) -> bool:
        """Only an alarm that was seen otherwise moves: scaling alarms are normally in ALARM.

        One that does not exist, or is deleted while the run goes on, leaves nothing to judge by from then on.
        """
        try:
            states = self._read(self._sources.alarms)
        except InputRefused as error:
            for rule in self._rules:
                if rule.condition.figure == "alarms_moved":
                    rule.why_not = error.message
            return False
        if isinstance(states, Missing):
            return False
        self._readings.moved |= {name for name, alarms in states.items() if alarms and name in self._readings.armed}
        self._readings.armed |= {name for name, alarms in states.items() if not alarms}
        return True

    def _stop(self, rule: _Rule) -> Stop:
        condition = rule.condition
        assert rule.worst is not None
        moved = f" ({', '.join(sorted(self._readings.moved))})" if condition.figure == "alarms_moved" else ""
        span = "the run so far" if condition.window_s is None else f"the last {condition.window_s} s"
        asks = "the SLO asks for" if rule.is_slo else "the stop condition is"
        return Stop(
            event="load_test_slo_aborted" if rule.is_slo else "stop_condition_met",
            code="slo_breached" if rule.is_slo else "stop_condition_met",
            message=f"{condition.shown(rule.worst)}{moved} over {span}: {asks} {condition.text}.",
            instruction=f"pointsman scenario status {self._run_id}",
            data={"condition": condition.text, "value": condition.shown(rule.worst), "at_s": self._last + 1},
        )

    def state(self) -> Mapping[str, Any]:
        return {
            "last": self._last,
            "verdicts": self._verdicts(),
            "readings": {
                "armed": sorted(self._readings.armed),
                "moved": sorted(self._readings.moved),
                "baseline": self._readings.baseline,
                "failed": self._readings.failed,
            },
            "rules": {
                f"{index} {rule.condition.text}": {
                    "window": rule.window.state(),
                    "broken": rule.broken,
                    "worst": rule.worst,
                    "worst_at_s": rule.worst_at_s,
                    "true_since_s": rule.true_since_s,
                    "judged": rule.judged,
                }
                for index, rule in enumerate(self._rules)
            },
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._last = state["last"]
        readings = state["readings"]
        self._readings = _Readings(
            armed=set(readings["armed"]),
            moved=set(readings["moved"]),
            baseline=readings["baseline"],
            failed=readings["failed"],
        )
        for index, rule in enumerate(self._rules):
            kept = state["rules"][f"{index} {rule.condition.text}"]
            rule.window.restore(kept["window"])
            rule.broken, rule.judged = kept["broken"], kept["judged"]
            rule.worst, rule.worst_at_s = kept["worst"], kept["worst_at_s"]
            rule.true_since_s = kept["true_since_s"]

    def halt(self) -> None:
        """Nothing was begun that does harm."""

    def end(self) -> Mapping[str, Any]:
        """`slos` and `stop_conditions`: each condition with its verdict and its worst window."""
        return {**self._verdicts(), "failed_readings": self._readings.failed}

    def _verdicts(self) -> dict[str, Any]:
        return {
            "slos": [rule.document() for rule in self._rules if rule.is_slo],
            "stop_conditions": [rule.document() for rule in self._rules if not rule.is_slo],
        }


def live_verdicts(metrics: Mapping[str, Any]) -> Mapping[str, Any]:
    """`slos` and `stop_conditions` so far, of a run that is being driven."""
    found: Mapping[str, Any] = metrics.get("watchers", {}).get(Conditions.name, {}).get("verdicts", {})
    return found
