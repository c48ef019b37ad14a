"""State machines: what is legal is what is reachable, and what ended stays ended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import IllegalMove
from pointsman.states import BENCHMARK_RUN, BINDING, DISPATCH, LOAD_TEST_RUN, RUN_ITEM, StateMachine

MACHINES = [LOAD_TEST_RUN, DISPATCH, BENCHMARK_RUN, RUN_ITEM, BINDING]


def _walks(machine: StateMachine) -> st.SearchStrategy[list[str]]:
    @st.composite
    def walk(draw: st.DrawFn) -> list[str]:
        path = [machine.initial]
        while machine.edges[path[-1]] and len(path) < 12 and draw(st.booleans()):
            path.append(draw(st.sampled_from(sorted(machine.edges[path[-1]]))))
        return path

    return walk()


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
@given(data=st.data())
def test_any_later_state_of_a_walk_may_follow_any_earlier_one(machine: StateMachine, data: st.DataObject) -> None:
    path = data.draw(_walks(machine))
    assert all(machine.legal(path[0], later) for later in path)
    assert all(machine.legal(before, after) for i, before in enumerate(path) for after in path[i:])


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_terminal_states_never_change_and_repeating_them_is_allowed(machine: StateMachine) -> None:
    assert machine.terminal
    for state in machine.terminal:
        assert machine.legal(state, state)
        assert [other for other in machine.edges if machine.legal(state, other)] == [state]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_state_can_be_reached_from_the_initial_one(machine: StateMachine) -> None:
    assert machine.reachable[machine.initial] | {machine.initial} == set(machine.edges)


@pytest.mark.parametrize(
    ("machine", "terminal"),
    [
        (LOAD_TEST_RUN, {"completed", "failed", "cancelled"}),
        (DISPATCH, {"completed", "failed", "dropped", "cancelled_unsent", "cancelled_sent", "unknown"}),
        (BENCHMARK_RUN, {"ready"}),
        (RUN_ITEM, {"completed", "failed", "invalid", "skipped", "cancelled"}),
        (BINDING, {"superseded", "rolled_back", "failed", "aborted"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_terminal_states_are_those_of_the_contract(machine: StateMachine, terminal: set[str]) -> None:
    assert machine.terminal == terminal


@pytest.mark.parametrize(
    ("machine", "old", "new", "legal"),
    [
        (DISPATCH, "leased", "queued", True),
        (DISPATCH, "submitted", "sent", False),
        (DISPATCH, "planned", "completed", True),
        (DISPATCH, "planned", "cancelled_sent", True),
        (BENCHMARK_RUN, "failed", "running", True),
        (BENCHMARK_RUN, "cancelled", "ready", True),
        (BENCHMARK_RUN, "ready", "running", False),
        (RUN_ITEM, "completed", "running", False),
        (RUN_ITEM, "running", "skipped", False),
        (LOAD_TEST_RUN, "cancelling", "completed", False),
        (LOAD_TEST_RUN, "draining", "running", False),
        (BINDING, "canary", "active", True),
        (BINDING, "active", "aborted", False),
        (BINDING, "nowhere", "active", False),
    ],
)
def test_moves_of_the_contract(machine: StateMachine, old: str, new: str, legal: bool) -> None:
    assert machine.legal(old, new) is legal


def test_an_illegal_move_names_the_machine_both_states_and_what_is_allowed() -> None:
    with pytest.raises(IllegalMove) as refused:
        BENCHMARK_RUN.check("collected", "created")
    for word in ("benchmark run", "collected", "created", "ready", "failed"):
        assert word in refused.value.message
    with pytest.raises(IllegalMove, match="it is terminal"):
        BENCHMARK_RUN.check("ready", "running")


def test_a_state_that_does_not_exist_is_an_illegal_move() -> None:
    with pytest.raises(IllegalMove):
        RUN_ITEM.check("pending", "done")
