"""What `scenario capacity` answers, in words and in JSON, and what it refuses before anything is started."""

import json
from decimal import Decimal
from types import SimpleNamespace

import pytest

from pointsman.errors import GuardRefused
from pointsman.ids import VariantId
from pointsman.model import Missing
from pointsman.scenario import Capacity
from service.cli.capacity_view import show_capacity
from tests.service.worlds import INCUMBENT, registered

STEPS = (
    {"run_id": "c-0", "per_s": 4.0, "sustained": True, "completed_per_s": 4.0, "why": "every SLO held"},
    {"run_id": "c-1", "why": "interrupted, so it does not count"},
)
FOUND = Capacity(
    "c", VariantId.parse(INCUMBENT), Decimal("4.85"), Decimal("5.25"), ("p95 total_ms < 5",), STEPS, "done", None
)


def test_the_limit_is_shown_with_its_steps(capsys):
    show_capacity(FOUND, False)
    shown = capsys.readouterr().out
    assert "4.85 per second are sustained, 5.25 are not: done." in shown
    assert "interrupted" in shown
    show_capacity(FOUND, True)
    document = json.loads(capsys.readouterr().out)
    assert (document["capacity_per_s"], document["not_sustained_per_s"]) == ("4.85", "5.25")
    assert document["steps"][1] == STEPS[1]


def test_a_variant_that_sustains_nothing_is_said_to(capsys):
    unknown = Missing("nothing held")
    nothing = Capacity("c", FOUND.variant, unknown, unknown, (), (), "nothing held", None)
    show_capacity(nothing, False)
    assert "No rate is sustained: nothing held." in capsys.readouterr().out
    show_capacity(nothing, True)
    assert json.loads(capsys.readouterr().out)["capacity_per_s"] == {"missing": "nothing held"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--slo", "p95 total < 5"], "followed by one of total_ms"),
        (["--slo", "alarms moved >= 1"], "percentiles and failure_rate"),
        (["--lowest", "5", "--highest", "1"], "lowest_per_s"),
        (["--start", "-1"], "start_per_s"),
        (["--precision", "0"], "precision"),
        (["--step-s", "0"], "step_s"),
        (["--most-steps", "0"], "most_steps"),
    ],
)
def test_a_search_that_cannot_be_is_refused_with_its_field(pointsman, home, words, said):
    registered(home)
    answer = pointsman("scenario", "capacity", "--variant", INCUMBENT, "--input-set", "some-clips", *words)
    assert answer.code == 2
    assert said in answer.err


def test_a_search_that_waits_for_consent_waits_at_the_terminal_and_goes_on(pointsman, home, monkeypatch):
    registered(home)
    asked, waited = [], []
    consent = SimpleNamespace(state=lambda now: "waiting" if len(waited) < 2 else "approved")

    def searched(load, request):
        asked.append(request)
        if len(asked) == 1:
            said = "It waits for ap_1."
            raise GuardRefused(said, instruction="pointsman approve ap_1", code="awaiting_approval", approval_id="ap_1")
        return "cap1"

    monkeypatch.setattr("service.cli.scenario.connect", lambda: None)
    monkeypatch.setattr("service.cli.scenario.run_flow", searched)
    monkeypatch.setattr("service.cli.scenario.read_capacity", lambda ws, found: FOUND)
    monkeypatch.setattr("service.cli.approving.read_approval", lambda ws, given: waited.append(given) or consent)
    monkeypatch.setattr("service.cli.approving._LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    words = ("--variant", INCUMBENT, "--input-set", "some-clips", "--most-steps", "3")
    answer = pointsman("scenario", "capacity", *words)
    assert answer.code == 0, answer.err
    assert "somebody else: pointsman approve ap_1" in answer.err
    assert "4.85 per second are sustained" in answer.out
    assert asked[0] == asked[1], "the same search goes on"
    assert asked[0].search.most_steps == 3
    assert waited == ["ap_1"] * 2
