"""Pointsman's engine: measure every way of producing an effect, judge it, price it, decide, and move routing.

Plain typed Python without Prefect. The rooms and the arrows between them are drawn in the README and held by
import-linter (`make check`).
"""

__version__ = "0.1.0"
