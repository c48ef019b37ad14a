"""Names of runs as the Prefect UI lists them, from what their request says."""

from __future__ import annotations

from collections.abc import Callable

from prefect.runtime import flow_run
from pydantic import BaseModel


def named(template: str) -> Callable[[], str]:
    """For `flow_run_name`: the template with the request's fields, and `id` for the beginning of the run's id.

    Prefect asks for the name before it has validated the request as well. One that lacks a field leaves the run's id,
    so that the run fails by the validation's own words.
    """

    def name() -> str:
        request = flow_run.parameters["request"]
        fields = request.model_dump(mode="json") if isinstance(request, BaseModel) else request
        try:
            return template.format(**fields, id=flow_run.id[:8])
        except (KeyError, TypeError):
            return str(flow_run.id)

    return name
