"""What a GitHub workflow may hold, as far as ours use it: a strict model, so that a slip of a key does not pass."""

from __future__ import annotations

from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

Level = Literal["read", "write", "none"]
Scalar = str | int | bool


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Input(Strict):
    description: str
    type: Literal["choice", "string", "number", "boolean"]
    required: bool
    default: Scalar | None = None
    options: list[str] = []

    @model_validator(mode="after")
    def _fits(self) -> Input:
        assert bool(self.options) == (self.type == "choice")
        assert self.type != "choice" or self.default is None or self.default in self.options
        return self


class Dispatch(Strict):
    inputs: dict[str, Input] = {}


class Push(Strict):
    branches: list[str]
    paths: list[str] = []


class On(Strict):
    workflow_dispatch: Dispatch | None = None
    push: Push | None = None
    pull_request: None = None


class Concurrency(Strict):
    group: str
    cancel_in_progress: bool = Field(alias="cancel-in-progress")


class Step(Strict):
    name: str | None = None
    condition: str | None = Field(None, alias="if")
    uses: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+@[0-9a-f]{40}$")
    given: dict[str, Scalar] = Field({}, alias="with")
    run: str | None = None
    env: dict[str, str] = {}

    @model_validator(mode="after")
    def _does_one_thing(self) -> Step:
        assert (self.uses is None) != (self.run is None)
        assert self.uses is not None or not self.given
        return self


class Permissions(Strict):
    actions: Level | None = None
    checks: Level | None = None
    contents: Level | None = None
    id_token: Level | None = Field(None, alias="id-token")


class Matrix(Strict):
    python: list[str]


class Strategy(Strict):
    matrix: Matrix


class Job(Strict):
    name: str | None = None
    needs: str | None = None
    condition: str | None = Field(None, alias="if")
    runs_on: str = Field(alias="runs-on")
    environment: str | None = None
    timeout_minutes: int = Field(alias="timeout-minutes", le=360)
    permissions: Permissions | None = None
    strategy: Strategy | None = None
    steps: list[Step] = Field(min_length=1)


class Workflow(Strict):
    name: str
    run_name: str | None = Field(None, alias="run-name")
    on: On
    permissions: Permissions
    concurrency: Concurrency | None = None
    jobs: dict[str, Job] = Field(min_length=1)

    @model_validator(mode="after")
    def _needs_jobs_that_exist(self) -> Workflow:
        assert {job.needs for job in self.jobs.values()} - {None} <= set(self.jobs)
        return self


def parse(text: str) -> Workflow:
    """The workflow of a file. YAML 1.1 reads the key `on` as true; GitHub does not."""
    document: dict[Any, Any] = yaml.safe_load(text)
    return Workflow.model_validate({("on" if key is True else key): value for key, value in document.items()})
