"""Every error that Pointsman raises on purpose: one hierarchy, each with a code, data, and what to do next.

PointsmanError
|-- InputRefused         wrong use or refused input; nothing was written or sent          (exit 2)
|   |-- NotFound         a thing named by the request does not exist
|   |   `-- NotConfigured  a setting was found in none of the places where it is looked for
|   `-- IllegalMove      a state machine does not allow this move
|-- GuardRefused         a guard refused an otherwise valid intent                        (exit 3)
|   `-- Conflict         somebody else was first: a stale expected generation, a held lock
|-- DependencyDown       a server, database or tool is out of reach                       (exit 4)
`-- RunFailed            the run or its verdict failed                                    (exit 1)
    |-- DataCheckFailed  a hand-over between two steps holds data that is not true
    `-- Cancelled        somebody asked the run to stop
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar


class PointsmanError(Exception):
    """Carries `code` (stable, for programs), `message` (what is wrong), `instruction` (what to do) and `data`."""

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, instruction: str = "", code: str | None = None, **data: object) -> None:
        self.message = message
        self.instruction = instruction
        self.code = code or self.default_code
        self.data = data
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message} {self.instruction}".strip()

    def as_failure(self) -> dict[str, str]:
        """The `metrics_json.failure` document of CONTRACTS: code, message, instruction."""
        return {"code": self.code, "message": self.message, "instruction": self.instruction}

    def as_told(self) -> dict[str, str]:
        """What another process rebuilds the error from, by `error_told`."""
        return {"kind": type(self).__name__, **self.as_failure()}


class InputRefused(PointsmanError):
    """Refused before anything was written or sent. Names the field, the value and what is allowed."""

    exit_code = 2
    default_code = "input_refused"

    def __init__(
        self, field: str, value: object, allowed: str, *, instruction: str = "", code: str | None = None
    ) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        shown = repr(value)
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        wrong = "nothing is given" if value is None else f"{shown} is not allowed"
        super().__init__(
            f"{field}: {wrong}; allowed: {allowed}.",
            instruction=instruction,
            code=code,
            field=field,
            value=shown,
            allowed=allowed,
        )


class NotFound(InputRefused):
    """A thing named by the request does not exist; `allowed` says which ones do."""

    default_code = "not_found"


class NotConfigured(NotFound):
    """A setting was found in none of the places where it is looked for. Names each in the order of looking."""

    default_code = "not_configured"

    def __init__(self, field: str, purpose: str, tried: Sequence[str], *, instruction: str) -> None:
        self.field = field
        self.value = None
        self.allowed = purpose
        self.tried = tuple(tried)
        message = f"{field} ({purpose}): not found in {'; '.join(tried)}."
        PointsmanError.__init__(
            self, message, instruction=instruction, field=field, allowed=purpose, tried=list(self.tried)
        )


class IllegalMove(InputRefused):
    """A state machine of CONTRACTS does not allow this move."""

    default_code = "illegal_move"


class GuardRefused(PointsmanError):
    """A guard refused an otherwise valid intent."""

    exit_code = 3
    default_code = "guard_refused"


class Conflict(GuardRefused):
    """Somebody else was first: a stale expected generation, a lock that is held, a key reused with other content."""

    default_code = "conflict"


class DependencyDown(PointsmanError):
    """A server, database or tool is out of reach."""

    exit_code = 4
    default_code = "dependency_down"


class RunFailed(PointsmanError):
    """The run or its verdict failed."""

    default_code = "run_failed"


class DataCheckFailed(RunFailed):
    """A hand-over between two steps holds data that is not true; `data` names the rows and why."""

    default_code = "data_check_failed"


class Cancelled(RunFailed):
    """Somebody asked the run to stop."""

    default_code = "cancelled"


def error_told(told: Mapping[str, str]) -> PointsmanError:
    """The error that another process told of by `as_told`, of the same kind.

    A kind that only the other process knows comes as `RunFailed`; so does a refused input, which was refused where
    its field and value are. Raises `KeyError` for a document that `as_told` did not write.
    """
    kinds = {kind.__name__: kind for kind in _kinds(PointsmanError) if not issubclass(kind, InputRefused)}
    kind = kinds.get(told["kind"], RunFailed)
    return kind(told["message"], instruction=told["instruction"], code=told["code"])


def _kinds(kind: type[PointsmanError]) -> Iterator[type[PointsmanError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _kinds(below)
