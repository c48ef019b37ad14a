"""What a check found, and the report that names the rows and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from pointsman.checks.suites import Suite
from pointsman.reporting import Figures, Report, Section, Table, Text, escape_markdown

_NEXT = (
    "Nothing after this step was done, and traffic stays where it is. Mend what made these rows, or the rule if it is "
    "yours and wrong; then the same request with the same run id goes on from here."
)


@dataclass(frozen=True, slots=True)
class CheckFailure:
    """One rule that does not hold; `own` when a user added it.

    `rows` = keys of the first such rows, `values` = what each has there; `exception` = why it was not evaluated.
    """

    expectation: str
    column: str
    why: str
    rows: tuple[str, ...]
    exception: str | None = None
    values: tuple[str, ...] = ()
    own: bool = False


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
        failures = [
            {**asdict(failure), "rows": list(failure.rows), "values": list(failure.values)} for failure in self.failures
        ]
        return {"suite": self.suite.name, "rows": self.rows, "passed": self.passed, "failures": failures}


def check_report(found: CheckReport) -> Report:
    """The report of a check: which rules do not hold, why, and for which rows."""
    checked = found.suite
    whose = f"{len(checked.rules) - checked.own} built in" + (f", {checked.own} of your own" if checked.own else "")
    facts: list[tuple[str, str | int]] = [("suite", checked.name), ("rows", found.rows), ("rules", whose)]
    if checked.own:
        facts.append(("your own", str(checked.own_path)))
    sections: list[Section] = [Figures(facts)]
    if found.passed:
        summary = f"All {len(checked.rules)} rules of the suite `{checked.name}` hold for {found.rows} rows."
        return Report(f"Data check: {checked.name}", summary, tuple(sections))
    held = f"{len(found.failures)} of {len(checked.rules)} rules of the suite `{checked.name}` do not hold"
    summary = f"**{held}**, so the chain stopped here. First: {escape_markdown(found.failures[0].why)}."
    sections.append(
        Table(
            ("what should be, and is not", "column", "rule", "whose"),
            [(f.why, f.column or "whole set", f.expectation, "yours" if f.own else "built in") for f in found.failures],
            title="What does not hold",
        )
    )
    rows = [
        (key, value, failure.why)
        for failure in found.failures
        for key, value in zip_longest(failure.rows, failure.values, fillvalue="")
    ]
    if rows:
        sections.append(Table((checked.key, "has", "rule that it breaks"), rows, title="Rows, the first of each rule"))
    evaluated = [(f.expectation, f.exception) for f in found.failures if f.exception]
    if evaluated:
        sections.append(Table(("rule", "error"), evaluated, title="Rules that could not be evaluated"))
    return Report(f"Data check: {checked.name}", summary, (*sections, Text(_NEXT)))
