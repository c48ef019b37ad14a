"""How soon the engine notices that a job is done: `python perf/polling.py` prints a table, exits 1 for a missed bar.

The poller itself, in virtual time: two jobs a second that run for some 40 minutes, so 5,000 in flight, at a target that
allows ten status requests a second. With a batch endpoint (500 ids) the bar is 2 s at p95. Without one it is 1.3 times
the mean delay of an oracle: the same poller, told the true distribution of the run times from the start.
Takes about three minutes.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from pointsman.dispatch.board import Board, Job
from pointsman.dispatch.gate import Gate
from pointsman.dispatch.hearing import Hearing
from pointsman.dispatch.polling import Poller
from pointsman.dispatch.protocol import Capabilities, Request, Response, Update
from pointsman.dispatch.run_times import Floats

PER_S, LASTS_S = 2.0, 8_000.0
FULL, BATCH_LASTS_S = 5_000, 200.0
"""With a batch endpoint that many are in flight from the start: there is nothing to learn."""
MOST_PER_S = 10.0
ROUND_TRIP_S = 0.05
BATCH = 500
DELAY_BAR_S, RATIO_BAR = 2.0, 1.3


@dataclass(frozen=True)
class RunTime:
    """Log-normal, of one route."""

    mean_s: float
    sigma: float

    def draw(self, random: np.random.Generator) -> float:
        return float(random.lognormal(math.log(self.mean_s) - self.sigma**2 / 2, self.sigma))

    def survival(self, ages: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            z = (np.log(ages) - math.log(self.mean_s) + self.sigma**2 / 2) / self.sigma
        return np.array([0.5 * math.erfc(one / math.sqrt(2)) for one in z])


LOADS = {
    "one route": [RunTime(2500, 0.6)],
    "two routes": [RunTime(1000, 0.3), RunTime(4000, 0.3)],
}


class Oracle:
    """Knows the distribution; there is nothing to learn."""

    def __init__(self, truth: RunTime) -> None:
        self._ages = np.linspace(0.0, 40 * truth.mean_s, 40_000)
        self._survival = truth.survival(self._ages)
        self._integral = np.concatenate([[0.0], np.cumsum(self._survival[:-1]) * self._ages[1]])

    def seen(self, since: float, until: float, *, ended: bool) -> None:
        pass

    def overdue_s(self, since: Floats, now: Floats) -> Floats:
        integral = np.interp(now, self._ages, self._integral) - np.interp(since, self._ages, self._integral)
        running = np.maximum(np.interp(since, self._ages, self._survival), 1e-9)
        return now - since - integral / running


class NoWaiting(selectors.SelectSelector):
    """Instead of waiting, time passes."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now_s += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.passing = NoWaiting()
        super().__init__(self.passing)

    def time(self) -> float:
        return self.passing.now_s


@dataclass
class Service:
    """A job API, its requests and the plan, as far as the poller sees them."""

    now_s: Callable[[], float]
    capabilities: Capabilities
    routes: int
    done_s: dict[str, float] = field(default_factory=dict)
    asked_s: list[float] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)
    in_flight: int = 0

    def poll(self, jobs: Sequence[tuple[str, str | None]]) -> Request:
        return Request("GET", "/", tuple(job[0] for job in jobs), purpose="poll")

    async def send(self, request: Request) -> Response:
        self.asked_s.append(self.now_s())
        await asyncio.sleep(ROUND_TRIP_S / 2)
        done = "".join("1" if self.done_s[one] <= self.now_s() else "0" for one in request.asks_for)
        await asyncio.sleep(ROUND_TRIP_S / 2)
        return Response(200, {}, done.encode())

    def parse(self, sent: Request, got: Response) -> list[Update]:
        found = []
        for dispatch_id, done in zip(sent.asks_for, got.body.decode(), strict=True):
            if done == "1":
                self.delays_s.append(self.now_s() - self.done_s[dispatch_id])
            found.append(Update(dispatch_id, "completed" if done == "1" else "leased", job_id="job"))
        return found

    def route_number(self, index: int) -> int:
        return index % self.routes

    def most_in_a_second(self) -> int:
        asked = np.array(self.asked_s)
        return int((np.searchsorted(asked, asked + 1.0 - 1e-6, side="left") - np.arange(asked.size)).max())


