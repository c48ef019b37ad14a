"""The report of one run: what was offered, what came of it, stage by stage and over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pointsman.dispatch import read_dispatches
from pointsman.ids import VariantId
from pointsman.model import Missing
from pointsman.reporting import Cell, Chart, Figures, Report, Section, Table, Text, escape_markdown, lines
from pointsman.scenario.metrics import latency_over_time
from pointsman.scenario.record import RunRecord, read_run, run_folder
from pointsman.scenario.status import run_status
from pointsman.workspace import Workspace

_STAGE_COLUMNS = (
    ("stage", "name"),
    ("planned", "planned"),
    ("sent", "sent"),
    ("completed", "completed"),
    ("failed", "failed"),
    ("dropped", "dropped"),
    ("sent per s", "achieved_rate"),
    ("p50 ms", "p50_ms"),
    ("p95 ms", "p95_ms"),
    ("p99 ms", "p99_ms"),
)


def scenario_report(ws: Workspace, run_id: str) -> Report:
    """Figures, a table per stage and latency over time. Of a run that has not ended, what is known so far.

    Raises `NotFound`.
    """
    record = read_run(ws, run_id)
    status = run_status(ws, run_id)
    counts, p95, lateness = status["counts"], status["p95"], status["lateness"]
    sections: list[Section] = [
        Figures(
            [
                ("p95 from the planned time, ms", _cell(p95, "total_ms")),
                ("p95 in the target's queue, ms", _cell(p95, "queue_ms")),
                ("p95 of running, ms", _cell(p95, "run_ms")),
                ("lateness of sending p50, ms", _cell(lateness, "p50")),
                ("lateness of sending p99, ms", _cell(lateness, "p99")),
                ("lateness of sending at most, ms", _cell(lateness, "max")),
                ("seed", record.seed),
                ("scenario", record.scenario_id),
                ("results", record.results_path),
            ],
            title="Latency and lateness",
        ),
        Table(
            [title for title, _ in _STAGE_COLUMNS],
            [[_cell(stage, name) for _, name in _STAGE_COLUMNS] for stage in status["stages"]],
            title="Stages",
        ),
        Figures([(name.replace("_", " "), count) for name, count in counts.items()], title="Dispatches"),
    ]
    if "interruptions" in record.metrics_json:
        sections += _over_time(ws, record)
    return Report(
        title=f"Load: {VariantId.parse(record.variant_id).label}", summary=_summary(record, status), sections=sections
    )


def _summary(record: RunRecord, status: Mapping[str, Any]) -> str:
    counts, p95 = status["counts"], status["p95"]["total_ms"]
    said = f"Run {record.status}: {counts['completed']} of {counts['planned']} dispatches completed"
    said += f", p95 {p95:.0f} ms from the planned time." if p95 is not None else "."
    failure = status["failure"]
    if failure:
        said += f" {failure['message']} {failure['instruction']}"
    stop = status["runner"].get("stop")
    if stop:
        said += f" Stopped by {stop['who']} at {stop['when']}: {stop['reason']}."
    return escape_markdown(said)


def _over_time(ws: Workspace, record: RunRecord) -> list[Section]:
    sections: list[Section] = []
    interruptions = record.metrics_json["interruptions"]
    if interruptions:
        sections.append(
            Table(
                ["last heard of after s", "continued after s", "next dispatch", "sent and not known"],
                [
                    [
                        gap["after_s"],
                        gap["resumed_s"],
                        "none was left" if gap["first_seq"] is None else gap["first_seq"],
                        gap["unsettled"],
                    ]
                    for gap in interruptions
                ],
                title="Interruptions",
            )
        )
    series = latency_over_time(read_dispatches(run_folder(ws, record)))
    if series["p95"]:
        worst_at, worst = max(series["p95"], key=lambda point: point[1])
        sections.append(
            Chart(
                title="Latency over time",
                svg=lines(series, x_title="planned at, s", y_title="ms from the planned time"),
                alt=f"p50 and p95 by planned time; the worst p95 is {worst:.0f} ms at {worst_at:.0f} s",
            )
        )
    else:
        sections.append(Text("Nothing completed, so there is no latency to draw."))
    return sections


def _cell(figures: Mapping[str, Any], name: str) -> Cell:
    value: Cell | None = figures[name]
    return Missing(figures["missing"][name]) if value is None else value
