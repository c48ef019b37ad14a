"""The parameter schema of every flow that is deployed, as it is kept beside this file; run it to write them anew."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema

CHECKOUT = Path(__file__).resolve().parents[2]
KEPT = Path(__file__).with_name("schemas")
RENEW = "python -m tests.deployments.schemas"


def deployments() -> list[dict[str, Any]]:
    """The entries of prefect.yaml, with its anchors followed."""
    found: list[dict[str, Any]] = yaml.safe_load((CHECKOUT / "prefect.yaml").read_text())["deployments"]
    return found


def flow_of(deployment: dict[str, Any]) -> Flow[..., Any]:
    file, _, name = deployment["entrypoint"].partition(":")
    flow: Flow[..., Any] = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
    return flow


def schema_of(flow: Flow[..., Any]) -> str:
    """As the file holds it."""
    return json.dumps(parameter_schema(flow).model_dump(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    KEPT.mkdir(exist_ok=True)
    for one in KEPT.iterdir():
        one.unlink()
    for flow in {flow_of(one) for one in deployments()}:
        (KEPT / f"{flow.name}.json").write_text(schema_of(flow))
