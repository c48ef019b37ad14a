"""`pointsman targets`: where jobs can be dispatched to, and whether one understands us."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from deployments.blocks import save_blocks, saved_targets
from pointsman.benchmark import import_inputs, named_files, register_input_set
from pointsman.dispatch import BUILT_IN_PRESETS, TargetSpec, check_target
from pointsman.errors import InputRefused, RunFailed
from pointsman.settings import load_settings, load_target_url
from service.cli.lab_setup import inputs_root
from service.cli.naming import one_variant
from service.cli.output import JsonFlag, console, emit, open_workspace, table
from service.cli.running import connect, request

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Where jobs are dispatched to, and whether one understands us."
)


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """List saved targets and built-in presets."""
    connect()
    found = saved_targets()
    document: dict[str, Any] = {
        "targets": [spec.model_dump(mode="json") for spec in found],
        "presets": list(BUILT_IN_PRESETS),
    }

    def render() -> None:
        table("Targets", ("name", "preset", "base URL"), [(one.name, one.preset, one.base_url) for one in found])
        console.print(f"Built-in presets: {', '.join(BUILT_IN_PRESETS)}")

    emit(as_json, document, render)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits, dashes.")],
    preset: Annotated[str, typer.Option(help="A built-in preset or the path of a TOML file.")],
    base_url: Annotated[str | None, typer.Option(help="Where it listens.")] = None,
    environment: Annotated[
        str | None,
        typer.Option(
            help="dev, uat or prod, instead of a base URL: it listens where TARGET_URL_<ENVIRONMENT> or, in Secrets "
            "Manager, load-test/<environment>/target-url says."
        ),
    ] = None,
    output_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Another host where its outputs may lie; .example.com is that and all below. Repeat for more."
        ),
    ] = None,
    output_network: Annotated[
        list[str] | None,
        typer.Option(help="An address range that is not public and where they may lie all the same, e.g. 10.0.0.0/8."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Save a target, so that variants can name it."""
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise InputRefused("name", name, "lower-case letters, digits and single dashes")
    if (base_url is None) == (environment is None):
        raise InputRefused("--base-url", "both" if base_url else None, "either it or --environment")
    # A worker reads the file from another folder.
    place = preset if preset in BUILT_IN_PRESETS else str(Path(preset).absolute())
    spec = request(
        TargetSpec,
        name=name,
        preset=place,
        base_url=base_url if environment is None else load_target_url(environment),
        output_hosts=tuple(output_host or ()),
        output_networks=tuple(output_network or ()),
    )
    spec.build()
    connect()
    save_blocks({f"target/{name}": ("pointsman-target", spec)})
    emit(as_json, spec.model_dump(mode="json"), lambda: console.print(f"Saved target {name}"))


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="Name of a saved target.")],
    variant_name: Annotated[str, typer.Option("--variant", help="A variant to run on it.")],
    input_file: Annotated[Path, typer.Option("--input", help="A small clip.")],
    data_class: Annotated[
        list[str] | None, typer.Option(help="What it shows, such as faces; the variant must be allowed it. Repeat.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Send one job to a target and say what was understood, and what in the preset does not fit its answers."""
    ws = open_workspace()
    chosen = one_variant(ws, "--variant", variant_name)
    connect()
    from tasks.opening import open_target

    target = open_target(name)
    asked = named_files([input_file], data_classes=data_class or ())
    files = import_inputs(inputs_root(load_settings().home), asked)
    named = "-".join([files[0].path.stem[:16], *(word.replace(":", ".") for word in sorted(data_class or ()))])
    member = register_input_set(ws, f"check-{named}"[:64], files).members[0]
    checked = check_target(
        ws.results.path(f"targets/{name}/{uuid4()}"),
        target,
        chosen,
        member,
        secret=load_settings().executor_secret,
    )
    shown = {name: str(value) if value is not None else None for name, value in checked.found.items()}
    findings = [asdict(one) for one in checked.findings]

    def render() -> None:
        table(f"One job at {name}", ("what", "found"), shown.items())
        if findings:
            columns = ("where", "expression", "saw", "advice")
            rows = [[one[column] for column in columns] for one in findings]
            table(f"What does not fit in {target.preset}", ("in the preset", "expression", "the answer", "do"), rows)

    emit(as_json, {**shown, "findings": findings}, render)
    first = next((one for one in checked.findings if one.blocks), None)
    if checked.found["state"] != "completed" or first is not None:
        what = f"{first.where} ({first.expression}) does not fit: {first.saw}" if first else checked.found["reason"]
        raise RunFailed(
            f"The job ended {checked.found['state']}: {what}.",
            instruction=f"{first.advice if first else 'Correct the preset.'} Then run the same command again.",
            code="target_check_failed",
        )
