"""How long `pointsman demo` takes when warm, and how much of it is not measured work.

Bars: 150 s in all, and at most a third of it outside measured work (load tests, rounds of encodes, judging). The clips
are made and every module is compiled by a first demo that is not timed; it is left out when the home has had one.
Usage: python perf/demo.py [--home DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

CHECKOUT = Path(__file__).resolve().parents[1]
MOST_SECONDS = 150.0
MOST_OUTSIDE = 1 / 3


def demo(home: Path) -> dict[str, Any]:
    """What one demo in this home came to. Exits with its code when it fails."""
    ports = [str(port) for port in _free_ports()]
    command = [sys.executable, "-c", "import sys; from service.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*command, "demo", "--json", "--prefect-port", ports[0], "--lab-port", ports[1]],
        cwd=CHECKOUT,
        env={**os.environ, "POINTSMAN_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(done.returncode)
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def _free_ports() -> list[int]:
    held = [socket.socket() for _ in range(2)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="a home that is kept; default: a temporary one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = (asked.home or Path(temporary)).absolute()
        if not (home / "report" / "index.html").is_file():
            demo(home)
        outcome = demo(home)
    wall, outside = outcome["wall_seconds"], outcome["outside_measured_work_seconds"]
    table = Table(title=f"pointsman demo, warm, {os.cpu_count()} cores: {outcome['hud']['verdict']['outcome']}")
    for column in ("what", "measured", "bar", "held"):
        table.add_column(column, justify="left" if column == "what" else "right")
    rows = (
        ("wall time", f"{wall:.1f} s", f"{MOST_SECONDS:.0f} s", wall <= MOST_SECONDS),
        ("measured work", f"{outcome['measured_work_seconds']:.1f} s", "", True),
        ("outside measured work", f"{outside:.1f} s", "", True),
        ("its share", f"{outside / wall:.0%}", f"{MOST_OUTSIDE:.0%}", outside / wall <= MOST_OUTSIDE),
    )
    for what, measured, bar, held in rows:
        table.add_row(what, measured, bar, ("yes" if held else "NO") if bar else "")
    Console().print(table)
    return 0 if all(held for *_, held in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
