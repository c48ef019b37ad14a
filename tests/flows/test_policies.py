"""What a task repeats, and what a repetition cannot change."""

from __future__ import annotations

from typing import Any, cast

import httpx
import pytest
from prefect.states import Failed

from pointsman.errors import Cancelled, Conflict, DataCheckFailed, DependencyDown, InputRefused, RunFailed
from pointsman.quality import JudgeUnavailable
from tasks.policies import worth_retrying


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (RunFailed("the driver died", code="driver_died"), True),
        (DependencyDown("the file is locked"), True),
        (OSError("disk"), True),
        (DependencyDown("waited for 30 s", code="target_lost"), False),
        (JudgeUnavailable("retried it three times"), False),
        (httpx.ConnectError("refused"), False),
        (InputRefused("repeats", 0, "1 or more"), False),
        (Conflict("somebody else was first"), False),
        (DataCheckFailed("rows are missing"), False),
        (Cancelled("asked to stop"), False),
    ],
)
def test_a_task_repeats_what_may_pass_and_nothing_else(error: Exception, again: bool) -> None:
    state: Any = Failed(data=error)
    assert worth_retrying(cast(Any, None), cast(Any, None), state) is again
