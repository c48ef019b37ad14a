"""The pictures of a run's report: rates, latencies and what was in flight over time, and how late dispatches left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from pointsman.reporting import Band, Chart, Line, Section, Text, bars, show, timeline
from pointsman.scenario.series import RunSeries

_BANDS = {
    "fault": "Orange: a fault at work.",
    "control": "Light blue: here a fault would have been, had it been enabled.",
    "gap": "Grey: a driver was away.",
}


def run_charts(series: RunSeries, *, bands: Sequence[Band], stages: Sequence[tuple[float, str]]) -> Iterator[Section]:
    """A chart each, or a sentence on why there is none. `bands` and `stages` are marked in all that show time."""
    until_s = max(series.until_s, *(band.end_s for band in bands), *(start for start, _ in stages))
    explained = "".join(f" {_BANDS[kind]}" for kind in _BANDS if any(band.kind == kind for band in bands))

    def over_time(title: str, drawn: list[Line], y_title: str, caption: str, *, log_y: bool = False) -> Chart:
        svg = timeline(drawn, until_s=until_s, y_title=y_title, bands=bands, stages=stages, log_y=log_y)
        return Chart(title=title, svg=svg, alt=f"{title} over time", caption=caption + explained)

    yield over_time("Rate", _rates(series.rates), "dispatches per second", _rate_in_words(series.rates))
    if series.latency.is_empty():
        yield Text("Nothing completed, so there is no latency to draw.")
    else:
        worst = series.latency.sort("p95", descending=True, nulls_last=True).row(0, named=True)
        yield over_time(
            "Latency",
            _latencies(series),
            "ms, by planned time",
            f"Percentiles in spans of {series.latency_span_s:g} s. The worst p95 from the planned time is "
            f"{worst['p95']:,.0f} ms at {worst['at_s']:.0f} s. Dashed: from sending; where it lies below the solid "
            "line, jobs left late.",
            log_y=True,
        )
    queue = [Line("sent and not ended", _points(series.in_flight, "in_flight"), "blue")]
    told = "queued" in series.in_flight.columns
    if told:
        queue.append(Line("waiting in the target's queue", _points(series.in_flight, "queued"), "orange"))
    most = max(series.in_flight["in_flight"].to_list(), default=0)
    caption = f"In flight at the same time: {most} at most."
    caption += " The queue is what completed jobs say of it." if told else " The target does not tell of its queue."
    if series.unplaced:
        caption += f" {series.unplaced} dispatches are not in it: when they were sent is not known."
    yield over_time("In flight", queue, "dispatches at once", caption)
    if series.lateness.is_empty():
        yield Text("Nothing was sent, so there is no lateness to draw.")
    else:
        yield _lateness(series)


def _points(frame: pl.DataFrame, column: str) -> list[tuple[float, float | None]]:
    return list(zip(frame["at_s"].to_list(), frame[column].to_list(), strict=True))


def _rates(rates: pl.DataFrame) -> list[Line]:
    drawn = [
        Line("planned", _points(rates, "planned"), "grey", wide=True),
        Line("sent", _points(rates, "sent"), "blue"),
        Line("completed", _points(rates, "completed"), "green"),
    ]
    rare = (
        Line("failed", _points(rates, "failed"), "vermillion"),
        Line("dropped", _points(rates, "dropped"), "purple"),
    )
    return drawn + [line for line in rare if rates[line.name].sum()]


def _rate_in_words(rates: pl.DataFrame) -> str:
    most = {name: float(rates[name].max() or 0) for name in ("planned", "sent")}  # type: ignore[arg-type]
    return f"Highest rate: {most['planned']:.4g} planned and {most['sent']:.4g} sent per second."


def _latencies(series: RunSeries) -> list[Line]:
    latency, each = series.latency, series.each
    dots = [] if each.is_empty() else [Line("each job", _points(each, "total_ms"), "black", dots=True)]
    return [
        Line("p50", _points(latency, "p50"), "blue"),
        Line("p95", _points(latency, "p95"), "orange"),
        Line("p99", _points(latency, "p99"), "vermillion"),
        Line("p95 from sending", _points(latency, "raw_p95"), "orange", dashed=True, wide=True),
        Line("p99 from sending", _points(latency, "raw_p99"), "vermillion", dashed=True, wide=True),
        *dots,
    ]


def _lateness(series: RunSeries) -> Chart:
    late = series.distributions["lateness_ms"]
    svg = bars(
        list(series.lateness.iter_rows()),
        x_title="ms after the planned time (0.01 and less in the first)",
        y_title="dispatches",
        log_x=True,
        width=860,
        height=180,
    )
    p50, p99 = late.quantiles["p50"], late.quantiles["p99"]
    caption = (
        f"Half of the dispatches left at most {show(p50)} ms late, 99 % {show(p99)} ms, all {show(late.largest)} ms."
    )
    return Chart(title="Lateness of sending", svg=svg, alt="How many left how late", caption=caption)
