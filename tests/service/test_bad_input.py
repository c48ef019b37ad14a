"""Bad input is refused before anything is written or sent: exit 2, the field, the value, and what is allowed."""

import socket
import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from pointsman.storage import tables
from service.cli import world
from tests.service.worlds import INCUMBENT, registered

SCENARIO = "name: try\nstages:\n  - {{name: hold, kind: constant, rate: {rate}, duration_s: {duration}}}\n"
BOOK = """
[[price]]
sku = "lab-cpu:vcpu-second"
usd = "1"
unit = "vcpu-second"
valid_from = 2025-01-01
valid_to = 2025-06-01
source = "a test"

[[price]]
sku = "lab-cpu:vcpu-second"
usd = "2"
unit = "vcpu-second"
valid_from = {second}
source = "a test"
"""


@pytest.fixture
def files(tmp_path):
    written = {
        "clip.mp4": "this is no clip",
        "minus.yaml": SCENARIO.format(rate=1, duration=-2),
        "zero.yaml": SCENARIO.format(rate=1, duration=0),
        "too-much.yaml": SCENARIO.format(rate=20000, duration=86400),
        "gap.toml": BOOK.format(second="2025-07-01"),
        "overlap.toml": BOOK.format(second="2025-05-01"),
        "good.yaml": SCENARIO.format(rate=1, duration=1),
    }
    for name, content in written.items():
        (tmp_path / name).write_text(content)
    return tmp_path


MALFORMED = "er:postcard-1:wf:x264"
UNKNOWN = INCUMBENT.replace("x264-medium-crf26", "nobody")
REFUSED = {
    "a malformed variant id": (["variants", "add", MALFORMED, "--target", "lab"], MALFORMED, "er:<effect_revision>"),
    "parameters that are no object": (
        ["variants", "add", INCUMBENT, "--target", "lab", "--params", "[1]"],
        "--params",
        "a JSON object",
    ),
    "an unknown variant": (["variants", "disable", UNKNOWN], UNKNOWN, INCUMBENT),
    "an unknown name of a variant": (["variants", "disable", "nobody@lab"], "nobody@lab", "x264-medium-crf26@lab-cpu"),
    "a variant under load that is unknown": (
        ["scenario", "run", "{files}/good.yaml", "--variant", "nobody@lab"],
        "--variant",
        "x264-medium-crf26@lab-cpu",
    ),
    "an unknown input set": (
        ["scenario", "run", "{files}/good.yaml", "--variant", INCUMBENT, "--input-set", "nothing"],
        "input set",
        "some-clips",
    ),
    "a stage of negative length": (["scenario", "plan", "{files}/minus.yaml"], "stages.0.duration_s", "0.001 to"),
    "a stage of no length": (["scenario", "plan", "{files}/zero.yaml"], "stages.0.duration_s", "0.001 to"),
    "a stage that sends too much": (["scenario", "plan", "{files}/too-much.yaml"], "stages", "dispatches"),
    "a scenario that is not there": (["scenario", "plan", "{files}/none.yaml"], "scenario file", "exists"),
    "a clip that ffmpeg cannot read": (["compare", "--input", "{files}/clip.mp4"], "clip.mp4", "ffmpeg can read"),
    "a clip that is not there": (["compare", "--input", "{files}/none.mp4"], "none.mp4", "an existing file"),
    "an unknown target": (["compare", "--input", "{clip}", "--targets", "mars"], "--targets", "lab"),
    "a budget that is no amount": (["compare", "--input", "{clip}", "--budget", "much"], "--budget", "3USD"),
    "a budget of nothing": (["compare", "--input", "{clip}", "--budget", "0USD"], "--budget", "above zero"),
    "a price book with a gap": (["prices", "check", "--book", "{files}/gap.toml"], "lab-cpu:vcpu-second", "gap"),
    "a price book with an overlap": (
        ["prices", "check", "--book", "{files}/overlap.toml"],
        "lab-cpu:vcpu-second",
        "overlap",
    ),
    "an unknown run": (["scenario", "status", "nobody"], "nobody", "planned"),
    "an unknown benchmark": (["benchmark", "show", "bm_nobody"], "bm_nobody", "created"),
    "an unknown verdict": (["hud", "show", "vd_nobody"], "vd_nobody", "verdict"),
    "an unknown dispatch": (["trace", "nobody"], "nobody", ""),
    "two things to move a route to": (["route", "apply"], "--verdict, --variant", "exactly one"),
    "nothing to benchmark": (["benchmark", "run"], "--benchmark-id", "exactly one"),
    "a malformed route": (["route", "show", "nowhere"], "nowhere", "er:<effect_revision>"),
    "a severity that is none": (["logs", "--severity", "loud"], "loud", "info, warn, critical"),
    "a time without its offset": (["logs", "--since", "2026-01-01T00:00:00"], "--since", "offset"),
    "a target's name with capitals": (
        ["targets", "add", "Mine", "--preset", "lab", "--base-url", "http://127.0.0.1:1"],
        "Mine",
        "lower-case",
    ),
    "an unknown preset": (
        ["targets", "add", "mine", "--preset", "moon", "--base-url", "http://127.0.0.1:1"],
        "moon",
        "lab",
    ),
    "an address that is none": (
        ["targets", "add", "mine", "--preset", "lab", "--base-url", "ftp://127.0.0.1"],
        "base_url",
        "http:// or https://",
    ),
}


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "own.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=10:duration=0.5"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *source, path], check=True)
    return path


