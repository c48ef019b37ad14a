"""`pointsman` as its users start it: a process of its own, in the home that the test's settings name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from service.cli.world import CHECKOUT


def start_pointsman(*words: str, log: Path) -> subprocess.Popen[bytes]:
    """Start the command; what it says goes to `log`. Whoever starts it waits for its end."""
    argv = [sys.executable, "-c", "from service.cli import run; run()", *words]
    with log.open("wb") as said:
        return subprocess.Popen(
            argv,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
