"""Watching one child process: its deadline, a request to cancel, and the end of everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Literal

from pointsman.clock import Clock, SystemClock

_TICK_S = 0.05
_TAIL_LINES = 40
_LONGEST_LINE = 2000
_FAREWELL_S = 2.0
"""How long a child may take to stop by itself after its standard input has ended."""


@dataclass(frozen=True, slots=True)
class ChildResult:
    exit_code: int
    """Negative = the number of the signal that ended it."""
    stderr_tail: str
    ended: Literal["exited", "cancelled", "deadline"]


class Child:
    """A process in a group of its own. Whoever starts one calls `reap` in the end, whatever happens.

    Its standard input is a pipe that stays empty: its end tells the child that the parent is gone.
    """

    def __init__(self, argv: Sequence[str], *, env: Mapping[str, str], clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=dict(env),
            start_new_session=True,
        )
        assert self._process.stderr is not None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._reader = threading.Thread(target=_keep_tail, args=(self._process.stderr, self._tail), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exited(self) -> bool:
        """Whether it has ended, without reaping it."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self, grace_s: float) -> None:
        """Ask the group to end, and wait so long for the child to do so."""
        self._signal(signal.SIGTERM)
        self._wait(grace_s)

    def abandon(self, grace_s: float) -> None:
        """Let the child know that its parent goes, so that it can stop in an orderly way; ask it, if it does not."""
        self.let_go()
        if not self._wait(_FAREWELL_S):
            self.end(grace_s)

    def let_go(self) -> None:
        """Tell the child that its parent goes, without waiting."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def reap(self) -> tuple[int, str]:
        """Kill what is left of the group; the exit code (negative: a signal's number), the end of what it said."""
        # The child itself is reaped last: until then its process group id cannot be given to anybody else.
        self._signal(signal.SIGKILL)
        exit_code = self._process.wait()
        self._reader.join(timeout=1.0)
        for pipe in (self._process.stderr, self._process.stdin):
            assert pipe is not None
            pipe.close()
        return exit_code, "\n".join(self._tail)

    def _wait(self, seconds: float) -> bool:
        give_up = self._clock.monotonic() + seconds
        while not self.exited:
            if self._clock.monotonic() >= give_up:
                return False
            self._clock.sleep(_TICK_S)
        return True

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return


def supervise(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    deadline_s: float | None,
    cancelled: Callable[[], bool] = lambda: False,
    on_tick: Callable[[], None] = lambda: None,
    grace_s: float = 10.0,
    clock: Clock | None = None,
) -> ChildResult:
    """Run `argv` as a `Child` until it ends. Calls `on_tick` some twenty times a second.

    On cancel and deadline the group gets SIGTERM, and SIGKILL after `grace_s`. On an exception here (Ctrl-C included)
    the pipe is closed first, so that the child can stop in an orderly way. Whatever is left of the group is killed.
    """
    clock = clock or SystemClock()
    child = Child(argv, env=env, clock=clock)
    ended: Literal["exited", "cancelled", "deadline"] = "exited"
    try:
        ended = _watch(child, deadline_s, cancelled, on_tick, clock)
        if ended != "exited":
            child.end(grace_s)
    except BaseException:
        child.abandon(grace_s)
        raise
    finally:
        exit_code, stderr_tail = child.reap()
    return ChildResult(exit_code, stderr_tail, ended)


def _watch(
    child: Child,
    deadline_s: float | None,
    cancelled: Callable[[], bool],
    on_tick: Callable[[], None],
    clock: Clock,
) -> Literal["exited", "cancelled", "deadline"]:
    began = clock.monotonic()
    while not child.exited:
        on_tick()
        if cancelled():
            return "cancelled"
        if deadline_s is not None and clock.monotonic() - began > deadline_s:
            return "deadline"
        clock.sleep(_TICK_S)
    on_tick()
    return "exited"


def _keep_tail(stream: IO[bytes], tail: deque[str]) -> None:
    for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
        tail.append(line.decode(errors="replace").rstrip("\n"))
