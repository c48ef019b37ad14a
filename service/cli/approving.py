"""Waiting at the terminal until a run is approved, and saying who acts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console

from pointsman.errors import GuardRefused
from pointsman.safety import Identity, read_approval, who_acts
from pointsman.settings import load_settings
from pointsman.workspace import Workspace

_LOOK_EVERY_S = 1.0
R = TypeVar("R")


def acting(ws: Workspace) -> Identity:
    """Who runs this command: the holder of POINTSMAN_TOKEN, else the user of the operating system."""
    return who_acts(ws, load_settings().token)


def once_approved(ws: Workspace, run: Callable[[], R]) -> R:
    """Call `run`; where it waits for an approval, wait with it at a terminal and call it again once it is decided.

    Without a terminal nobody would see it wait: then the refusal, which names the command to run, is raised at once.
    """
    try:
        return run()
    except GuardRefused as error:
        if error.code != "awaiting_approval" or not sys.stdin.isatty():
            raise
        said = error
    to_stderr = Console(stderr=True, highlight=False)
    to_stderr.print(said.message, markup=False, soft_wrap=True)
    to_stderr.print(f"  -> somebody else: {said.instruction}", markup=False, soft_wrap=True)
    to_stderr.print("Waiting. Ctrl-C ends this command, not the request; the same command goes on waiting.")
    while read_approval(ws, str(said.data["approval_id"])).state(ws.clock.now()) == "waiting":
        ws.clock.sleep(_LOOK_EVERY_S)
    return run()
