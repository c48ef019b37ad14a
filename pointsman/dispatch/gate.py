"""Holding submissions back while the target asks for quiet or cannot be reached, and noticing when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pointsman.dispatch.pace import Pace
from pointsman.dispatch.protocol import Response

_PROBE_EVERY_NS = 250_000_000
_FIRST_BACKOFF_S = 0.25
_LONGEST_BACKOFF_S = 5.0
_LONGEST_ASKED_S = 86_400.0


class Gate:
    """Open, or shut until a time (the target asked for quiet), or shut until a probe gets through (out of reach).

    It also keeps the target's own limits: `submits_per_s` here, status requests by `polls`.
    """

    def __init__(
        self, now_ns: Callable[[], int], *, submits_per_s: float | None = None, polls_per_s: float | None = None
    ) -> None:
        self._now_ns = now_ns
        self._submits = Pace(now_ns, submits_per_s)
        self.polls = Pace(now_ns, polls_per_s)
        """Of everything that is asked about jobs that the target has."""
        self._until_ns = 0
        self._unreachable = False
        self._prober: asyncio.Task[object] | None = None
        self._changed = asyncio.Event()
        self._closed = False
        self._refusals = 0
        self._failing_since_ns = 0
        self._failing = False

    def lets_through(self) -> bool:
        """Whether the caller may send at once; otherwise it has to wait for `passage`."""
        shut = self._closed or self._unreachable or (self._until_ns > 0 and self._until_ns > self._now_ns())
        return not shut and self._submits.take()

    async def passage(self) -> None:
        """Return when the caller may send. While the target is out of reach one caller at a time passes, to try."""
        while True:
            await self._opening()
            await self._submits.turn()
            still_open = self._until_ns <= self._now_ns() and not self._closed
            if still_open and (not self._unreachable or self._prober is asyncio.current_task()):
                return

    async def _opening(self) -> None:
        while True:
            wait = self._until_ns - self._now_ns()
            if self._closed:
                await self._changed.wait()
                continue
            if self._unreachable:
                if self._prober is None:
                    self._prober = asyncio.current_task()
                if self._prober is not asyncio.current_task():
                    await self._changed.wait()
                    continue
                if wait <= 0:
                    return
            elif wait <= 0:
                return
            await asyncio.sleep(wait / 1e9)

    def close(self) -> None:
        """Nobody passes any more: what waits is never sent."""
        self._closed = True

    def reached(self) -> None:
        """Some answer came."""
        if self._failing:
            self._failing = False
            self._unreachable = False
            self._hand_over()

    def taken(self) -> None:
        """A submission was not turned away: the next refusal starts with a short wait again."""
        self._refusals = 0

    def not_reached(self, *, left: bool) -> None:
        """No answer came. Unless the request may have `left`, hold the others back until one gets through."""
        self._fail()
        if left:
            self._hand_over()
        else:
            self._unreachable = True
            self._until_ns = self._now_ns() + _PROBE_EVERY_NS

    def not_answered(self) -> None:
        """A question other than a submission got no answer."""
        self._fail()

    def quiet(self, asked_s: float | None) -> None:
        """The target asked to be left alone for that long; without a time, wait twice as long each time."""
        now = self._now_ns()
        if asked_s is None:
            if self._until_ns > now:
                return  # the refusals of one moment are one refusal
            asked_s = min(_FIRST_BACKOFF_S * 2**self._refusals, _LONGEST_BACKOFF_S)
            self._refusals = min(self._refusals + 1, 10)
        self._until_ns = max(self._until_ns, now + round(asked_s * 1e9))

    @property
    def quiet_until_ns(self) -> int:
        """Until when nothing is sent, and so nothing can be learnt."""
        return self._until_ns

    def silent_s(self) -> float:
        """How long the target has been out of reach; 0 when the last try was answered."""
        return (self._now_ns() - self._failing_since_ns) / 1e9 if self._failing else 0.0

    def _fail(self) -> None:
        if not self._failing:
            self._failing = True
            self._failing_since_ns = self._now_ns()

    def _hand_over(self) -> None:
        self._prober = None
        self._changed.set()
        self._changed = asyncio.Event()


def asked_to_wait(answer: Response, now: datetime | None = None) -> float | None:
    """Seconds of a `Retry-After` header (a number or a date, RFC 9110 section 10.2.3); None without a legal one."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:10]), _LONGEST_ASKED_S)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return min(max(0.0, (at - (now or datetime.now(UTC))).total_seconds()), _LONGEST_ASKED_S)
