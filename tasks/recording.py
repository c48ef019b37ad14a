"""Recording a report as a markdown artifact under its stable key."""

from __future__ import annotations

from uuid import UUID

from prefect.artifacts import create_markdown_artifact

from pointsman.reporting import Report, to_markdown


def record_report(key: str, report: Report) -> UUID:
    """Write the artifact `key` (CONTRACTS, Prefect names) and return its id."""
    created = create_markdown_artifact(key=key, markdown=to_markdown(report), description=report.title)
    assert isinstance(created, UUID)
    return created
