"""How a Prefect run's end reaches an engine function that asks whether to go on."""

from __future__ import annotations


def cancelled() -> bool:
    """Prefect ends a run by SIGTERM, which leaves the task as an exception, and with it the child it supervises.

    Cancelling through the state of record is the engine's own matter, so nothing is left to ask here.
    """
    return False


def ignore(_status: object) -> None:
    """Progress is read from the state of record by whoever wants to see it."""
