"""What a check found, and the report that names the rows and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pointsman.checks.suites import Suite
from pointsman.reporting import Figures, Report, Section, Table, escape_markdown


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """One rule that does not hold. `rows` = keys of the first such rows; `exception` = why it was not evaluated."""

    expectation: str
    column: str
    why: str
    rows: tuple[str, ...]
    exception: str | None = None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The outcome of one suite on one frame."""

    suite: Suite
    rows: int
    failures: tuple[CheckFailure, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    def as_document(self) -> dict[str, Any]:
        """Plain data for logs and `--json`."""
        failures = [{**asdict(failure), "rows": list(failure.rows)} for failure in self.failures]
        return {"suite": self.suite.name, "rows": self.rows, "passed": self.passed, "failures": failures}


def check_report(found: CheckReport) -> Report:
    """The report of a check: which rules do not hold, why, and for which rows."""
    checked = found.suite
    facts = Figures([("suite", checked.name), ("rows", found.rows), ("rules", len(checked.rules))])
    sections: list[Section] = [facts]
    if found.passed:
        summary = f"All {len(checked.rules)} rules of the suite `{checked.name}` hold for {found.rows} rows."
    else:
        held = f"{len(found.failures)} of {len(checked.rules)} rules of the suite `{checked.name}` do not hold"
        summary = f"**{held}**, so the chain stopped here. First: {escape_markdown(found.failures[0].why)}."
        sections.append(
            Table(
                ("column", "why", "rule"),
                [(failure.column or "whole set", failure.why, failure.expectation) for failure in found.failures],
                title="What does not hold",
            )
        )
        rows = [(key, failure.why) for failure in found.failures for key in failure.rows]
        if rows:
            sections.append(Table((checked.key, "why"), rows, title="Rows, the first of each rule"))
        evaluated = [(f.expectation, f.exception) for f in found.failures if f.exception]
        if evaluated:
            sections.append(Table(("rule", "error"), evaluated, title="Rules that could not be evaluated"))
    return Report(f"Data check: {checked.name}", summary, tuple(sections))
