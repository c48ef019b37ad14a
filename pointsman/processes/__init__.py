"""Child processes that end when they should, and leave nothing behind."""

from pointsman.processes.supervision import ChildResult, supervise

__all__ = ["ChildResult", "supervise"]
