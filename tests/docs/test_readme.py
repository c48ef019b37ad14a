"""Every command of the README and its pages runs as it stands there; only ids made at run time are filled in."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
import sqlalchemy as sa

from pointsman.benchmark import set_enabled
from pointsman.dispatch import BUILT_IN_PRESETS
from pointsman.storage import tables
from service.cli import main
from tests.docs.pages import CHECKOUT, PAGES, README, TEXT
from tests.world import LabWorld

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("world")]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
RUN_BY_PROVE = {"lab/scenarios/phase01-fault.yaml": "tests/scenario/faults/test_on_the_lab.py"}
"""What lasts too long for every push, and the exhaustive test that runs it."""
ACME_AT = ":9000"
ACME_KEY = "key-of-acme-that-is-shown-nowhere"


class _Acme(BaseHTTPRequestHandler):
    """A provider as the README's preset describes one: a job is done at the first look. It repeats its key."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(json.dumps({"id": "p1", "status": "starting"}).encode())

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == f"Bearer {ACME_KEY}"
        shown = {"id": "p1", "status": "succeeded", "error": ACME_KEY, "output": ["/files/p1.mp4"]}
        done = json.dumps(shown).encode()
        self._answer(b"frames" if self.path == "/files/p1.mp4" else done)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def acme() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Acme)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def _filled_in(command: str, lab_world: LabWorld, acme: int) -> str:
    items = tables.benchmark_matrix_run_items
    with lab_world.workspace().database.begin() as connection:
        cell = connection.execute(
            sa.select(items.c.benchmark_id, items.c.dispatch_id)
            .join(tables.verdicts, tables.verdicts.c.benchmark_id == items.c.benchmark_id)
            .order_by(tables.verdicts.c.created_at.desc())
        ).first()
    filled = command.replace(ACME_AT, f":{acme}")
    return filled.replace("BENCHMARK", cell[0]).replace("DISPATCH", cell[1]) if cell else filled


def test_each_command_of_the_readme_does_what_it_says(
    lab_world: LabWorld,
    acme: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACME_API_KEY", ACME_KEY)
    clip = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=160x90:r=30:d=1",
        "clip.mp4",
    ]
    subprocess.run(clip, check=True, timeout=60)
    preset = next(text for kind, text in BLOCKS if kind == "toml")
    (tmp_path / "acme.toml").write_text(preset)
    ours = [command for command in COMMANDS if command.startswith("pointsman ")]
    ours = [command for command in ours if not any(word in RUN_BY_PROVE for word in command.split())]
    assert len(ours) >= 9
    try:
        codes = {command: main(shlex.split(_filled_in(command, lab_world, acme))[1:]) for command in ours}
    finally:
        for one in (command for command in ours if "variants add" in command):
            set_enabled(lab_world.workspace(), shlex.split(one)[3], False)
    assert codes == dict.fromkeys(ours, 0)
    said = capsys.readouterr()
    assert ACME_KEY not in said.out + said.err
    home = lab_world.home
    assert [one for one in home.rglob("*") if one.is_file() and ACME_KEY.encode() in one.read_bytes()] == []


def test_what_lasts_too_long_here_is_run_by_an_exhaustive_test() -> None:
    for file, by in RUN_BY_PROVE.items():
        assert any(file in command.split() for command in COMMANDS)
        assert Path(file).name in (CHECKOUT / by).read_text()


def test_each_preset_for_a_provider_is_named() -> None:
    assert [name for name in BUILT_IN_PRESETS if name not in ("lab", "fixed") and f"`{name}`" not in TEXT] == []


def test_ones_own_provider_takes_less_than_thirty_lines() -> None:
    preset = next(text for kind, text in BLOCKS if kind == "toml")
    assert len(preset.splitlines()) < 30


def test_each_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    named = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    named |= set(re.findall(r"`make ([\w-]+)`", TEXT))
    assert named <= targets
    assert {"demo", "up", "up-ecs", "down", "test", "prove", "bench"} <= named


def test_the_readme_holds_no_other_kind_of_command() -> None:
    on_aws = {"aws", "docker", "python", "deployments/image/publish.sh"}  # tests/docs/test_readme_on_aws.py
    assert {command.split()[0] for command in COMMANDS if command} == {"make", "pointsman", *on_aws}


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)\)", README.read_text()))
    assert {str(page.relative_to(CHECKOUT)) for page in PAGES if page != README} <= linked
    assert all((CHECKOUT / link).exists() for link in linked)
