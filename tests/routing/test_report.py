"""The report of a route shows where traffic goes, where it went, what the probe saw and why."""

import pytest

from pointsman.reporting import to_html, to_markdown
from pointsman.routing import BindingRequest, ProbeResult, apply_binding, in_words, pause, rollback, routing_report
from tests.routing.worlds import ROUTE, A, B, MemoryGateway


@pytest.fixture
def gateway():
    return MemoryGateway()


def move(ws, gateway, weights, expected, cause="because"):
    return apply_binding(ws, gateway, BindingRequest(ROUTE, weights, expected, cause, f"{expected}"))


def test_a_route_without_binding_says_so(ws):
    assert "no binding" in routing_report(ws, ROUTE).summary


def test_a_change_is_shown_with_both_sides_the_probe_and_the_history(ws, gateway):
    move(ws, gateway, {A: 100}, None, "the first")
    move(ws, gateway, {A: 10, B: 90}, 1, "verdict v <1>")
    report = routing_report(ws, ROUTE, ProbeResult(5, {str(A): 1, str(B): 4}, {2: 5}, ()))
    assert "since generation 2" in report.summary
    assert "5 routed jobs of a probe confirm it" in report.summary
    shares = next(section for section in report.sections if getattr(section, "title", "") == "Where traffic goes")
    assert [(row[0], row[2], row[3]) for row in shares.rows] == [(A.label, 100, 10), (B.label, 0, 90)]
    history = report.sections[-1]
    assert [(row[0], row[1]) for row in history.rows] == [(2, "active"), (1, "superseded")]
    for shown in (to_markdown(report), to_html([report], "routing")):
        assert "90 % x265@lab-cpu, 10 % x264@lab-cpu" in shown
        assert "<1>" not in shown


def test_a_failed_probe_and_its_rollback_are_shown_with_the_reason(ws, gateway):
    move(ws, gateway, {A: 100}, None)
    move(ws, gateway, {B: 100}, 1)
    rollback(ws, gateway, route_key=ROUTE, expected=2, idempotency_key="back", reason="no job ran on it")
    report = routing_report(ws, ROUTE, ProbeResult(1, {str(A): 1}, {1: 1}, ("1 jobs ran on the old one",)))
    assert "do **not** confirm it: 1 jobs ran on the old one" in report.summary
    assert [(row[0], row[1]) for row in report.sections[-1].rows] == [
        (3, "active"),
        (2, "rolled_back"),
        (1, "superseded"),
    ]
    assert "no job ran on it" in to_markdown(report)


def test_a_binding_in_words_names_the_largest_share_first():
    from pointsman.model import Binding

    assert in_words(Binding(ROUTE, 1, {A: 0, B: 100}, "c")) == "x265@lab-cpu"
    assert in_words(Binding(ROUTE, 1, {A: 30, B: 70}, "c")) == "70 % x265@lab-cpu, 30 % x264@lab-cpu"


def test_a_canary_is_shown_with_what_was_found_at_its_steps_and_what_is_held(ws, gateway):
    move(ws, gateway, {A: 100}, None)
    apply_binding(ws, gateway, BindingRequest(ROUTE, {B: 100}, 1, "test", "canary", steps=(5, 100)))
    pause(ws, ROUTE, "looking at it")
    report = routing_report(ws, ROUTE)
    shown = to_markdown(report)
    assert "Canary of 5 %, 100 %: paused" in shown
    assert "looking at it" in shown
    assert "x264@lab-cpu of generation 1 is held since" in report.summary
