"""How long jobs take, learnt while they run, so that a job is asked about when it is likely to be done.

What is learnt is the hazard: how often jobs of some age end within the next second. Jobs that still run count as well,
by the time for which they are known to have run; averaging those that have ended would know the short ones only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_SHORTEST_S, _LONGEST_S = 0.05, 1e6
_STEP = 1.08
"""From one age to the next at which the hazard may change."""
_WEIGHT = 0.05
"""What is assumed beforehand, in jobs of each age: that the hazard is one by the age, so that a job of which nothing is
known is asked about ever more rarely."""
_LEAST = 1e-9


class RunTimes:
    """Of one route. Ages in seconds after the target took the job."""

    def __init__(self) -> None:
        steps = int(np.ceil(np.log(_LONGEST_S / _SHORTEST_S) / np.log(_STEP)))
        self._edges = np.concatenate([[0.0], _SHORTEST_S * _STEP ** np.arange(steps + 1)])
        self._widths = np.diff(self._edges)
        self._ended = np.full(self._widths.size, _WEIGHT)
        self._run = _WEIGHT * self._edges[1:]
        """Seconds that jobs have run at that age."""
        self._known: tuple[Floats, Floats] | None = None
        """At the edges: the probability of running so long, and its integral."""

    def seen(self, since: float, until: float, *, ended: bool) -> None:
        """A job that ran at age `since` ran on to the age `until`, where it was still running or `ended`."""
        first, last = np.searchsorted(self._edges, [since, until], side="right") - 1
        last = min(int(last), self._run.size - 1)
        if until > since:
            parts = slice(int(first), last + 1)
            high, low = np.minimum(self._edges[1:][parts], until), np.maximum(self._edges[:-1][parts], since)
            self._run[parts] += np.maximum(high - low, 0.0)
        if ended:
            self._ended[last] += 1
        self._known = None

    def overdue_s(self, since: Floats, now: Floats) -> Floats:
        """For how long a job that ran at age `since` is expected to have ended when it is `now` old, in seconds.

        The integral of the probability that it has ended. To ask where this is greatest is what makes the sum of all
        delays small for a number of questions: with a constant hazard h it means to ask at intervals in proportion to
        1 / sqrt(h), where asking by the probability itself would mean 1 / h.
        """
        if self._known is None:
            hazard = self._ended / self._run
            survival = np.exp(-np.concatenate([[0.0], np.cumsum(hazard * self._widths)]))
            # Within one step of age the hazard is constant.
            integral = np.concatenate([[0.0], np.cumsum((survival[:-1] - survival[1:]) / hazard)])
            self._known = survival, integral
        survival, integral = self._known
        running = np.maximum(np.interp(since, self._edges, survival), _LEAST)
        ran = (np.interp(now, self._edges, integral) - np.interp(since, self._edges, integral)) / running
        found: Floats = np.maximum(now - since - ran, 0.0)
        return found
