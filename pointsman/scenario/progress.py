"""A run while it goes on, as a report: rates, latency, what is in flight, faults, and how its rules stand so far."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from pointsman.dispatch import RunSeconds, Second
from pointsman.ids import VariantId
from pointsman.reporting import Band, Cell, Chart, Figures, Line, Report, Section, Table, escape_markdown, timeline
from pointsman.scenario.arrivals import plan_arrivals
from pointsman.scenario.fault_report import fault_bands
from pointsman.scenario.judging import conditions_of
from pointsman.scenario.readings import aws_sources
from pointsman.scenario.record import read_run, run_drives, run_scenario
from pointsman.scenario.spending import SpendMeter
from pointsman.scenario.status import run_status
from pointsman.scenario.trace import kept_traces
from pointsman.settings import AwsPlace
from pointsman.statistics.sketch import Sketch
from pointsman.workspace import Workspace

_MOST_SPANS = 240
_PER_SPAN = 4
"""Dispatches planned in a span on average, at least."""
_LATELY_S = 10.0
_NOWHERE = AwsPlace("local")
"""Nobody is asked: whoever coordinates the run does that."""


@dataclass
class _Span:
    counts: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    total_ms: Sketch = field(default_factory=Sketch)

    def merge(self, other: _Span) -> None:
        self.counts.update(other.counts)
        self.in_flight = max(self.in_flight, other.in_flight)
        self.total_ms.merge(other.total_ms)


class Course:
    """Seconds of a run in spans that grow with it, so that a long run takes no more room than a short one."""

    def __init__(self, span_s: int) -> None:
        self.span_s = span_s
        self.spans: list[_Span] = []
        self.through_s = 0
        """So far everything is known."""

    def add(self, second: Second) -> None:
        while second.second // self.span_s >= _MOST_SPANS:
            pairs = [self.spans[at : at + 2] for at in range(0, len(self.spans), 2)]
            for pair in pairs:
                for later in pair[1:]:
                    pair[0].merge(later)
            self.spans, self.span_s = [pair[0] for pair in pairs], self.span_s * 2
        index = second.second // self.span_s
        self.spans += [_Span() for _ in range(index + 1 - len(self.spans))]
        self.spans[index].merge(_Span(Counter(second.counts), second.in_flight, second.total_ms))
        self.through_s = max(self.through_s, second.second + 1)

    @property
    def whole(self) -> list[_Span]:
        """The spans that are over."""
        return self.spans[: self.through_s // self.span_s]


class Progress:
    """One run's. Each report reads only what is new. Raises `NotFound`."""

    def __init__(self, ws: Workspace, run_id: str) -> None:
        self._ws, self._run_id = ws, run_id
        record = read_run(ws, run_id)
        self._scenario = run_scenario(ws, record)
        self._drives = run_drives(ws, record)
        self._feed = RunSeconds()
        traces = kept_traces(ws, self._scenario)
        due, _ = plan_arrivals(self._scenario, record.seed, traces)
        self._planned = np.bincount(due // 10**9, minlength=1)
        self._course = Course(max(1, math.ceil(_PER_SPAN * self._planned.size / max(1, due.size))))
        self._lately: list[Second] = []
        sources = aws_sources(self._scenario.observe, _NOWHERE, usd_per_dispatch=SpendMeter.of(record).unit_usd)
        self._conditions = conditions_of(run_id, self._scenario, record.seed, sources, traces)

    def report(self) -> Report:
        """How the run stands now."""
        record, status = read_run(self._ws, self._run_id), run_status(self._ws, self._run_id)
        for second in self._feed.new(self._drives, last=record.ended):
            self._course.add(second)
            self._lately.append(second)
        self._lately = [one for one in self._lately if one.second >= self._course.through_s - _LATELY_S]
        sections: list[Section] = [self._now(status)]
        epoch = record.metrics_json.get("epoch")
        if self._conditions is not None and epoch is not None:
            sections += self._rules(record.metrics_json, datetime.fromisoformat(epoch))
        sections += _faults(status["fault_events"])
        if self._course.whole and epoch is not None:
            bands = fault_bands(status["stages"], datetime.fromisoformat(epoch), self._course.through_s, {})
            sections += self._charts(bands)
        counts = status["counts"]
        said = f"Run {record.status}: {counts['completed']} of {counts['planned']} planned dispatches completed "
        said += f"after {self._course.through_s} s of about {self._scenario.duration_s:g} s."
        if record.ended:
            said += " The whole of it is in the report, scenario-report."
        title = f"Load in progress: {VariantId.parse(record.variant_id).label}"
        return Report(title=title, summary=escape_markdown(said), sections=sections)

    def _now(self, status: Mapping[str, Any]) -> Figures:
        counts, through_s = status["counts"], self._course.through_s
        lately, from_s = Counter[str](), max(0, through_s - int(_LATELY_S))
        latency = Sketch()
        for one in self._lately:
            lately.update(one.counts)
            latency.merge(one.total_ms)
        spans_s = max(1, through_s - from_s)
        planned = float(self._planned[from_s:through_s].sum())
        pairs: list[tuple[str, Cell]] = [
            ("planned per s, lately", round(planned / spans_s, 2)),
            ("sent per s, lately", round(lately["sent"] / spans_s, 2)),
            ("in flight", sum(counts.get(term, 0) for term in ("awaiting_ack", "submitted", "queued", "leased"))),
            ("waiting in the target's queue", counts.get("queued", 0)),
            ("p95, lately", _ms(latency.quantile(0.95))),
            ("p95 of the run so far", _ms(status["p95"]["total_ms"])),
            ("failed", counts["failed"]),
            ("dropped", counts["dropped"]),
        ]
        return Figures(pairs, title=f"Now (lately: the last {_LATELY_S:g} s)")

    def _rules(self, metrics: Mapping[str, Any], epoch: datetime) -> Iterator[Section]:
        assert self._conditions is not None
        kept = metrics.get("watchers", {}).get(self._conditions.name)
        if kept:
            self._conditions.begin(epoch, kept)
            found = self._conditions.end()
            rows = [
                [one["condition"], one["verdict"], "none yet" if one["worst"] is None else one["worst"]]
                for one in (*found["slos"], *found["stop_conditions"])
            ]
            yield Table(["condition", "so far", "worst"], rows, title="SLOs and stop conditions")

    def _charts(self, bands: Sequence[Band]) -> Iterator[Section]:
        span_s, whole = self._course.span_s, self._course.whole
        middles = [(at + 0.5) * span_s for at in range(len(whole))]
        planned = [float(self._planned[at * span_s : (at + 1) * span_s].sum()) / span_s for at in range(len(whole))]

        def chart(title: str, lines: Sequence[Line], y_title: str, caption: str, *, log_y: bool = False) -> Chart:
            until_s = float(max(self._course.through_s, *(band.end_s for band in bands), 1))
            svg = timeline(lines, until_s=until_s, y_title=y_title, bands=bands, log_y=log_y)
            return Chart(title=title, svg=svg, alt=f"{title} so far", caption=caption)

        rates = [Line("planned", list(zip(middles, planned, strict=True)), "grey", wide=True)]
        for name, colour in (("sent", "blue"), ("completed", "green"), ("failed", "vermillion")):
            values = [span.counts[name] / span_s for span in whole]
            if name != "failed" or any(values):
                rates.append(Line(name, list(zip(middles, values, strict=True)), colour))  # type: ignore[arg-type]
        yield chart("Rate", rates, "dispatches per second", f"In spans of {span_s} s.")
        quantiles = (("p50", 0.5, "blue"), ("p95", 0.95, "orange"))
        latencies = [
            Line(name, [(at, span.total_ms.quantile(q)) for at, span in zip(middles, whole, strict=True)], colour)  # type: ignore[arg-type]
            for name, q, colour in quantiles
        ]
        if any(value is not None for line in latencies for _, value in line.points):
            told = "From the planned time, by the time of completion: what is still in flight is not in it."
            yield chart("Latency", latencies, "ms", told, log_y=True)
        in_flight = [(at, float(span.in_flight)) for at, span in zip(middles, whole, strict=True)]
        yield chart("In flight", [Line("sent and not ended", in_flight, "blue")], "dispatches at once", "")


def _ms(value: float | None) -> Cell:
    return "none has completed" if value is None else f"{value:,.0f} ms"


def _faults(events: Sequence[Mapping[str, Any]]) -> Iterator[Section]:
    last = {event["stage"]: event for event in events}
    rows: list[list[Cell]] = [
        [stage, str(event["event"]), event["at"][11:19], ", ".join(event["target_instance_ids"]), event["reason"]]
        for stage, event in last.items()
    ]
    if rows:
        yield Table(["stage", "fault", "since (UTC)", "instances", "reason"], rows, title="Faults")
