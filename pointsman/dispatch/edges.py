"""What the driver needs of the machine besides the network: time, and a disk that does not hold up the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Disk(Protocol):
    async def run(self, work: Callable[[], T]) -> T:
        """Do file work and return when it is done. Calls are done one after the other."""
        ...


class ThreadDisk:
    """File work in one thread of its own."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")

    async def run(self, work: Callable[[], T]) -> T:
        # Shielded: work that was asked for is done even when nobody waits for it any more.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))


class Ticks(Protocol):
    """Two clocks in nanoseconds: one that never goes back, and the time of day (Unix)."""

    def monotonic_ns(self) -> int: ...

    def wall_ns(self) -> int: ...


class MachineTicks:
    monotonic_ns = staticmethod(time.monotonic_ns)
    wall_ns = staticmethod(time.time_ns)
