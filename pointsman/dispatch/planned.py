"""The plan in memory: rows by index, in sending order."""

from __future__ import annotations

from bisect import bisect_right

import polars as pl

from pointsman.dispatch.board import Job
from pointsman.dispatch.plan import DriveHeader, parse_route, variant_of
from pointsman.dispatch.protocol import DispatchTarget, Request
from pointsman.ids import VariantId


class Planned:
    def __init__(self, header: DriveHeader, rows: pl.DataFrame, target: DispatchTarget) -> None:
        self._target = target
        self.seqs: list[int] = rows["seq"].to_list()
        self._ids: list[str] = rows["dispatch_id"].to_list()
        due: list[int | None] = rows["due_ns"].to_list()
        self.due_ns: list[int] | None = None if due[0] is None else [at or 0 for at in due]
        routes = {text: parse_route(text) for text in rows["route"].unique().to_list()}
        self._routes = [routes[text] for text in rows["route"].to_list()]
        self._variants = {route: variant_of(header, route) for route in routes.values()}
        self._members = {name: entry.member(name) for name, entry in header.inputs.items()}
        self._inputs: list[str] = rows["input_id"].to_list()
        self.shift_ns = 0
        """How much later than planned the schedule runs in this era."""

    def __len__(self) -> int:
        return len(self.seqs)

    def provider(self, index: int) -> str | None:
        """Who serves it, if the plan says so: the gateway chooses for routed dispatches."""
        route = self._routes[index]
        return route.provider if isinstance(route, VariantId) else None

    def index_after(self, seq: int) -> int:
        """The first index whose sequence number is greater."""
        return bisect_right(self.seqs, seq)

    def job(self, index: int) -> Job:
        planned_ns = None if self.due_ns is None else self.due_ns[index] + self.shift_ns
        return Job(index, self.seqs[index], self._ids[index], self.provider(index), planned_ns)

    def request(self, index: int) -> Request:
        """The submission. The same for every call, so that sending it again is sending it once."""
        route = self._routes[index]
        return self._target.submit(self._ids[index], route, self._variants[route], self._members[self._inputs[index]])
