"""Child processes that end when they should, and leave nothing behind."""

from pointsman.processes.supervision import Child, ChildResult, supervise

__all__ = ["Child", "ChildResult", "supervise"]
