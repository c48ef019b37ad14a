"""`pointsman serve`: the HTTP API, until it is stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.output import JsonFlag, console, emit, open_workspace

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen at; others reach it at 0.0.0.0.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen at.")] = 4300,
    as_json: JsonFlag = False,
) -> None:
    """Serve the HTTP API until it is stopped. Every request carries a token of `pointsman token create`."""
    import uvicorn

    from service.api import PREFIX, create_app

    url = f"http://{host}:{port}{PREFIX}"
    api = create_app(open_workspace())
    emit(as_json, {"url": url}, lambda: console.print(f"{url}, described at http://{host}:{port}/docs", soft_wrap=True))
    uvicorn.run(api, host=host, port=port, log_level="warning")
