"""What each state of a FIS experiment means for the run. Every state of the service is in the table, and no other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExperimentState:
    """`ended`: it never changes again. `happened`: the actions ran to their end, so an effect can be measured."""

    ended: bool
    happened: bool
    meaning: str


EXPERIMENT_STATES: Mapping[str, ExperimentState] = {
    "pending": ExperimentState(False, False, "FIS has accepted the experiment"),
    "initiating": ExperimentState(False, False, "FIS resolves the targets"),
    "running": ExperimentState(False, False, "the actions are at work"),
    "completed": ExperimentState(True, True, "every action ran to its end"),
    "stopping": ExperimentState(False, False, "FIS rolls the actions back"),
    "stopped": ExperimentState(True, False, "it was cut short by a stop condition, an operator or the safety lever"),
    "failed": ExperimentState(True, False, "an action failed or no target was found"),
    "cancelled": ExperimentState(True, False, "FIS refused to begin it, as it does while the safety lever is engaged"),
}
UNKNOWN_STATE = ExperimentState(False, False, "a state that this version does not know; it is waited for until a limit")


def experiment_state(status: str) -> ExperimentState:
    """The table's entry; a state that the service has learnt since is waited for, never taken for an end."""
    return EXPERIMENT_STATES.get(status, UNKNOWN_STATE)


def why_nothing_happened(status: str, reason: str, actions: Iterable[str]) -> str | None:
    """Why an ended experiment did not do what it should, in words; None when every action ran to its end."""
    state = experiment_state(status)
    said = f" ({reason})" if reason else ""
    if not state.happened:
        return f"its experiment is {status}: {state.meaning}{said}"
    undone = sorted({action for action in actions if action != "completed"})
    if undone:
        return f"its experiment is {status}, but actions are {', '.join(undone)}{said}"
    return None
