"""A real backend process for the tests, and what they ask of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lab.clips import Clip

CHECKOUT = Path(__file__).resolve().parents[2]
SECRET = "a secret of the tests"


def variant(workflow: str = "x264-veryfast-crf23", provider: str = "lab-cpu", revision: str = "postcard-1") -> str:
    return f"er:{revision}:wf:{workflow}:env:lab:stage:demo:provider:{provider}:exp:default"


def job(dispatch_id: str, clip: Clip, /, **changes: Any) -> dict[str, Any]:
    """A submit body; a change to None leaves the field out."""
    body = {
        "dispatch_id": dispatch_id,
        "variant": variant(),
        "input": {"id": clip.input_id, "uri": clip.path, "sha256": clip.sha256},
        "params": {},
        **changes,
    }
    return {name: value for name, value in body.items() if value is not None}


def backend_argv(home: Path, roots: Path, *options: str) -> list[str]:
    flagd = home / "flags.json"
    return [
        *(sys.executable, "-m", "lab.effects", "--home", str(home), "--flagd-file", str(flagd)),
        *("--inputs-root", str(roots), *options),
    ]


def backend_environment() -> dict[str, str]:
    return {**os.environ, "STUDIO_EXECUTOR_SECRET": SECRET}


@dataclass
class Backend:
    home: Path
    process: subprocess.Popen[str]
    client: httpx.Client

    @classmethod
    def start(cls, home: Path, roots: Path, *options: str) -> Backend:
        home.mkdir(parents=True, exist_ok=True)
        with (home / "stderr.log").open("a") as stderr:
            process = subprocess.Popen(
                backend_argv(home, roots, "--port", "0", *options),
                env=backend_environment(),
                cwd=CHECKOUT,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        assert process.stdout is not None
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "ready", (home / "stderr.log").read_text()
        client = httpx.Client(base_url=url, headers={"X-Studio-Executor-Secret": SECRET}, timeout=20)
        return cls(home, process, client)

    def log(self) -> str:
        return (self.home / "stderr.log").read_text()

    def submit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.client.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def read(self, dispatch_id: str) -> dict[str, Any]:
        return dict(self.client.get(f"/v1/jobs/{dispatch_id}").raise_for_status().json())

    def stats(self) -> dict[str, Any]:
        return dict(self.client.get("/v1/stats").raise_for_status().json())

    def ended(self, *dispatch_ids: str, within_s: float = 30.0) -> list[dict[str, Any]]:
        """The jobs, in this order, once all are terminal."""
        found: dict[str, dict[str, Any]] = {}

        def all_terminal() -> bool:
            answer = self.client.post("/v1/jobs/status", json={"ids": list(dispatch_ids)}).raise_for_status().json()
            found.update({document["dispatch_id"]: document for document in answer["jobs"]})
            return all(document["status"] in ("completed", "failed", "cancelled") for document in answer["jobs"])

        eventually(all_terminal, within_s)
        return [found[dispatch_id] for dispatch_id in dispatch_ids]

    def end(self, number: signal.Signals) -> int:
        """Send a signal that ends it; the exit code."""
        self.client.close()
        self.process.send_signal(number)
        code = self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def eventually(true: Callable[[], bool], within_s: float) -> None:
    give_up = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < give_up, f"not within {within_s} s"
        time.sleep(0.02)


def descendants(pid: int) -> dict[int, str]:
    """Living processes below `pid`: their ids and command lines."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if after_name[0] != "Z":
                parents[int(folder.name)] = int(after_name[1])
    found: dict[int, str] = {}
    frontier = {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier}
        for child in frontier:
            try:
                found[child] = (Path("/proc") / str(child) / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def write_flag(home: Path, route: str, variant_id: str, generation: int) -> None:
    flag = {
        "state": "ENABLED",
        "variants": {"only": variant_id},
        "defaultVariant": "only",
        "metadata": {"generation": generation, "cause": "test"},
    }
    new = home / "flags.new"
    new.write_text(json.dumps({"flags": {route: flag}}))
    new.rename(home / "flags.json")
