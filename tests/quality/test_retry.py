"""Waiting: Retry-After in both forms, RetryInfo in the body, and backoff that a seed fixes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.quality.retry import RetryPolicy, asked_wait

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 99999999999999999999 12:00:30 GMT", None),
        ("Sun, 01 Mar 2026 12:00:30 +99999999999999", None),
        ("soon", None),
        ("-3", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str, seconds: float | None) -> None:
    assert asked_wait({"retry-after": text}, {}, NOW) == seconds


def test_the_longer_of_header_and_body_is_waited() -> None:
    body = {"error": {"details": [{"@type": "x"}, "odd", {"retryDelay": "36.5s"}]}}
    assert asked_wait({}, body, NOW) == 36.5
    assert asked_wait({"retry-after": "5"}, body, NOW) == 36.5
    assert asked_wait({"retry-after": "50"}, body, NOW) == 50


_SCALARS = st.none() | st.text(max_size=5) | st.integers()
_KEYS = st.sampled_from(["error", "details", "retryDelay"])
_BODIES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=8
)


@given(_BODIES)
def test_no_body_whatever_breaks_the_reading(body: object) -> None:
    wait = asked_wait({}, body, NOW)
    assert wait is None or wait >= 0


@given(st.integers(0, 10**6), st.text(max_size=8), st.integers(1, 30))
def test_backoff_doubles_within_its_bounds_and_repeats_for_the_same_seed(seed: int, label: str, failures: int) -> None:
    policy = RetryPolicy(first_wait_s=1, longest_wait_s=60, seed=seed)
    ceiling = min(60, 2 ** (failures - 1))
    assert ceiling / 2 <= policy.backoff(label, failures) <= ceiling
    assert policy.backoff(label, failures) == RetryPolicy(seed=seed).backoff(label, failures)


def test_two_samples_that_fail_together_do_not_come_back_together() -> None:
    assert RetryPolicy().backoff("a", 3) != RetryPolicy().backoff("b", 3)
