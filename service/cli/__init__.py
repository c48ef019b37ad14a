"""The `pointsman` command: a file per command group, every command ending in the same flow or engine function."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from pointsman.errors import PointsmanError

COMMANDS = {
    "demo": "Measure seven real encodings of the same clips, judge and price them, move a route to the winner.",
    "compare": "Run your own clips through every variant; show what each costs and how good it is.",
    "up": "Start Prefect, a worker and the lab, deploy every flow, and leave all of it running.",
    "down": "End what `up` started, and only that.",
    "doctor": "Check that this machine has what Pointsman needs.",
    "targets": "Where jobs are dispatched to, and whether one understands us.",
    "environments": "Where targets are, and which of these places is production.",
    "variants": "The registered ways to produce an effect.",
    "inputs": "Input sets: files that are registered once and measured often.",
    "prices": "The price book that applies, AWS's prices of today, a month's charges, and an invoice against them.",
    "scenario": "Plan, run, watch and cancel a load test; report it, compare two.",
    "benchmark": "Plan a matrix of variants and inputs, run one, continue or cancel one, look at one.",
    "evaluate": "Judge a benchmark's outputs and decide.",
    "hud": "What a benchmark came to, whether its verdict follows from what is stored, how many inputs one needs.",
    "route": "Where a route's traffic goes, moving it, and putting it back.",
    "watch": "Hold what serves a route to what its verdict promised.",
    "acceptance": "Look at an environment, and keep what it consists of.",
    "approve": "Agree to what a run may cost, or reject it; without an id, what waits.",
    "token": "Who may do what: make, list and revoke tokens.",
    "sinks": "Where events go besides the action log.",
    "logs": "What happened, newest first, and what to do about it.",
    "serve": "Serve the HTTP API until it is stopped.",
    "trace": "Everything known of one dispatch.",
}
"""Every command with its line in `pointsman --help`; `service/cli/<name>.py` holds it as `app`."""


class _Commands(TyperGroup):
    """Imports a command's module when it is asked for: `--help` lists all of them without loading the engine."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, typer.main.get_command(import_module(f"service.cli.{name}").app), rest


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def pointsman() -> None:
    """Measure every way of producing an effect, price it, and move its route to the winner.

    Start with `pointsman demo`, or with a clip of your own: `pointsman compare --input CLIP.mp4`.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code of CONTRACTS (0 done, 1 failed, 2 refused input, 3 guard, 4 down)."""
    try:
        code = app(args=arguments, prog_name="pointsman", standalone_mode=False) or 0
    except PointsmanError as error:
        from service.cli.output import complain

        complain(error)
        return error.exit_code
    except typer.Abort:
        return 1
    except Exception as error:
        if not hasattr(error, "show"):  # not one of the parser's own refusals
            raise
        error.show()
        return 2
    if code == 130:
        sys.stderr.write("Stopped. The same command continues where this one ended.\n")
    return int(code)


def run() -> NoReturn:
    """Run the command line and leave at once with its exit code.

    What Prefect holds was handed over by then; its threads would wait, a minute and more, for a server that is gone.
    """
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
