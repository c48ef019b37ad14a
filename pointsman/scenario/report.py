"""The report of one run: what was offered, what came of it, over time and stage by stage, and whether it held."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pointsman.ids import VariantId
from pointsman.model import Missing
from pointsman.reporting import Band, Cell, Figures, Report, Section, Table, Text, escape_markdown
from pointsman.scenario.assessment import Check, assess
from pointsman.scenario.charts import run_charts
from pointsman.scenario.cost_report import cost_figures
from pointsman.scenario.fault_report import fault_bands, fault_sections
from pointsman.scenario.faults.evidence import control_effects
from pointsman.scenario.ledger import counted, scan_ledger
from pointsman.scenario.model import Scenario
from pointsman.scenario.record import RunRecord, read_run, run_scenario
from pointsman.scenario.series import Distribution, RunSeries, run_series
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
_SIGNS = {"passed": "✓", "failed": "✗", "not measured": "–"}
_TIMES = {
    "total_ms": "from the planned time (corrected)",
    "raw_total_ms": "from sending (raw)",
    "queue_ms": "in the target's queue",
    "run_ms": "running at the target",
    "lateness_ms": "lateness of sending",
}


def scenario_report(ws: Workspace, run_id: str) -> Report:
    """Verdicts, cost, a run over time, its latencies, stages, faults, gaps. Of one that has not ended, what is known.

    Raises `NotFound`.
    """
    record = read_run(ws, run_id)
    scenario = run_scenario(ws, record)
    return build_report(
        record, scenario, run_status(ws, run_id), read_series(ws, record, scenario), read_controls(ws, record, scenario)
    )


def read_series(ws: Workspace, record: RunRecord, scenario: Scenario) -> RunSeries | Missing:
    """The run over time from its ledger, which is there once the run has ended in order."""
    if "interruptions" not in record.metrics_json:
        return Missing(f"the run is {record.status}; its ledger is closed when it ends")
    return run_series(scan_ledger(ws, record), counted(scenario))


def read_controls(ws: Workspace, record: RunRecord, scenario: Scenario) -> Mapping[str, Mapping[str, Any]]:
    """By stage whose fault is switched off: the effect that the same measure finds when nothing was done."""
    return control_effects(ws, record, scenario) if "interruptions" in record.metrics_json else {}


def build_report(
    record: RunRecord,
    scenario: Scenario,
    status: Mapping[str, Any],
    series: RunSeries | Missing,
    controls: Mapping[str, Mapping[str, Any]],
) -> Report:
    """The same from what was read before."""
    title = f"Load: {VariantId.parse(record.variant_id).label}"
    checks = assess(status, record.metrics_json)
    if record.refused:
        return Report(title=title, summary=_summary(record, status, checks), sections=[_about(record, scenario)])
    cost = Figures(cost_figures(status["cost"], status["counts"]["completed"]), title="Cost")
    sections: list[Section] = [_checks(checks), cost]
    if isinstance(series, Missing):
        sections.append(Text(escape_markdown(f"The run over time is {series}.")))
    else:
        epoch = datetime.fromisoformat(record.metrics_json["epoch"])
        bands = [*fault_bands(status["stages"], epoch, series.until_s, controls), *_gaps(record)]
        sections += run_charts(series, bands=bands, stages=_starts(scenario))
        sections.append(_distributions(series, warm_up=bool(scenario.warm_up)))
    sections.append(
        Table(
            [title for title, _ in _STAGE_COLUMNS],
            [[_cell(stage, name) for _, name in _STAGE_COLUMNS] for stage in status["stages"]],
            title="Stages",
        )
    )
    sections += [*fault_sections(status["stages"], controls), *_interruptions(record)]
    counts = [(name.replace("_", " "), count) for name, count in status["counts"].items()]
    sections += [Figures(counts, title="Dispatches"), _about(record, scenario)]
    return Report(title=title, summary=_summary(record, status, checks), sections=sections)


def _summary(record: RunRecord, status: Mapping[str, Any], checks: Sequence[Check]) -> str:
    counts, p95 = status["counts"], status["p95"]["total_ms"]
    failure = status["failure"]
    if record.refused and failure:
        return escape_markdown(f"Refused; nothing was sent. {failure['message']} {failure['instruction']}")
    said = f"Run {record.status}: {counts['completed']} of {counts['planned']} dispatches completed"
    said += f", p95 {p95:.0f} ms from the planned time." if p95 is not None else "."
    if failure:
        said += f" {failure['message']} {failure['instruction']}"
    stop = status["runner"].get("stop")
    if stop:
        said += f" Stopped by {stop['who']} at {stop['when']}: {stop['reason']}."
    failed = [check.name for check in checks if check.verdict == "failed" and check.group != "run"]
    if failed:
        said += f" Not so: {'; '.join(failed)}."
    return escape_markdown(said)


def _checks(checks: Sequence[Check]) -> Table:
    rows: list[list[Cell]] = [
        [check.name, f"{_SIGNS[check.verdict]} {check.verdict}", check.asked, check.found] for check in checks
    ]
    return Table(["check", "verdict", "what must hold", "what was found"], rows, title="Verdicts")


def _distributions(series: RunSeries, *, warm_up: bool) -> Table:
    columns = ("p50", "p90", "p95", "p99", "p999")
    rows: list[list[Cell]] = []
    for name, title in _TIMES.items():
        found = series.distributions.get(name)
        if isinstance(found, Distribution):
            rows.append([title, found.count, found.mean, *(found.quantiles[one] for one in columns), found.largest])
        else:
            why = "the target does not tell" if name in ("queue_ms", "run_ms") else "nothing of the kind happened"
            rows.append([title, 0, *[Missing(why)] * (len(columns) + 2)])
    title = "Times, without warm-up" if warm_up else "Times"
    return Table(["time, ms", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "largest"], rows, title=title)


def _starts(scenario: Scenario) -> list[tuple[float, str]]:
    found, at_us = [], 0
    for stage, segment in zip(scenario.stages, scenario.segments, strict=True):
        found.append((at_us / 1e6, stage.name))
        at_us += segment.us
    return found


def _gaps(record: RunRecord) -> list[Band]:
    """Interruptions, in seconds after the run's epoch."""
    several = record.metrics_json["runner"].get("shards", 1) > 1
    return [
        Band(gap["after_s"], gap["resumed_s"], f"shard {gap['shard']} away" if several else "interrupted", "gap")
        for gap in record.metrics_json["interruptions"]
    ]


def _interruptions(record: RunRecord) -> Iterator[Section]:
    gaps = record.metrics_json.get("interruptions")
    if gaps:
        yield Table(
            ["shard", "last heard of after s", "continued after s", "next dispatch", "sent and not known"],
            [
                [
                    gap["shard"],
                    gap["after_s"],
                    gap["resumed_s"],
                    "none was left" if gap["first_seq"] is None else gap["first_seq"],
                    gap["unsettled"],
                ]
                for gap in gaps
            ],
            title="Interruptions",
        )


def _about(record: RunRecord, scenario: Scenario) -> Figures:
    return Figures(
        [
            ("run", record.id),
            ("variant", record.variant_id),
            ("environment", record.environment_id),
            ("scenario", f"{record.scenario_id}, {scenario.duration_s:g} s of arrivals"),
            ("seed", record.seed),
            ("results", record.results_path),
        ],
        title="Behind it",
    )


def _cell(figures: Mapping[str, Any], name: str) -> Cell:
    value: Cell | None = figures[name]
    return Missing(figures["missing"][name]) if value is None else value
