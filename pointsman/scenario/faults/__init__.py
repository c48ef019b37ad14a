"""Faults as measured events: AWS FIS experiments on instances of one Auto Scaling group, and what they did to a run."""

from pointsman.scenario.faults.model import Fault

__all__ = ["Fault"]
