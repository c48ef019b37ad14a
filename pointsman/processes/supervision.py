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
    """Run `argv` in a process group of its own until it ends. Calls `on_tick` some twenty times a second.

    The child's standard input is a pipe that stays empty: its end tells the child that the parent is gone. On cancel
    and deadline the group gets SIGTERM, and SIGKILL after `grace_s`. On an exception here (Ctrl-C included) the pipe is
    closed first, so that the child can stop in an orderly way. Whatever is left of the group in the end is killed.
    """
    clock = clock or SystemClock()
    child = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(env),
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stderr is not None
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    reader = threading.Thread(target=_keep_tail, args=(child.stderr, tail), daemon=True)
    reader.start()
    ended: Literal["exited", "cancelled", "deadline"] = "exited"
    try:
        ended = _watch(child, deadline_s, cancelled, on_tick, clock)
        if ended != "exited":
            _end(child, grace_s, clock)
    except BaseException:
        child.stdin.close()
        if not _wait(child, _FAREWELL_S, clock):
            _end(child, grace_s, clock)
        raise
    finally:
        # The child itself is reaped last: until then its process group id cannot be given to anybody else.
        _signal_group(child, signal.SIGKILL)
        exit_code = child.wait()
        reader.join(timeout=1.0)
        child.stderr.close()
        if not child.stdin.closed:
            child.stdin.close()
    return ChildResult(exit_code, "\n".join(tail), ended)


def _watch(
    child: subprocess.Popen[bytes],
    deadline_s: float | None,
    cancelled: Callable[[], bool],
    on_tick: Callable[[], None],
    clock: Clock,
) -> Literal["exited", "cancelled", "deadline"]:
    began = clock.monotonic()
    while not _has_exited(child):
        on_tick()
        if cancelled():
            return "cancelled"
        if deadline_s is not None and clock.monotonic() - began > deadline_s:
            return "deadline"
        clock.sleep(_TICK_S)
    on_tick()
    return "exited"


def _end(child: subprocess.Popen[bytes], grace_s: float, clock: Clock) -> None:
    _signal_group(child, signal.SIGTERM)
    _wait(child, grace_s, clock)


def _wait(child: subprocess.Popen[bytes], seconds: float, clock: Clock) -> bool:
    give_up = clock.monotonic() + seconds
    while not _has_exited(child):
        if clock.monotonic() >= give_up:
            return False
        clock.sleep(_TICK_S)
    return True


def _has_exited(child: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended, without reaping it."""
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal_group(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:
        return


def _keep_tail(stream: IO[bytes], tail: deque[str]) -> None:
    for line in iter(lambda: stream.readline(_LONGEST_LINE), b""):
        tail.append(line.decode(errors="replace").rstrip("\n"))
