"""The state machines of CONTRACTS as data, and the one rule for moving: a move is legal when it is reachable.

Pollers skip states, so legality is reachability and not adjacency. Backwards moves are legal only where an edge is
drawn (a lost lease goes back to the queue). Terminal states never change; moving to the state one is in is a no-op
that the caller answers as it answered the first time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pointsman.errors import IllegalMove


@dataclass(frozen=True)
class StateMachine:
    name: str
    initial: str
    edges: Mapping[str, frozenset[str]]

    @cached_property
    def reachable(self) -> Mapping[str, frozenset[str]]:
        """For every state all states that can follow it, at any distance."""
        closure: dict[str, frozenset[str]] = {}
        for start in self.edges:
            seen: set[str] = set()
            frontier = set(self.edges[start])
            while frontier:
                state = frontier.pop()
                if state not in seen:
                    seen.add(state)
                    frontier |= self.edges[state]
            closure[start] = frozenset(seen)
        return closure

    @property
    def terminal(self) -> frozenset[str]:
        return frozenset(state for state, following in self.edges.items() if not following)

    def legal(self, current: str, new: str) -> bool:
        return current in self.edges and (new == current or new in self.reachable[current])

    def check(self, current: str, new: str) -> None:
        """Raise `IllegalMove` unless `new` is `current` or reachable from it."""
        if not self.legal(current, new):
            allowed = ", ".join(sorted(self.reachable.get(current, frozenset()))) or "none: it is terminal"
            raise IllegalMove(f"{self.name}: move from {current!r} to", new, allowed)


def _machine(name: str, initial: str, drawing: str) -> StateMachine:
    edges: dict[str, set[str]] = {}
    for line in drawing.split(";"):
        source, _, targets = line.partition("->")
        for state in source.split("|"):
            edges.setdefault(state.strip(), set()).update(t.strip() for t in targets.split("|") if t.strip())
    for targets_of in list(edges.values()):
        for state in targets_of:
            edges.setdefault(state, set())
    return StateMachine(name, initial, {state: frozenset(following) for state, following in edges.items()})


LOAD_TEST_RUN = _machine(
    "load-test run",
    "created",
    "created -> awaiting_approval|starting; awaiting_approval -> starting; starting -> running; running -> draining;"
    "draining -> completed; created|awaiting_approval|starting|running|draining -> failed|cancelling;"
    "cancelling -> cancelled|failed",
)
DISPATCH = _machine(
    "dispatch",
    "planned",
    "planned -> sent|dropped|cancelled_unsent; sent -> submitted|failed|cancelled_sent|unknown;"
    "submitted -> queued|cancelled_sent|unknown; queued -> leased|cancelled_sent|unknown|failed;"
    "leased -> queued|completed|failed|cancelled_sent|unknown",
)
BENCHMARK_RUN = _machine(
    "benchmark run",
    "created",
    "created -> running; running -> collected; collected -> ready; created|running|collected -> failed|cancelled;"
    "failed|cancelled -> running",
)
RUN_ITEM = _machine(
    "run item",
    "pending",
    "pending -> running|skipped|cancelled; running -> completed|failed|invalid|cancelled",
)
BINDING = _machine(
    "binding",
    "proposed",
    "proposed -> awaiting_approval|applying; awaiting_approval -> applying; applying -> canary|active|failed|aborted;"
    "canary -> canary|active|failed|aborted; active -> superseded|rolled_back",
)
