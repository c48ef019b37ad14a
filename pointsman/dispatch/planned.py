"""The plan in memory: rows by index, in sending order. A million of them take some tens of megabytes."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import polars as pl

from pointsman.dispatch.board import Job
from pointsman.dispatch.overrides import overridden
from pointsman.dispatch.plan import DriveHeader, parse_route, read_planned_part, variant_of
from pointsman.dispatch.protocol import DispatchTarget, Request
from pointsman.ids import VariantId
from pointsman.model import Variant

_PART = 50_000
Texts: TypeAlias = tuple[list[str], list[str | None]]
"""Dispatch ids, and what is laid over their variants' parameters: an empty list where no dispatch has any."""


class Planned:
    """Numbers are kept in arrays, texts once each; of ids and parameters only those of claimed dispatches are here."""

    def __init__(self, header: DriveHeader, drive_dir: Path, target: DispatchTarget) -> None:
        self._drive_dir = drive_dir
        self._target = target
        self.seqs = array("q")
        self.stages = array("q")
        due_ns = array("q")
        route_of, routes = array("q"), _Words()
        input_of, inputs = array("q"), _Words()
        columns = ("seq", "due_ns", "route", "input_id", "stage", "params")
        self._has_params = False
        for first in range(0, header.planned, _PART):
            part = read_planned_part(drive_dir, first, _PART, columns)
            _extend(self.seqs, part["seq"])
            _extend(self.stages, part["stage"])
            _extend(route_of, routes.numbers(part["route"]))
            _extend(input_of, inputs.numbers(part["input_id"]))
            self._has_params |= part["params"].null_count() < part.height
            if not part["due_ns"].null_count():
                _extend(due_ns, part["due_ns"])
        self.due_ns: array[int] | None = due_ns or None
        self._route_of, self._input_of = route_of, input_of
        self._routes = [parse_route(text) for text in routes.words]
        self._providers = [route.provider if isinstance(route, VariantId) else None for route in self._routes]
        self._variants = [variant_of(header, route) for route in self._routes]
        self._names_version = target.capabilities.names_version
        self._members = [header.inputs[name].member(name) for name in inputs.words]
        self._ids: dict[int, str] = {}
        self._params: dict[int, str] = {}
        self.shift_ns = 0
        """How much later than planned the schedule runs in this era."""

    def __len__(self) -> int:
        return len(self.seqs)

    def provider(self, index: int) -> str | None:
        """Who serves it, if the plan says so: the gateway chooses for routed dispatches."""
        return self._providers[self._route_of[index]]

    @property
    def providers(self) -> Sequence[str | None]:
        """All that the plan names."""
        return self._providers

    def route_number(self, index: int) -> int:
        """The same for dispatches of one route."""
        return self._route_of[index]

    def route(self, number: int) -> str:
        """The route of that number."""
        return str(self._routes[number])

    def index_after(self, seq: int) -> int:
        """The first index whose sequence number is greater."""
        return bisect_right(self.seqs, seq)

    def read_texts(self, first: int, rows: int) -> Texts:
        """The texts of these dispatches from the disk."""
        columns = ("dispatch_id", "params") if self._has_params else ("dispatch_id",)
        part = read_planned_part(self._drive_dir, first, rows, columns)
        return part["dispatch_id"].to_list(), part["params"].to_list() if self._has_params else []

    def keep_texts(self, first: int, texts: Texts) -> None:
        """Have the texts of these dispatches at hand until each becomes a job."""
        ids, params = texts
        self._ids.update(enumerate(ids, first))
        self._params.update((index, text) for index, text in enumerate(params, first) if text is not None)

    def load_texts(self, indexes: Iterable[int]) -> None:
        """Read and keep the texts of scattered dispatches."""
        wanted = sorted(indexes)
        at = 0
        while at < len(wanted):
            first = wanted[at]
            ids, params = self.read_texts(first, _PART)
            while at < len(wanted) and wanted[at] < first + _PART:
                place = wanted[at] - first
                self.keep_texts(wanted[at], (ids[place : place + 1], params[place : place + 1]))
                at += 1

    def job(self, index: int) -> Job:
        """A claimed dispatch on its way, once."""
        planned_ns = None if self.due_ns is None else self.due_ns[index] + self.shift_ns
        job = Job(index, self.seqs[index], self._ids.pop(index), self._providers[self._route_of[index]], planned_ns)
        if self._has_params:
            job.params = self._params.pop(index, None)
        if self._names_version:
            job.version = self._target.version(self._variant(job))
        return job

    def skip(self, index: int) -> None:
        """A claimed dispatch that will not be sent."""
        self._ids.pop(index, None)
        self._params.pop(index, None)

    def request(self, job: Job) -> Request:
        """The submission. The same for every call, so that sending it again is sending it once."""
        route = self._routes[self._route_of[job.index]]
        return self._target.submit(job.dispatch_id, route, self._variant(job), self._members[self._input_of[job.index]])

    def _variant(self, job: Job) -> Variant | None:
        variant = self._variants[self._route_of[job.index]]
        if job.params is not None and variant is not None:
            return overridden(variant, job.params)
        return variant


class _Words:
    """Texts of which there are few, by number."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def numbers(self, texts: pl.Series) -> pl.Series:
        known = set(self.words)
        self.words += sorted(text for text in texts.unique().to_list() if text not in known)
        return texts.replace_strict(self.words, range(len(self.words)), return_dtype=pl.Int64)


def _extend(numbers: array[int], values: pl.Series) -> None:
    numbers.frombytes(values.to_numpy().tobytes())
