"""Errors that one process tells another: the kind, the code and the instruction arrive."""

from __future__ import annotations

import pytest

from pointsman.errors import (
    Conflict,
    DataCheckFailed,
    DependencyDown,
    InputRefused,
    NotFound,
    PointsmanError,
    RunFailed,
    error_told,
)
from pointsman.quality import JudgeUnavailable


@pytest.mark.parametrize("kind", [Conflict, DataCheckFailed, DependencyDown, RunFailed, JudgeUnavailable])
def test_an_error_is_told_and_rebuilt_as_what_it_was(kind: type[PointsmanError]) -> None:
    rebuilt = error_told(kind("It broke.", instruction="Mend it.", code="broken").as_told())
    assert type(rebuilt) is kind
    assert rebuilt.as_failure() == {"code": "broken", "message": "It broke.", "instruction": "Mend it."}


@pytest.mark.parametrize("told", [InputRefused("rate", -1, "0 and more"), NotFound("run", "r1", "a run's id")])
def test_an_input_refused_elsewhere_fails_the_run_here_in_the_same_words(told: InputRefused) -> None:
    rebuilt = error_told(told.as_told())
    assert type(rebuilt) is RunFailed
    assert rebuilt.message == told.message
    assert rebuilt.code == told.code


def test_an_error_that_only_the_other_process_knows_fails_the_run() -> None:
    told = {"kind": "LaterError", "code": "later", "message": "It broke.", "instruction": "Mend it."}
    assert type(error_told(told)) is RunFailed