def content(home):
    """Every file of the home but the state of record's own, which opening may write."""
    return {path: path.read_bytes() for path in home.rglob("*") if path.is_file() and "pointsman.db" not in path.name}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_anything_is_written(pointsman, home, files, clip, case):
    words, named, allowed = REFUSED[case]
    ws = registered(home)
    before, rows = content(home), everything_stored(ws)
    answer = pointsman(*(word.replace("{files}", str(files)).replace("{clip}", str(clip)) for word in words))
    assert answer.code == 2, answer.err
    assert answer.out == ""
    assert named in answer.err
    assert allowed in answer.err
    assert "Traceback" not in answer.err
    after = {path: kept for path, kept in content(home).items() if path.name != "world.lock"}
    assert after == before
    assert everything_stored(ws) == rows


def everything_stored(ws):
    with ws.database.begin() as connection:
        return {table.name: len(connection.execute(table.select()).all()) for table in tables.metadata.sorted_tables}


@pytest.mark.parametrize("option", ["--prefect-port", "--lab-port"])
@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_port_in_use_is_refused_and_named_and_nothing_is_left_running(pointsman, home, command, option, monkeypatch):
    started = []
    monkeypatch.setattr(world.World, "start", lambda self, name, *_, **__: started.append(name))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = pointsman(command, "--prefect-port", free_port(), "--lab-port", free_port(), option, port)
    assert answer.code == 2
    assert f"{option}: {port} is not allowed; allowed: a free port" in answer.err
    assert "lab" not in started


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("port", [0, 70000])
def test_a_port_that_is_none_is_refused(pointsman, home, port):
    assert pointsman("up", "--prefect-port", port).code == 2


@pytest.mark.parametrize(
    ("url", "code"), [("nonsense", 2), ("sqlite:////proc/nowhere/pointsman.db", 4), ("postgresql://u:pw@[", 4)]
)
def test_a_database_that_cannot_be_opened_is_named_without_its_password(pointsman, home, monkeypatch, url, code):
    monkeypatch.setenv("POINTSMAN_DATABASE_URL", url)
    answer = pointsman("variants", "list")
    assert answer.code == code
    assert "POINTSMAN_DATABASE_URL" in answer.err
    assert ":pw@" not in answer.err


def test_without_a_server_commands_that_need_one_say_how_to_start_it(pointsman, home):
    registered(home)
    answer = pointsman("route", "rollback", "--input-set", "some-clips")
    assert (answer.code, answer.out) == (4, "")
    assert "No Prefect server is up" in answer.err
    assert "pointsman up" in answer.err


def test_a_file_of_settings_that_is_no_toml_is_refused(pointsman, home):
    Path(home).mkdir()
    (home / "config.toml").write_text("database_url = ")
    answer = pointsman("variants", "list")
    assert answer.code == 2
    assert "config.toml" in answer.err
