"""A baseline as a report: how much of each part was found, and how what matters in a test stands."""

from __future__ import annotations

from collections.abc import Sequence

from pointsman.acceptance.baseline import Baseline
from pointsman.model import Missing
from pointsman.reporting import Cell, Figures, Report, Section, Table, escape_markdown

_SHOWN: dict[str, Sequence[str]] = {
    "ecs services": ("cluster", "name", "status", "desired", "running", "task_definition"),
    "auto scaling groups": ("name", "min", "desired", "max"),
    "database instances": ("name", "engine", "class", "status", "multi_az"),
    "redis replication groups": ("name", "status", "automatic_failover"),
    "fault templates": ("name", "description"),
    "alarms": ("name", "state", "since", "metric"),
}
_UNKNOWN = Missing("not said by AWS")


def baseline_report(baseline: Baseline) -> Report:
    """Everything is in the JSON that `uri` names; here is what a person looks at first."""
    parts = baseline.parts
    unread = [name for name, part in parts.items() if isinstance(part, Missing)]
    summary = f"{len(parts) - len(unread)} of {len(parts)} parts of {baseline.environment_id} were read, none changed."
    if unread:
        summary += f" Not measured: {', '.join(unread)}."
    sections: list[Section] = [
        Figures(
            [
                ("captured at", f"{baseline.captured_at:%F %T} UTC"),
                ("account", baseline.account),
                ("region", baseline.region or "of the AWS settings"),
                ("calls", ", ".join(baseline.calls)),
                ("everything, as JSON", baseline.uri),
            ]
        ),
        Table(
            ["part", "found"],
            [[name, part if isinstance(part, Missing) else len(part)] for name, part in parts.items()],
            title="Parts",
        ),
    ]
    for name, columns in _SHOWN.items():
        part = parts[name]
        if not isinstance(part, Missing) and part:
            rows = [[_cell(item.get(column)) for column in columns] for item in part]
            sections.append(Table([column.replace("_", " ") for column in columns], rows, title=name.capitalize()))
    return Report(title=f"Baseline of {baseline.environment_id}", summary=escape_markdown(summary), sections=sections)


def _cell(value: Cell | None) -> Cell:
    return _UNKNOWN if value is None else value
