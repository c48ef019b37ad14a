"""What a routing gateway is: it shows one binding per route and never goes back to an older generation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

from pointsman.errors import DependencyDown
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding


class ShowsNoBinding(DependencyDown):
    """A gateway has something of a route that is no binding: somebody changed it by hand."""

    default_code: ClassVar[str] = "gateway_shows_no_binding"


class Gateway(Protocol):
    """SQL is the truth; a gateway only shows it. Every call may raise `DependencyDown` when it cannot be reached."""

    def read(self, key: RouteKey) -> Binding | None:
        """The binding that traffic follows now, or None when the gateway knows no such route.

        Raises `ShowsNoBinding` for what is no binding.
        """
        ...

    def publish(self, new: Binding, *, expected: int | None, at_once: bool = False) -> None:
        """Show `new`, if the gateway shows generation `expected` now (None: no such route, or what is no binding).

        Where a gateway goes over slowly by itself, `at_once` lets it not: going back is not to wait.

        Publishing what is shown already is answered as the first time, whatever `expected` says. Raises `Conflict`,
        changing nothing, when another generation than `expected` is shown, and when `new` is not newer than what is.
        """
        ...

    def unready(self, key: RouteKey, weights: Mapping[VariantId, int]) -> str:
        """Why traffic of the route could not be served by these weights here now; empty when it could."""
        ...


def shown_binding(gateway: Gateway, key: RouteKey) -> Binding | None:
    """What it shows; what is no binding counts as nothing, so that it does not stand in the way of going back."""
    try:
        return gateway.read(key)
    except ShowsNoBinding:
        return None
