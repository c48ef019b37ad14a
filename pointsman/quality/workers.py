"""A few samples at a time: pull one when there is room, give back what is done, end cleanly when one fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from pointsman.quality.protocol import FailedJudgement, JudgeUnavailable

S = TypeVar("S")
E = TypeVar("E")


def judge_concurrently(
    samples: Iterable[S], judge_one: Callable[[S, threading.Event], E], *, workers: int
) -> Generator[E, None, None]:
    """Run `judge_one(sample, stop)` for at most `workers` samples at once.

    After the first `JudgeUnavailable` no sample is started any more; what runs is finished and given back, and then
    one `JudgeUnavailable` with all failed judgements is raised. Any other error, and closing the generator, sets
    `stop`, which asks the running ones to end.
    """
    stop = threading.Event()
    waiting = iter(samples)
    running: set[Future[E]] = set()
    failures: list[JudgeUnavailable] = []
    more = True
    with ThreadPoolExecutor(workers, thread_name_prefix="judge") as pool:
        try:
            while True:
                while more and not failures and len(running) < workers:
                    sample = next(waiting, None)
                    if sample is None:
                        more = False
                    else:
                        running.add(pool.submit(judge_one, sample, stop))
                if not running:
                    break
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    error = future.exception()
                    if isinstance(error, JudgeUnavailable):
                        failures.append(error)
                    else:
                        yield future.result()
        finally:
            stop.set()
    if failures:
        first = next((failure for failure in failures if failure.failed), failures[0])
        failed: list[FailedJudgement] = [one for failure in failures for one in failure.failed]
        raise JudgeUnavailable(first.message, instruction=first.instruction, code=first.code, failed=failed) from first
