"""How many calls at once: halved once per round of refusals, one more per round of answers, and waits for everybody."""

from __future__ import annotations

import threading

import pytest

from pointsman.clock import ManualClock
from pointsman.quality.pace import Pace
from tests.quality.worlds import never


def entered(pace: Pace, count: int) -> list[int]:
    tickets = [pace.enter(never()) for _ in range(count)]
    assert None not in tickets
    return [ticket for ticket in tickets if ticket is not None]


def test_refusals_of_one_round_halve_the_room_once() -> None:
    pace = Pace(8, ManualClock())
    for ticket in entered(pace, 8):
        pace.leave(ticket, refused=True)
    assert pace.room == 4
    for _ in range(5):
        for ticket in entered(pace, pace.room):
            pace.leave(ticket, refused=True)
    assert pace.room == 1


@pytest.mark.parametrize("start", [1, 2, 4])
def test_a_round_of_answers_makes_room_for_one_more_and_never_for_more_than_allowed(start: int) -> None:
    pace = Pace(8, ManualClock())
    while pace.room > start:
        pace.leave(entered(pace, 1)[0], refused=True)
    for ticket in entered(pace, start):
        pace.leave(ticket)
    assert start <= pace.room <= start + 1
    for _ in range(200):
        pace.leave(entered(pace, 1)[0])
    assert pace.room == 8


def test_a_wait_that_the_service_asks_for_holds_for_everybody() -> None:
    clock = ManualClock()
    pace = Pace(4, clock)
    pace.leave(entered(pace, 1)[0], refused=True, hold_s=36.0)
    entered(pace, 1)
    assert clock.monotonic() == pytest.approx(36.0)


def test_who_waits_for_room_ends_when_asked_to() -> None:
    pace = Pace(1, ManualClock())
    entered(pace, 1)
    stop = threading.Event()
    stop.set()
    assert pace.enter(stop) is None


def test_room_that_is_given_back_goes_to_who_waits() -> None:
    pace = Pace(1, ManualClock())
    (ticket,) = entered(pace, 1)
    got: list[int | None] = []
    waiting = threading.Thread(target=lambda: got.append(pace.enter(never())))
    waiting.start()
    pace.leave(ticket)
    waiting.join(timeout=5)
    assert got == [0]
