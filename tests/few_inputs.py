"""What tests of the chain run on: few of the lab's clips, its variants' ids, free ports. Imports no Prefect."""

from __future__ import annotations

import json
import socket
from collections import defaultdict
from pathlib import Path
from typing import Any

from pointsman.benchmark import InputFile, register_input_set
from pointsman.workspace import Workspace


def variant(workflow: str, provider: str = "lab-cpu") -> str:
    return f"er:postcard-1:wf:{workflow}:env:lab:stage:demo:provider:{provider}:exp:default"


def register_few_inputs(ws: Workspace, home: Path, set_id: str, count: int) -> None:
    """The lab's first clips, one photograph after the other, as an input set."""
    clusters: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for clip in json.loads((home / "lab" / "clips.json").read_text()):
        clusters[clip["cluster"]].append(clip)
    turns = [clips[turn] for turn in range(3) for clips in clusters.values() if turn < len(clips)]
    files = [InputFile(Path(clip["path"]), clip["cluster"], clip["input_id"]) for clip in turns[:count]]
    register_input_set(ws, set_id, files)


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()
