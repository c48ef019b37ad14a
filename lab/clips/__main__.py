"""`python -m lab.clips --home DIR [--clips N]`: make the clips and print `clips.json`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.clips.library import make_clips


def main(argv: Sequence[str]) -> int:
    """Run with these arguments; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.clips", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder of the lab; clips go to its folder `clips`")
    parser.add_argument("--clips", type=int, default=24, help="how many, photographs in turn (default 24)")
    asked = parser.parse_args(argv)
    if asked.clips < 1:
        parser.error(f"--clips: {asked.clips} is not allowed; allowed: 1 or more.")
    make_clips(asked.home, asked.clips)
    print((asked.home / "clips.json").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
