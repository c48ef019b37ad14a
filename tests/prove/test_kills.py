"""kill -9 of each process of the chain in each of its six steps; then the same command, until the run is complete.

Each victim has one run, which is interrupted in every step in turn. At its end the lab's own books say that each
dispatch was accepted once and that exactly the attempts it made were recorded.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.prove.coverage_of_kills import COVERED
from tests.prove.kills import HELD, STEPS, Journey, accepted_so_far
from tests.world import LabWorld, running_world

pytestmark = [pytest.mark.prove, pytest.mark.xdist_group("kills"), pytest.mark.timeout(600)]

NO_SUCH_PROCESS = {
    ("child", "prepare"): "nothing is dispatched while a run is prepared",
    ("child", "evaluate"): "nothing is dispatched while outputs are judged",
    ("child", "decide"): "nothing is dispatched while a verdict is made",
}
VICTIMS = ("flow", "child", "lab", "prefect")
CASES = [
    pytest.param(
        victim,
        step,
        id=f"{victim}-{step}",
        marks=pytest.mark.skip(reason=NO_SUCH_PROCESS[victim, step]) if (victim, step) in NO_SUCH_PROCESS else (),
    )
    for victim in VICTIMS
    for step in (*STEPS, "the end")
]
OUT_OF_REACH = 4


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabWorld]:
    with running_world(tmp_path_factory.mktemp("kills")) as started:
        yield started


@pytest.fixture(scope="module")
def journeys(world: LabWorld) -> Iterator[dict[str, Journey]]:
    found: dict[str, Journey] = {}
    yield found
    for journey in found.values():
        if journey.process is not None:
            journey.process.kill()
            journey.process.wait()


def journey_of(victim: str, journeys: dict[str, Journey], world: LabWorld) -> Journey:
    if victim not in journeys:
        processes = world.world.processes
        ports = (processes["prefect"].port or 0, processes["lab"].port or 0)
        for left in (world.home / "unfinished").glob("demo-*"):
            left.unlink()
        journeys[victim] = Journey(world.home, ports, accepted_before=accepted_so_far(world.home))
    return journeys[victim]


@pytest.mark.parametrize(("victim", "step"), CASES)
def test_a_kill_is_survived_by_the_same_command(
    victim: str, step: str, journeys: dict[str, Journey], world: LabWorld
) -> None:
    journey = journey_of(victim, journeys, world)
    if step == "the end":
        journey.finish()
        journey.nothing_left_behind()
        dispatches = journey.balance()
        COVERED[victim, step] = f"{dispatches} dispatches, accepted once each, in {journey.invocations} invocations"
        return
    if journey.process is None:
        journey.start(hold=step if step in HELD else None)
    journey.await_step(step)
    journey.kill(victim)
    journey.go_on()
    if victim == "child":
        COVERED[victim, step] = "the same invocation continued"
        return
    code = journey.end()
    if victim == "flow":
        assert code == -9
    else:
        assert code == OUT_OF_REACH, journey.output()
        assert {"lab": "target_lost", "prefect": "prefect_unreachable"}[victim] in journey.output()
    journey.nothing_left_behind()
    COVERED[victim, step] = f"the command ended with {code}"
