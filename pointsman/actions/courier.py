"""Delivers the outbox beside whatever else a process does, so that neither waits for the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pointsman.actions.outbox import Delivery

_EVERY_S = 2.0
_log = logging.getLogger(__name__)


class Courier:
    """A thread that calls `deliver` every two seconds. What it leaves waiting, the next process's courier delivers."""

    def __init__(self, deliver: Callable[[], Delivery], *, every_s: float = _EVERY_S) -> None:
        self._deliver = deliver
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def flush(self) -> None:
        """Make a round now, in the calling thread."""
        self._round()

    def stop(self, *, wait_s: float) -> None:
        """Make a last round, and wait for it no longer than told."""
        self._stopping.set()
        self._thread.join(wait_s)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self._round()
        self._round()

    def _round(self) -> None:
        try:
            self._deliver()
        except Exception as error:  # noqa: BLE001 - no run may fail because an event could not be told; it waits
            _log.debug("events wait in the outbox: %s", error)
