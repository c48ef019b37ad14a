"""What the command line refuses, with which exit code, and that it says so in one line."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from lab.clips.__main__ import main as make
from lab.effects.__main__ import main
from pointsman.ids import VariantId
from tests.lab.running import SECRET, Backend


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("STUDIO_EXECUTOR_SECRET", SECRET)
    (tmp_path / "in").mkdir()
    return {
        "--port": "0",
        "--home": str(tmp_path / "home"),
        "--flagd-file": str(tmp_path / "flags.json"),
        "--inputs-root": str(tmp_path / "in"),
    }


def start(options: dict[str, str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main([word for pair in options.items() for word in pair])
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert SECRET not in said
    return code, said


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--host", "0.0.0.0"),
        ("--port", "70000"),
        ("--lease", "0"),
        ("--lab-spot-workers", "-1"),
        ("--inputs-root", "/no/such/folder"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_name(
    option: str, value: str, options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = start({**options, option: value}, capsys)
    assert code == 2
    assert option in said
    assert value in said
    assert "allowed:" in said


@pytest.mark.parametrize("missing", ["--port", "--home", "--flagd-file", "--inputs-root"])
def test_a_missing_option_is_refused_by_name(
    missing: str, options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    del options[missing]
    code, said = start(options, capsys)
    assert (code, missing in said) == (2, True)


def test_without_an_executor_secret_it_does_not_start(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STUDIO_EXECUTOR_SECRET")
    code, said = start(options, capsys)
    assert (code, "STUDIO_EXECUTOR_SECRET" in said) == (2, True)


def test_a_port_in_use_is_said_in_one_line(options: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = start({**options, "--port": port}, capsys)
    assert code == 4
    assert f"Port {port} is in use" in said


def test_a_home_in_use_is_said_in_one_line(
    backend: Backend, options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = start({**options, "--home": str(backend.home)}, capsys)
    assert code == 4
    assert str(backend.home) in said


def test_the_catalogue_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--catalogue"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["effect_revision"] == "postcard-1"
    ids = [VariantId.parse(offered["id"]) for offered in printed["variants"]]
    assert len(set(ids)) == 7
    assert [variant.label for variant in ids if variant.provider == "lab-spot"] == ["x264-medium-crf26@lab-spot"]
    assert len({variant.route_key for variant in ids}) == 1
    assert VariantId.parse(printed["incumbent"]).label == "x264-medium-crf26@lab-cpu"
    assert VariantId.parse(printed["incumbent"]) in ids
    assert [provider["name"] for provider in printed["providers"]] == ["lab-cpu", "lab-spot"]
    assert all(provider["vcpus"] > 0 and provider["memory_gb"] > 0 for provider in printed["providers"])


def test_clips_are_listed_on_stdout_and_zero_clips_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(["--home", str(tmp_path), "--clips", "1"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert set(listed) == {"input_id", "path", "sha256", "bytes", "cluster"}
    with pytest.raises(SystemExit) as refused:
        make(["--home", str(tmp_path), "--clips", "0"])
    assert refused.value.code == 2
    assert "--clips: 0 is not allowed" in capsys.readouterr().err
