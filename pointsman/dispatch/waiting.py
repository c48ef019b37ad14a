"""How the driver's event loop waits: exactly. The usual selectors round waits up to whole milliseconds."""

from __future__ import annotations

import select
import selectors
from typing import Any


class ExactSelector(selectors.EpollSelector):
    """Many sockets like epoll, waits to the microsecond like select, which waits for epoll's own descriptor."""

    def select(self, timeout: float | None = None) -> Any:
        """Wait for at most `timeout` seconds, None = until something happens."""
        if timeout is not None and timeout > 0:
            select.select([self.fileno()], [], [], timeout)
            timeout = 0
        return super().select(timeout)
