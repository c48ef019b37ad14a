"""Brings the world up and registers what the lab offers: clips, variants, prices' blocks, and the first binding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deployments.blocks import save_blocks, standard_documents
from pointsman.benchmark import (
    InputFile,
    register_effect_revision,
    register_environment,
    register_input_set,
    register_variants,
)
from pointsman.dispatch import TargetSpec
from pointsman.errors import RunFailed
from pointsman.ids import VariantId, derive
from pointsman.model import Variant
from pointsman.routing import BindingRequest, GatewaySpec, apply_binding, current, gateway_of
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from service.cli.world import (
    CHECKOUT,
    World,
    check_ports,
    executor_secret,
    prefect_environment,
    start_lab,
    start_prefect,
)

INPUT_SET = "lab-photographs-v1"
LAB_SEED = 7


def gateway_file(home: Path) -> Path:
    return home / "routing" / "flags.json"


def inputs_root(home: Path) -> Path:
    """Where the user's own files are copied to, so that the lab may read them."""
    return home / "inputs"


def prepare_lab(world: World, *, prefect_port: int, lab_port: int, owner: str) -> VariantId:
    """Start Prefect and the lab where they are not up, register the lab's offer, save the blocks.

    Returns the lab's incumbent. The clips are made while the servers start.
    """
    start_servers(world, prefect_port=prefect_port, lab_port=lab_port, owner=owner)
    return register_offer(world)


def start_servers(
    world: World, *, prefect_port: int, lab_port: int, owner: str, prefect_database_url: str | None = None
) -> None:
    """Start Prefect and the lab where they are not up, without waiting for them, and point this process at them."""
    home = world.home
    check_ports(world, prefect_port=prefect_port, lab_port=lab_port)
    start_prefect(world, port=prefect_port, owner=owner, database_url=prefect_database_url)
    start_lab(
        world,
        port=lab_port,
        owner=owner,
        flagd_file=gateway_file(home),
        inputs_roots=(home / "lab" / "clips", inputs_root(home)),
        seed=LAB_SEED,
    )
    use_world(world)


def register_offer(world: World) -> VariantId:
    """Register what the lab offers, save the blocks once the servers answer, and return the lab's incumbent."""
    home = world.home
    with ThreadPoolExecutor() as pool:
        clips = pool.submit(_lab_json, "lab.clips", "--home", str(home / "lab"))
        catalogue = pool.submit(_lab_json, "lab.effects", "--catalogue")
        ws = Workspace.open(load_settings(home=home), actor="cli")
        incumbent = _register(ws, catalogue.result(), clips.result(), gateway_file(home))
    world.await_ready("lab")
    if "prefect" in world.processes:
        world.await_ready("prefect")
    save_blocks(_block_documents(world))
    return incumbent


def use_world(world: World) -> None:
    """Point this process at the world: Prefect reads its settings from the environment when first imported."""
    os.environ.update(prefect_environment(world.home))
    os.environ["PREFECT_API_URL"] = world.prefect_api_url or ""
    os.environ["POINTSMAN_HOME"] = str(world.home)
    os.environ["STUDIO_EXECUTOR_SECRET"] = executor_secret(world.home)
    if "prefect" in world.processes:
        # A server on this machine that does not answer for some seconds is not there; the default is a minute.
        os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    # Prefect's own lines would tear the progress display, and an error is said once; everything is in the UI.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    os.environ.setdefault("PREFECT_INTERNAL_LOGGING_LEVEL", "CRITICAL")


def _block_documents(world: World) -> dict[str, tuple[str, Any]]:
    settings = load_settings(home=world.home)
    target = TargetSpec(name="lab", preset="lab", base_url=world.lab_url or "")
    return {
        "target/lab": ("pointsman-target", target),
        **standard_documents(settings),
        "gateway/default": ("pointsman-routing-gateway", GatewaySpec(path=str(gateway_file(world.home)))),
    }


def _lab_json(module: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RunFailed(
            f"`python -m {module}` failed: {done.stderr.strip()[-500:]}",
            instruction="Free disk space or reinstall with `make demo`, then run the same command again.",
            code="lab_setup_failed",
        )
    return json.loads(done.stdout)


def _register(ws: Workspace, catalogue: Any, clips: Any, gateway_path: Path) -> VariantId:
    register_environment(ws, "lab", name="The lab on this machine", kind="local", **catalogue["machines"])
    register_effect_revision(ws, catalogue["effect_revision"], name="Postcard", media="video")
    register_variants(ws, [Variant(VariantId.parse(one["id"]), "lab", one["params"]) for one in catalogue["variants"]])
    files = [InputFile(Path(clip["path"]), clip["cluster"], clip["input_id"]) for clip in clips]
    register_input_set(ws, INPUT_SET, files)
    incumbent = VariantId.parse(catalogue["incumbent"])
    route_key = incumbent.route_key
    if current(ws, route_key) is None:
        door = gateway_of(ws, route_key, None, lambda _: GatewaySpec(path=str(gateway_path)))
        key = derive("first binding", route_key)
        apply_binding(ws, door, BindingRequest(route_key, {incumbent: 100}, None, "the lab's first binding", key))
    return incumbent
