"""What commands say in a home folder where nothing has happened yet: what is missing, and what to do about it."""

import pytest


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("route", "history"), "route: nothing is given; allowed: a route that has a binding, and none has one yet."),
        (("hud", "show"), "verdict: nothing is given; allowed: one that was reached, and none was yet."),
        (("hud", "show", "bm_1"), "benchmark id: 'bm_1' is not allowed; allowed: one that was created."),
    ],
)
def test_what_needs_something_says_that_there_is_none(home, pointsman, words, says):
    answer = pointsman(*words)
    assert answer.code == 2
    assert says in answer.err


def test_an_action_log_without_rows_says_so(home, pointsman):
    assert "Nothing has happened yet." in pointsman("logs").out
    assert "No such event yet." in pointsman("logs", "--severity", "critical").out
