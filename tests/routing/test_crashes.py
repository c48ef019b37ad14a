"""A change cut short at any moment leaves exactly one generation that serves, once it is reconciled or repeated."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.routing.crash_points import CHANGES, Killed, World, kill, watched
from tests.routing.worlds import A, B

CHECKOUT = Path(__file__).parents[2]
RECOVERIES = ("reconcile", "the same call", "both")
KILLS = 20


def struck():
    raise Killed


def moments_of(world, change):
    """The names of all moments of a change that nobody cuts short."""
    ws = world.open()
    with watched(ws, world.gateway, None, struck) as (gateway, moments):
        change(ws, gateway)
    ws.database.dispose()
    return moments.passed


def cut_short(prepared, tmp_path, change, kind, recoveries):
    """Cut a change short at every moment and recover in each of the ways; the moments' names."""
    steps, call = CHANGES[change]
    template = World(tmp_path / "template", prepared, steps, kind)
    names = moments_of(template.fresh(tmp_path / "whole"), call)
    ended = set()
    for moment in range(len(names)):
        for how in recoveries(moment):
            world = template.fresh(tmp_path / f"{moment}-{how}")
            ws = world.open()
            with watched(ws, world.gateway, moment, struck) as (gateway, _), pytest.raises(Killed):
                call(ws, gateway)
            ws.database.dispose()
            now = world.recover(how, call)
            ended.add(None if now is None else frozenset(now.weights))
            shutil.rmtree(world.folder)
    return names, ended


@pytest.mark.parametrize("change", ["apply", "rollback"])
def test_a_change_cut_short_at_any_moment_is_whole_once_it_is_reconciled_or_repeated(change, prepared, tmp_path):
    names, ended = cut_short(prepared, tmp_path, change, "memory", lambda moment: [RECOVERIES[moment % 3]])
    assert {"before commit", "after commit", "before gateway publish", "after gateway publish"} <= set(names)
    assert {"before INSERT INTO routing_bindings ", "after UPDATE routing_bindings"} <= set(names)
    assert ended == {frozenset({A}), frozenset({B})}, "either the old or the new one serves"


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("change", CHANGES)
def test_the_same_in_every_way_with_the_file_gateway_and_every_write_to_the_disk(change, prepared, tmp_path):
    names, _ = cut_short(prepared, tmp_path, change, "flagd", lambda _: RECOVERIES)
    assert {"before replace", "after fsync"} <= set(names)


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(KILLS))
def test_a_real_kill_at_a_moment_is_recovered_from(number, prepared, tmp_path):
    changes = [name for name in CHANGES if name != "first apply"]
    change = changes[number % len(changes)]
    steps, call = CHANGES[change]
    world = World(tmp_path / "killed", prepared, steps, "flagd")
    moments = len(moments_of(world.fresh(tmp_path / "whole"), call))
    # Spread over all moments of a change: its kills strike early, late, and in between.
    moment = (2 * (number // len(changes)) + 1) * moments // (2 * -(-KILLS // len(changes)))
    script = f"""
        from pathlib import Path
        from pointsman.routing import FlagdFileGateway
        from tests.routing.crash_points import CHANGES, kill, watched
        from tests.routing.worlds import workspace

        ws = workspace(Path({str(world.folder)!r}), migrate=False)
        gateway = FlagdFileGateway(Path({str(world.folder / "flags.json")!r}))
        with watched(ws, gateway, {moment}, kill) as (gateway, _):
            CHANGES[{change!r}][1](ws, gateway)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=CHECKOUT, timeout=120, check=False, env=os.environ
    )
    assert ended.returncode == -9
    world.recover(RECOVERIES[number % 3], call)


def test_the_kill_of_the_real_ones_is_a_kill(monkeypatch):
    asked = []
    monkeypatch.setattr(os, "kill", lambda pid, number: asked.append((pid, number)))
    kill()
    assert asked == [(os.getpid(), 9)]
