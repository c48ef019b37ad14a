"""What the command line makes of the ways in which Prefect can fail under a flow."""

from __future__ import annotations

import httpx
import pytest
from prefect.exceptions import MissingResult, PrefectHTTPStatusError
from pydantic import BaseModel

from pointsman.errors import DependencyDown, InputRefused, PointsmanError, RunFailed
from service.cli.running import run_flow

ASKED = httpx.Request("GET", "http://127.0.0.1:1/api/health")


class Asked(BaseModel):
    pass


def outcome_of(error: Exception, cause: Exception | None = None) -> BaseException:
    def flow(asked: Asked) -> None:
        raise error from cause

    with pytest.raises((PointsmanError, RuntimeError)) as caught:
        run_flow(lambda: flow, Asked())
    return caught.value


def answered(status: int) -> PrefectHTTPStatusError:
    answer = httpx.Response(status, request=ASKED)
    return PrefectHTTPStatusError("told so", request=ASKED, response=answer)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (httpx.ConnectError("refused"), None),
        (RuntimeError("Failed to reach API"), httpx.ConnectError("refused")),
        (MissingResult("gone"), httpx.ReadTimeout("slow")),
        (answered(503), None),
    ],
    ids=["refused", "at the start", "in the middle", "overloaded"],
)
def test_a_server_out_of_reach_is_a_dependency_that_is_down(error: Exception, cause: Exception | None) -> None:
    told = outcome_of(error, cause)
    assert isinstance(told, DependencyDown)
    assert told.code == "prefect_unreachable"


@pytest.mark.parametrize("error", [MissingResult("no result"), answered(422)], ids=["a crashed run", "a refusal"])
def test_what_prefect_itself_refuses_is_not_called_an_outage(error: Exception) -> None:
    told = outcome_of(error)
    assert isinstance(told, RunFailed)
    assert told.code == "prefect_ended_run"
    assert type(error).__name__ in str(told)


def test_an_error_of_the_flow_stays_what_it_is() -> None:
    refused = InputRefused("field", "value", "something else")
    assert outcome_of(refused) is refused
    bug = RuntimeError("a bug")
    assert outcome_of(bug) is bug
