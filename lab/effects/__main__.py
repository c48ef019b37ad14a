"""`python -m lab.effects --port P --home DIR --flagd-file FILE --inputs-root DIR ...`: run the effects backend.

The executor secret comes from the environment (STUDIO_EXECUTOR_SECRET). Prints `ready <url>` once it answers; logs to
stderr. `--catalogue` prints what the backend offers, as JSON, and ends.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lab.effects.catalogue import PROVIDERS, catalogue
from pointsman.errors import InputRefused, PointsmanError
from pointsman.settings import ENVIRONMENT_NAMES, Secret


def main(argv: Sequence[str]) -> int:
    """Run with these arguments; the exit code of CONTRACTS."""
    parser = argparse.ArgumentParser(prog="python -m lab.effects", description="The lab's effects backend.")
    parser.add_argument("--catalogue", action="store_true", help="print workflows, variants and providers as JSON")
    parser.add_argument("--host", default="127.0.0.1", help="loopback only")
    parser.add_argument("--port", type=int, help="0 takes a free one; the ready line names it")
    parser.add_argument("--home", type=Path, help="folder of the backend's state and outputs")
    parser.add_argument("--flagd-file", type=Path, help="routing gateway that route keys are resolved with")
    parser.add_argument("--inputs-root", type=Path, action="append", help="folder that inputs may lie in; repeatable")
    parser.add_argument("--seed", type=int, default=1, help="of the spot provider's interruptions")
    parser.add_argument("--lease", type=float, default=2.0, help="seconds without a heartbeat until an attempt is lost")
    parser.add_argument("--allow-faults", action="store_true", help="for tests: serve POST /v1/faults")
    for provider in PROVIDERS.values():
        parser.add_argument(f"--{provider.name}-workers", type=int, default=provider.workers, help="worker processes")
    asked = parser.parse_args(argv)
    if asked.catalogue:
        print(json.dumps(catalogue(), indent=1))
        return 0
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    try:
        _serve(asked)
    except PointsmanError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _serve(asked: argparse.Namespace) -> None:
    for option in ("port", "home", "flagd_file", "inputs_root"):
        if getattr(asked, option) is None:
            raise InputRefused("--" + option.replace("_", "-"), None, "a value: it is needed to run the backend")
    if not 0 <= asked.port <= 65535:
        raise InputRefused("--port", asked.port, "0 to 65535")
    if not asked.lease > 0:
        raise InputRefused("--lease", asked.lease, "more than 0 seconds")
    providers = []
    for provider in PROVIDERS.values():
        workers = getattr(asked, f"{provider.name.replace('-', '_')}_workers")
        if workers < 0:
            raise InputRefused(f"--{provider.name}-workers", workers, "0 or more")
        providers.append(replace(provider, workers=workers))
    secret = os.environ.get(ENVIRONMENT_NAMES["executor_secret"])
    if not secret:
        raise InputRefused("STUDIO_EXECUTOR_SECRET", secret, "the executor secret, in the environment")
    from lab.effects.service import Setup, serve

    serve(
        Setup(
            host=asked.host,
            port=asked.port,
            home=asked.home.resolve(),
            flagd_file=asked.flagd_file.resolve(),
            input_roots=asked.inputs_root,
            providers=providers,
            secret=Secret(secret),
            seed=asked.seed,
            lease_s=asked.lease,
            allow_faults=asked.allow_faults,
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
