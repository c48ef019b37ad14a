"""Prints at the end what the kill tests covered."""

from __future__ import annotations

from typing import Any

from tests.prove.coverage_of_kills import COVERED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if COVERED:
        terminalreporter.section("kill -9, then the same command")
        for (victim, step), outcome in COVERED.items():
            terminalreporter.write_line(f"{victim:<8} {step:<10} {outcome}")
