"""Every moment at which a change of routing can be cut short: before and after each write, commit and gateway call."""

import os
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from pointsman.errors import Conflict
from pointsman.ids import derive
from pointsman.routing import (
    BindingRequest,
    FlagdFileGateway,
    advance,
    apply_binding,
    current,
    history,
    reconcile,
    rollback,
)
from pointsman.routing.bindings import SERVING
from tests.routing.worlds import DATABASE, ROUTE, A, B, C, MemoryGateway, workspace

WRITES = ("INSERT", "UPDATE", "DELETE")


class Killed(BaseException):
    """Stands for kill -9: nothing of the engine may catch it."""


class Moments:
    """Counts the moments that pass, and strikes at one of them."""

    def __init__(self, strike_at, strike):
        self.passed = []
        self._at = strike_at
        self._strike = strike

    def __call__(self, name):
        self.passed.append(name)
        if len(self.passed) - 1 == self._at:
            self._strike()


class WatchedGateway:
    """A gateway whose calls are moments."""

    def __init__(self, gateway, moments):
        self._gateway = gateway
        self._moments = moments

    def read(self, key):
        self._moments("before gateway read")
        shown = self._gateway.read(key)
        self._moments("after gateway read")
        return shown

    def unready(self, key, weights):
        return self._gateway.unready(key, weights)

    def publish(self, new, *, expected, at_once=False):
        self._moments("before gateway publish")
        self._gateway.publish(new, expected=expected, at_once=at_once)
        self._moments("after gateway publish")


@contextmanager
def watched(ws, gateway, strike_at, strike):
    """The gateway to be used, and the moments; the database of `ws` and the disk tell theirs as well."""
    moments = Moments(strike_at, strike)
    dialect, real = ws.database.dialect, {name: getattr(os, name) for name in ("replace", "fsync")}

    def committing(connection):
        moments("before commit")
        sqlite_commit(connection)
        moments("after commit")

    def before(_connection, _cursor, statement, *_):
        if statement.startswith(WRITES):
            moments(f"before {statement.split('(')[0].split(' SET')[0]}")

    def after(_connection, _cursor, statement, *_):
        if statement.startswith(WRITES):
            moments(f"after {statement.split('(')[0].split(' SET')[0]}")

    def disk(name):
        def call(*args, **kwargs):
            moments(f"before {name}")
            result = real[name](*args, **kwargs)
            moments(f"after {name}")
            return result

        return call

    sqlite_commit = dialect.do_commit
    dialect.do_commit = committing
    sa.event.listen(ws.database, "before_cursor_execute", before)
    sa.event.listen(ws.database, "after_cursor_execute", after)
    for name in real:
        setattr(os, name, disk(name))
    try:
        yield WatchedGateway(gateway, moments), moments
    finally:
        for name, function in real.items():
            setattr(os, name, function)
        sa.event.remove(ws.database, "before_cursor_execute", before)
        sa.event.remove(ws.database, "after_cursor_execute", after)
        dialect.do_commit = sqlite_commit


def first(ws, gateway):
    return apply_binding(ws, gateway, BindingRequest(ROUTE, {A: 100}, None, "first", "first"))


def second(ws, gateway):
    return apply_binding(ws, gateway, BindingRequest(ROUTE, {B: 100}, 1, "second", "second"))


def back(ws, gateway):
    return rollback(ws, gateway, route_key=ROUTE, expected=2, idempotency_key="back", reason="worse")


def back_to_the_first(ws, gateway):
    return rollback(ws, gateway, route_key=ROUTE, expected=3, idempotency_key="to", reason="worse", to_generation=1)


def third(ws, gateway):
    return apply_binding(ws, gateway, BindingRequest(ROUTE, {C: 100}, 2, "third", "third"))


def canary(ws, gateway):
    return apply_binding(ws, gateway, BindingRequest(ROUTE, {B: 100}, 1, "canary", "canary", steps=(5, 25, 100)))


def next_step(ws, gateway):
    return advance(ws, gateway, f"canary_{derive('rollout', ROUTE, 'canary')}", after=0, why="it held")


CHANGES = {
    "first apply": ((), first),
    "apply": ((first,), second),
    "rollback": ((first, second), back),
    "rollback to a named one": ((first, second, third), back_to_the_first),
    "canary": ((first,), canary),
    "next step": ((first, canary), next_step),
}


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


class World:
    """A folder with a database and a gateway in which a change is cut short; `fresh` ones are as it was made."""

    def __init__(self, folder, prepared, steps, kind):
        self.folder = Path(folder)
        self._steps, self._kind = steps, kind
        self.folder.mkdir(parents=True)
        shutil.copy(Path(prepared) / DATABASE, self.folder)
        self.gateway = MemoryGateway() if kind == "memory" else FlagdFileGateway(self.folder / "flags.json")
        ws = self.open()
        for step in steps:
            step(ws, self.gateway)
        ws.database.dispose()

    def fresh(self, folder):
        other = object.__new__(World)
        other.folder = Path(folder)
        shutil.copytree(self.folder, other.folder)
        if self._kind == "memory":
            other.gateway = MemoryGateway()
            other.gateway.shown.update(self.gateway.shown)
        else:
            other.gateway = FlagdFileGateway(other.folder / "flags.json")
        return other

    def open(self):
        return workspace(self.folder, migrate=False)

    def is_whole(self):
        """Exactly one generation serves, none is under way, and the gateway shows it."""
        ws = self.open()
        records = history(ws, ROUTE)
        now = current(ws, ROUTE)
        assert [one.status for one in records].count("applying") == 0, records
        assert sum(one.status in SERVING for one in records) == (1 if records else 0), records
        assert self.gateway.read(ROUTE) == now
        assert reconcile(ws, self.gateway, ROUTE).done == "nothing"
        ws.database.dispose()
        return now

    def recover(self, how, change):
        """What serves in the end, after reconciling, repeating the same call, or both."""
        ws = self.open()
        if how != "the same call":
            reconcile(ws, self.gateway, ROUTE)
            self.is_whole()
        if how != "reconcile":
            overtaken, answer = None, None
            try:
                answer = change(ws, self.gateway)
            except Conflict as conflict:
                overtaken = conflict.code
            if overtaken is None:
                assert answer == current(ws, ROUTE)
            else:
                assert (how, overtaken) in [("both", "routing_overtaken"), ("both", "stale_generation")]
        ws.database.dispose()
        return self.is_whole()
