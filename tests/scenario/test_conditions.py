"""The grammar of SLOs and stop conditions: what it reads, and how it refuses what it cannot."""

from __future__ import annotations

import pytest

from pointsman.errors import InputRefused
from pointsman.scenario.conditions import parse_condition


@pytest.mark.parametrize(
    ("text", "figure", "comparison", "threshold", "window_s"),
    [
        ("p95 total_ms < 5000 over 30s", "percentile", "<", 5000, 30),
        ("p99.9  lateness_ms <=2.5 ms", "percentile", "<=", 2.5, None),
        ("failure_rate > 20% for 10m", "failure_rate", ">", 0.2, 600),
        ("failure_rate > 5 % for 2m", "failure_rate", ">", 0.05, 120),
        ("unhealthy targets >= 1 for 5m", "unhealthy_targets", ">=", 1, 300),
        ("failed_spend > 5 USD", "failed_spend", ">", 5, None),
        ("achieved_rate < 95%", "achieved_rate", "<", 0.95, None),
        ("alarms moved >= 1", "alarms_moved", ">=", 1, None),
        ("backend_error_rate > baseline + 2.5% for 1h", "backend_errors", ">", 0.025, 3600),
        ("backend_error_rate > baseline", "backend_errors", ">", 0, None),
    ],
)
def test_a_condition_is_read(text: str, figure: str, comparison: str, threshold: float, window_s: int | None) -> None:
    condition = parse_condition(text)
    assert (condition.figure, condition.comparison, condition.window_s) == (figure, comparison, window_s)
    assert condition.threshold == pytest.approx(threshold)
    assert parse_condition(condition.text) == condition


@pytest.mark.parametrize(
    ("text", "part", "allowed"),
    [
        ("", "condition", "p95 total_ms < 5000 over 30s"),
        ("p95 total_ms = 5", "condition", "over 30s"),
        ("p94 total_ms < 5", "condition, figure", "p50, p90, p95, p99, p99.9"),
        ("p95 total < 5", "condition, figure", "total_ms, queue_ms, run_ms, lateness_ms"),
        ("failures > 5%", "condition, figure", "failure_rate"),
        ("p95 total_ms < fast", "condition, threshold", "milliseconds"),
        ("p95 total_ms < -5", "condition, threshold", "milliseconds"),
        ("failure_rate > 5", "condition, threshold", "as in 5%"),
        ("failed_spend > 5", "condition, threshold", "5 USD"),
        ("unhealthy targets >= 1.5 for 5m", "condition, threshold", "whole number"),
        ("backend_error_rate > 5%", "condition, threshold", "baseline + 5%"),
        ("p95 total_ms < 5000 over 30", "condition, window", "1s to 24h"),
        ("p95 total_ms < 5000 over 0s", "condition, window", "1s to 24h"),
        ("p95 total_ms < 5000 over 25h", "condition, window", "1s to 24h"),
        ("failed_spend > 5 USD over 1m", "condition, window", "whole run"),
        ("alarms moved >= 1 for 1m", "condition, window", "whole run"),
    ],
)
def test_a_condition_that_cannot_be_read_is_refused_with_the_part_that_is_wrong(
    text: str, part: str, allowed: str
) -> None:
    with pytest.raises(InputRefused) as refused:
        parse_condition(text)
    assert refused.value.field == part
    assert allowed in refused.value.allowed


@pytest.mark.parametrize(
    ("text", "held", "broken"),
    [
        ("p95 total_ms < 5", 4.9, 5),
        ("p95 total_ms <= 5", 5, 5.1),
        ("failure_rate > 5%", 0.051, 0.05),
        ("unhealthy targets >= 2", 2, 1),
    ],
)
def test_a_comparison_means_what_it_says(text: str, held: float, broken: float) -> None:
    condition = parse_condition(text)
    assert condition.holds(held)
    assert not condition.holds(broken)


def test_values_are_shown_in_their_unit() -> None:
    assert parse_condition("failure_rate > 5%").shown(0.0512) == "5.12 %"
    assert parse_condition("p95 total_ms < 5").shown(6210.5) == "6210.5 ms"
    assert parse_condition("failed_spend > 5 USD").shown(5.25) == "5.25 USD"
    assert parse_condition("alarms moved >= 1").shown(2) == "2"
