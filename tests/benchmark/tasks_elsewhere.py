"""A `RunLauncher` whose runs are tasks with a disk of their own: a run is carried out when it is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pointsman.errors import DependencyDown, PointsmanError
from pointsman.workspace import Workspace
from tests.benchmark.fake_drive import Killed
from tests.benchmark.machines import Machines

Carry = Callable[[Workspace, Mapping[str, Any]], None]


@dataclass
class Tasks:
    """`flows` says what a run of a flow does; `mishap(key, number)` is looked up before the run of that number.

    A mishap is `killed` (when it first writes down what came of it), `silent` (it never begins and never ends), or
    `nothing` (it ends at once without having done anything).
    """

    ws: Workspace
    world: Machines
    flows: Mapping[str, Carry]
    mishap: Callable[[str, int], str | None] = lambda key, number: None
    keys: list[str] = field(default_factory=list)
    requests: list[Mapping[str, Any]] = field(default_factory=list)
    how: dict[str, str | None] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    out: Callable[[], bool] = lambda: False
    crash: str = "Crashed"

    def launch(self, flow: str, request: Mapping[str, Any], *, key: str) -> str:
        self._reach()
        if key in self.keys:
            return key
        self.keys.append(key)
        self.requests.append(request)
        own = replace(self.ws, results=self.world.machine(f"task-{len(self.keys)}"), actor=key)
        mishap = self.mishap(key, len(self.keys))
        self.how[key] = None if mishap == "silent" else self.crash if mishap else "Completed"
        if mishap in ("silent", "nothing"):
            return key
        try:
            if mishap == "killed":
                own.results.publish = _dying(own.results.publish)  # type: ignore[method-assign]
            self.flows[flow](own, request)
        except PointsmanError:
            self.how[key] = "Failed"
        except Killed:
            pass
        return key

    def ended(self, run: str) -> str | None:
        self._reach()
        return self.how[run]

    def task(self, run: str) -> str | None:
        return f"arn:{run}"

    def cancel(self, run: str) -> None:
        self.cancelled.append(run)

    def _reach(self) -> None:
        if self.out():
            raise DependencyDown("Nobody answers.", instruction="pointsman doctor", code="prefect_unreachable")


def _dying(publish: Callable[..., Any]) -> Callable[..., Any]:
    """The task publishes what it has, and is gone before anything is in the database."""

    def last(*args: Any, **kwargs: Any) -> Any:
        publish(*args, **kwargs)
        raise Killed

    return last
