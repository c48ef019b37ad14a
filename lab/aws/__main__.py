"""`python -m lab.aws --port P --effects-url URL --url-file PATH`: the lab's AWS, on loopback.

The executor secret of the effects backend, whose workers the instances own, comes from the environment
(STUDIO_EXECUTOR_SECRET). Prints `ready <url>` once it answers, and its address is in the file as long as it is up,
for `pointsman.settings.AwsPlace`. Beside AWS it serves `POST /lab/endings`, with a JSON
list of how the next experiments end (see `agent.py`), and what `lab/aws/ecs` says of its ECS.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pointsman.errors import InputRefused, PointsmanError
from pointsman.settings import ENVIRONMENT_NAMES, Secret


def main(argv: Sequence[str]) -> int:
    """Run with these arguments; the exit code of CONTRACTS."""
    parser = argparse.ArgumentParser(prog="python -m lab.aws", description="The lab's AWS.")
    parser.add_argument("--port", type=int, required=True, help="on loopback; 0 takes a free one")
    parser.add_argument("--effects-url", required=True, help="of the effects backend, on loopback")
    parser.add_argument("--url-file", type=Path, required=True, help="where it says its address while it is up")
    asked = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    try:
        secret = os.environ.get(ENVIRONMENT_NAMES["executor_secret"])
        if not secret:
            raise InputRefused("STUDIO_EXECUTOR_SECRET", secret, "the executor secret, in the environment")
        from lab.aws.service import serve

        serve(asked.port, asked.effects_url, Secret(secret), asked.url_file)
    except PointsmanError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
