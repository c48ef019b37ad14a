"""Where a job runs that names a route key: the gateway is asked at every submit, and the answer stays with the job."""

from __future__ import annotations

from pathlib import Path

from lab.effects.problems import Refused
from pointsman.errors import DependencyDown
from pointsman.ids import RouteKey, VariantId


class Router:
    def __init__(self, flagd_file: Path) -> None:
        self._flagd_file = flagd_file

    def resolve(self, key: RouteKey, dispatch_id: str) -> tuple[VariantId, int]:
        """The variant and the generation for one dispatch. Raises `Refused`: 404 without a binding, 503 when the
        gateway cannot be read. Blocks while it reads the file."""
        # Here and not above: it brings the engine's storage along, a second that the start of the lab need not take.
        from pointsman.routing import FlagdFileGateway, resolve

        try:
            binding = FlagdFileGateway(self._flagd_file).read(key)
        except DependencyDown as down:
            raise Refused(503, down.code, down.message, down.instruction) from down
        if binding is None:
            raise Refused(404, "route_not_bound", f"route_key: {key} has no binding.", f"pointsman route show {key}")
        return resolve(binding, dispatch_id), binding.generation