def measure(load: Sequence[RunTime], *, batch: int, oracle: bool, lasts_s: float, full: int = 0) -> Service:
    random = np.random.default_rng(7)

    async def run() -> Service:
        loop = asyncio.get_running_loop()
        may = Capabilities(True, True, batch, False, False, False, polls_per_s=MOST_PER_S)
        service: Any = Service(loop.time, may, len(load))
        count = full + int(PER_S * lasts_s)
        board = Board(range(count), lambda: round(loop.time() * 1e9), epoch_wall_ns=0)
        gate = Gate(board.now_ns, polls_per_s=MOST_PER_S)
        hearing = Hearing(board, service, fetch=lambda job, update: False, resend=lambda job: None)
        poller = Poller(service, service, board, gate, hearing, service, interval_s=0.2, most_per_s=MOST_PER_S)
        if oracle:
            poller.run_times = defaultdict(None, {number: Oracle(truth) for number, truth in enumerate(load)})
        polling = asyncio.create_task(poller.run())
        for index in range(count):
            name = str(index)
            runs_s = load[index % len(load)].draw(random)
            service.done_s[name] = loop.time() + (runs_s if index >= full else runs_s * random.random())
            job = Job(index, index, name, None, None)
            board.departed(job, board.now_ns())
            job.sending = False
            board.heard(job, Update(name, "submitted", job_id="job"))
            if index % 1000 == 0:
                board.take_rows()
            if index >= full:
                await asyncio.sleep(float(random.exponential(1 / PER_S)))
        polling.cancel()
        assert not polling.done() or polling.cancelled()
        service.in_flight = len(board.live)
        return service

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


def main() -> int:
    good = True
    print(f"Delay from the end of a job to noticing it, s; {PER_S:g} jobs/s, at most {MOST_PER_S:g} status requests/s")
    print(f"  {'':34}{'noticed':>8}{'mean':>8}{'p50':>8}{'p95':>8}{'in flight':>11}{'requests/s, most':>18}")

    def show(name: str, found: Service) -> float:
        p50, p95 = np.quantile(found.delays_s, [0.5, 0.95])
        mean = float(np.mean(found.delays_s))
        most = found.most_in_a_second()
        print(f"  {name:34}{len(found.delays_s):8,}{mean:8.2f}{p50:8.2f}{p95:8.2f}{found.in_flight:11,}{most:18}")
        return float(mean)

    batch = measure(LOADS["one route"], batch=BATCH, oracle=False, lasts_s=BATCH_LASTS_S, full=FULL)
    show(f"{BATCH} ids in a request", batch)
    p95 = float(np.quantile(batch.delays_s, 0.95))
    fine = p95 <= DELAY_BAR_S and batch.most_in_a_second() <= MOST_PER_S
    print(f"  p95 {p95:.2f} s (bar: {DELAY_BAR_S:g} or less): {'ok' if fine else 'MISSED'}")
    good = good and fine
    for name, load in LOADS.items():
        learnt = measure(load, batch=1, oracle=False, lasts_s=LASTS_S)
        known = measure(load, batch=1, oracle=True, lasts_s=LASTS_S)
        ratio = show(f"one id, {name}: learnt", learnt) / show(f"one id, {name}: oracle", known)
        fine = ratio <= RATIO_BAR and learnt.most_in_a_second() <= MOST_PER_S
        print(f"  ratio {ratio:.2f} (bar: {RATIO_BAR:g} or less): {'ok' if fine else 'MISSED'}")
        good = good and fine
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
