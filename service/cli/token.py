"""`pointsman token`: who may do what."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pointsman.safety import Token, create_token, list_tokens, revoke_tokens
from service.cli.approving import acting
from service.cli.output import JsonFlag, console, emit, open_workspace, table

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Who may do what: make, list and revoke tokens.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whom it is for: 1 to 64 of A-Z a-z 0-9 . _ -")],
    role: Annotated[str, typer.Option(help="viewer looks, operator runs and approves, admin makes tokens.")],
    as_json: JsonFlag = False,
) -> None:
    """Make a token and print it, this once. Whoever holds it acts under this name: POINTSMAN_TOKEN=..."""
    ws = open_workspace()
    made, secret = create_token(ws, acting(ws), name, role)
    document = {**_document(made), "token": secret.reveal()}

    def render() -> None:
        console.print(secret.reveal(), markup=False, soft_wrap=True)
        console.print(f"Token {made.id} of {name} ({made.role}). It is not shown again.", markup=False)

    emit(as_json, document, render)


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(help="Id of a token, or a name: all its tokens.")],
    as_json: JsonFlag = False,
) -> None:
    """End tokens for ever; repeating it changes nothing."""
    ws = open_workspace()
    _show("Revoked", revoke_tokens(ws, acting(ws), which), as_json)


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """List every token that was made; none of them can be read back."""
    _show("Tokens", list_tokens(open_workspace()), as_json)


def _show(title: str, tokens: list[Token], as_json: bool) -> None:
    columns = ("token", "name", "role", "made (UTC)", "by", "revoked (UTC)", "by")
    rows = [
        (
            one.id,
            one.identity,
            one.role,
            f"{one.created_at:%F %T}",
            one.created_by,
            None if one.revoked_at is None else f"{one.revoked_at:%F %T}",
            one.revoked_by,
        )
        for one in tokens
    ]
    emit(as_json, [_document(one) for one in tokens], lambda: table(title, columns, rows))


def _document(one: Token) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.identity,
        "role": one.role,
        "created_at": one.created_at.isoformat(),
        "created_by": one.created_by,
        "revoked_at": None if one.revoked_at is None else one.revoked_at.isoformat(),
        "revoked_by": one.revoked_by,
    }
