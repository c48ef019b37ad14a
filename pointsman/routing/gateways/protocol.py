"""What a routing gateway is: it shows one binding per route and never goes back to an older generation."""

from __future__ import annotations

from typing import Protocol

from pointsman.ids import RouteKey
from pointsman.model import Binding


class Gateway(Protocol):
    """SQL is the truth; a gateway only shows it. Every call may raise `DependencyDown` when it cannot be reached."""

    def read(self, key: RouteKey) -> Binding | None:
        """The binding that traffic follows now, or None when the gateway knows no such route."""
        ...

    def publish(self, new: Binding, *, expected: int | None) -> None:
        """Show `new`, if the gateway shows generation `expected` now (None: no such route).

        Publishing what is shown already is answered as the first time, whatever `expected` says. Raises `Conflict`,
        changing nothing, when another generation than `expected` is shown, and when `new` is not newer than what is.
        """
        ...
