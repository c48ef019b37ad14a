"""Half an hour of runs in one world whose processes are killed at any moment: books balance and nothing grows.

POINTSMAN_SOAK_S sets another length in seconds, POINTSMAN_SOAK_SEED another course.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cli.world import World
from tests.prove.kills import Journey, accepted_so_far, commands, unfinished
from tests.world import LabWorld, running_world

pytestmark = [pytest.mark.soak, pytest.mark.xdist_group("kills")]

SECONDS = float(os.environ.get("POINTSMAN_SOAK_S", "1800"))
SEED = int(os.environ.get("POINTSMAN_SOAK_SEED", "1"))
VICTIMS = ("flow", "child", "lab", "prefect")
MOST_INTERRUPTIONS = 3
LONGEST_UNDISTURBED_S = 30.0
LONGEST_RUN_S = 240.0
ENDINGS = {0, 4, -signal.SIGKILL}
"""Done, a dependency out of reach, killed."""
MOST_GROWTH = 1.5
NOT_OURS = ("prefect", "logs")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabWorld]:
    with running_world(tmp_path_factory.mktemp("soak")) as started:
        yield started


def test_runs_that_are_interrupted_at_any_moment_end_with_balanced_books(
    world: LabWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(SEED)
    until = time.monotonic() + SECONDS
    course: Counter[str] = Counter()
    kept = [kept_kb(world.home)]
    while time.monotonic() < until:
        processes = world.world.processes
        ports = (processes["prefect"].port or 0, processes["lab"].port or 0)
        journey = Journey(world.home, ports, accepted_before=accepted_so_far(world.home))
        for _ in range(chance.randint(0, MOST_INTERRUPTIONS)):
            course[interrupted(journey, chance)] += 1
            if journey.run_id is not None and unfinished(world.home) is None:
                break  # it ended before it could be interrupted
        if journey.run_id is None or unfinished(world.home) is not None:
            journey.start()
            watched(journey, LONGEST_RUN_S)
            journey.finish()
        journey.nothing_left_behind()
        course["dispatches accepted once each"] += journey.balance()
        course["runs"] += 1
        kept.append(kept_kb(world.home))
    with capsys.disabled():
        sys.stdout.write(f"\n{SECONDS:.0f} s, seed {SEED}: {dict(course)}; kept after each run: {kept} KB\n")
    assert course["runs"] >= 1
    added = [after - before for before, after in itertools.pairwise(kept)]
    assert added[-1] <= MOST_GROWTH * added[0], "a run leaves more behind than the first one did"


def interrupted(journey: Journey, chance: random.Random) -> str:
    """Start the command, kill one of its processes at some moment, and wait for what comes of it."""
    journey.start()
    assert journey.process is not None
    victim, after_s = chance.choice(VICTIMS), chance.uniform(0.2, LONGEST_UNDISTURBED_S)
    if watched(journey, after_s):
        said = "ended before"
    else:
        pid = victim_now(journey, victim)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        said = f"{victim} killed" if pid is not None else f"{victim} was not there"
    code = journey.end()
    assert code in ENDINGS, journey.output()
    return said


def victim_now(journey: Journey, name: str) -> int | None:
    """The pid of one of the four, if it runs at this moment."""
    if name == "flow":
        return journey.process.pid if journey.process else None
    if name == "child":
        ours = (f"pointsman.dispatch.child {journey.home}", "pointsman.dispatch.child")
        return next((pid for pid, words in commands().items() if all(one in words for one in ours)), None)
    running = World.load(journey.home).processes.get(name)
    return running.pid if running else None


def watched(journey: Journey, seconds: float) -> bool:
    """Wait for the command, noting the id of its run; whether it has ended within `seconds`."""
    assert journey.process is not None
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        journey.run_id = journey.run_id or unfinished(journey.home)
        if journey.process.poll() is not None:
            return True
        time.sleep(0.02)
    return False


def kept_kb(home: Path) -> int:
    """What the home folder holds, without what Prefect and the logs hold."""
    own = (path for path in home.rglob("*") if path.is_file() and path.relative_to(home).parts[0] not in NOT_OURS)
    return sum(path.stat().st_size for path in own) // 1024
