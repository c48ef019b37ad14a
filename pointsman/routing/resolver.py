"""For services: which variant serves a route, with a local cache that keeps answering while we are down.

    resolver = Resolver(GatewaySpec(path="flags.json").build().read, cache=Path("routes.json"))
    resolver.resolve("er:postcard-1:env:lab:stage:demo", user_id).variant

An answer is at most `fresh_s` old while the source answers. While it does not, the last one known goes on being given,
also after a restart, from a file; one thread asks, the others do not wait for it. A generation that is older than the
one known is never believed: what was rolled back has a newer one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pointsman.clock import Clock, SystemClock
from pointsman.errors import DependencyDown
from pointsman.ids import RouteKey, VariantId
from pointsman.model import Binding
from pointsman.routing.bindings import resolve
from pointsman.routing.gateways.flagd_document import binding_in, new_document, read_document, write_document
from pointsman.routing.gateways.flagd_flag import flag_of
from pointsman.storage import write_atomically

Source = Callable[[RouteKey], "Binding | None"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """Which variant, of which generation; `stale` when the source did not confirm it when it was due."""

    variant: VariantId
    generation: int
    stale: bool


@dataclass(slots=True)
class _Known:
    binding: Binding
    asked_at: float
    stale: bool


class Resolver:
    """Asks `source` (a gateway's `read`, or the record) and remembers; safe to be used by many threads."""

    def __init__(
        self, source: Source, *, cache: Path | None = None, fresh_s: float = 5.0, clock: Clock | None = None
    ) -> None:
        self._source = source
        self._cache = cache
        self._fresh_s = fresh_s
        self._clock = clock or SystemClock()
        self._known: dict[RouteKey, _Known] = {}
        self._asking = threading.Lock()

    def resolve(self, route_key: RouteKey | str, targeting_key: str | None = None) -> Resolved:
        """The variant for a request, in proportion to the shares: always the same for a `targeting_key`.

        Raises `InputRefused` for what is no route key, `DependencyDown` for a route of which nothing was ever learnt.
        """
        key = route_key if isinstance(route_key, RouteKey) else RouteKey.parse(route_key)
        known = self._known.get(key)
        if not self._is_fresh(known):
            known = self._ask(key, known)
        assert known is not None
        chosen = resolve(known.binding, str(uuid4()) if targeting_key is None else targeting_key)
        return Resolved(chosen, known.binding.generation, known.stale)

    def _is_fresh(self, known: _Known | None) -> bool:
        return known is not None and self._clock.monotonic() - known.asked_at < self._fresh_s

    def _ask(self, key: RouteKey, known: _Known | None) -> _Known:
        if not self._asking.acquire(blocking=known is None):
            assert known is not None
            return known  # somebody else asks already
        try:
            meanwhile = self._known.get(key)
            if meanwhile is not None and self._is_fresh(meanwhile):
                return meanwhile  # somebody else has asked while this thread waited
            before = known or meanwhile or self._kept(key)
            try:
                found = self._source(key)
                why = "" if found else "it knows no such route"
            except Exception as error:  # noqa: BLE001 - whatever goes wrong with a source, traffic goes on
                found, why = None, str(error)
            if before is not None and (found is None or found.generation < before.binding.generation):
                answer = _Known(before.binding, self._clock.monotonic(), stale=True)
            elif found is not None:
                answer = _Known(found, self._clock.monotonic(), stale=False)
                self._keep(found)
            else:
                raise DependencyDown(
                    f"Nothing is known of {key}: {why}.",
                    instruction=f"pointsman route show {key}",
                    code="route_not_known",
                    route_key=str(key),
                )
            self._known[key] = answer
            return answer
        finally:
            self._asking.release()

    def _kept(self, key: RouteKey) -> _Known | None:
        if self._cache is None:
            return None
        try:
            binding = binding_in(read_document(self._cache.read_bytes()), key)
        except (OSError, ValueError):
            return None
        return None if binding is None else _Known(binding, 0.0, stale=True)

    def _keep(self, binding: Binding) -> None:
        """Also over what another process that shares the file has lost of it, or broke; never over what is newer."""
        if self._cache is None:
            return
        kept = self._kept(binding.route_key)
        if kept is not None and (kept.binding == binding or kept.binding.generation > binding.generation):
            return
        try:
            document = read_document(self._cache.read_bytes())
        except (OSError, ValueError):
            document = new_document()
        document["flags"][str(binding.route_key)] = flag_of(binding)
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._cache, write_document(document))
        except OSError:
            return  # a full disk takes the next restart's memory, not this answer
