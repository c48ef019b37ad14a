"""Every command that Pointsman tells people to run is one that its command line takes."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from service.cli import app

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("pointsman", "blocks", "tasks", "flows", "service", "deployments")
QUOTED = re.compile(r"`(pointsman [a-z-][^`]*)`|\"(pointsman [a-z][^\"]*)\"|[:;] (pointsman [a-z][^`\"]*)\"")


def told():
    """(where, command) of every `pointsman ...` in quotes or backticks; placeholders are left as they are."""
    for room in ROOMS:
        for path in sorted((CHECKOUT / room).rglob("*.py")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                for found in QUOTED.finditer(line):
                    command = next(filter(None, found.groups())).strip().rstrip(".")
                    yield f"{path.relative_to(CHECKOUT)}:{number}", command


COMMANDS = sorted(set(told()))


def test_the_search_finds_commands():
    assert len(COMMANDS) > 40
    assert any("{" in command for _, command in COMMANDS)


def parse(words):
    """Take the words as a run would, without running anything. Raises for whatever a run would refuse."""
    command = typer.main.get_command(app)
    context = command.make_context("pointsman", list(words))
    while hasattr(command, "resolve_command") and (context._protected_args or context.args):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context, resilient_parsing=False)


def refused(words):
    """What the command line says against the words, or nothing."""
    try:
        parse(words)
    except typer.Exit:  # --help
        return ""
    except Exception as error:  # noqa: BLE001 - the parser's own errors have no public type
        return "" if type(error).__name__ == "NoArgsIsHelpError" else str(error)
    return ""


def runnable(command):
    """The command with its placeholders filled. A group or command named on its own stands for its help."""
    filled = re.sub(r"\{[^{}]*(\{[^{}]*\}[^{}]*)*\}", "1", command)  # a number is a word as well
    return [word for word in shlex.split(filled) if word not in ("...", "PORT")]


@pytest.mark.parametrize(("where", "command"), COMMANDS)
def test_a_command_in_a_message_parses(where, command):
    words = runnable(command)[1:]
    refusal = refused(words)
    named_only = "{" not in command and len(words) <= 2 and "Missing" in refusal
    assert not refusal or named_only, f"{where}: {command}: {refusal}"


def test_a_command_that_the_command_line_does_not_take_would_be_noticed():
    assert "No such option" in refused(["route", "history", "--route-key", "value"])
    assert "No such command" in refused(["route", "nonsense"])
    assert "Missing" in refused(["trace"])
