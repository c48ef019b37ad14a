"""The presets that come with Pointsman, each against a stand-in of its service: every fate ends as it should."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pointsman.dispatch import (
    BUILT_IN_PRESETS,
    DriveInput,
    DrivePlan,
    Limits,
    TargetSpec,
    planned_dispatches,
    read_attempts,
    read_dispatches,
    write_drive,
)
from pointsman.dispatch.closing import close_drive
from pointsman.dispatch.downloads import Downloads
from pointsman.dispatch.driver import Driver
from pointsman.dispatch.edges import MachineTicks, ThreadDisk
from pointsman.dispatch.masking import Mask
from pointsman.dispatch.plan import read_header
from pointsman.dispatch.protocol import Request, Response
from pointsman.dispatch.targets import AsyncJobTarget, load_preset
from pointsman.dispatch.targets.credentials import secret_variables, target_headers
from pointsman.dispatch.transport import HttpTransport
from pointsman.errors import RunFailed
from pointsman.settings import Secret
from tests.dispatch.loopback import Loopback, http, listening
from tests.dispatch.stand_ins import CLIP, KEY, PICTURE, ComfyUI, Fal, OpenAI, Replicate, RunPod, StandIn, Veo


@dataclass(frozen=True)
class Service:
    """How a preset is used: its stand-in, the parameters of a variant, and what becomes of each fate."""

    stand_in: Callable[[], StandIn]
    params: Callable[[str], dict[str, Any]]
    ends: dict[str, tuple[str, str | None]]
    """By fate: state and reason."""
    output: bytes = PICTURE
    usage: tuple[str, str] | None = None
    version: str | None = None
    prefix: str = ""
    patience_s: float = 1.2


COMMON = {
    "success": ("completed", None),
    "busy": ("completed", None),
    "garbage": ("unknown", "drain_limit"),
    "gone": ("unknown", "forgotten_by_target"),
}
SERVICES = {
    "replicate": Service(
        Replicate,
        lambda fate: {"version": "owner/upscaler:v7", "input": {"prompt": fate, "image": "$input_data_uri"}},
        {
            **COMMON,
            "failure": ("failed", "CUDA out of memory"),
            "moderation": (
                "failed",
                "moderation: The input or output was flagged as sensitive. Please try again with different inputs.",
            ),
            "invalid": ("failed", "http_422: input is wrong"),
        },
        usage=("p:predict-second", "0.014"),
        version="owner/upscaler:v7",
    ),
    "fal": Service(
        Fal,
        lambda fate: {"endpoint": "fal-ai/flux/dev", "input": {"prompt": fate, "image_url": "$input_data_uri"}},
        {
            **COMMON,
            "failure": ("failed", "http_503: runner_disconnected: Runner disconnected"),
            "moderation": (
                "failed",
                "moderation: http_422: The content could not be processed because it was flagged by a content checker.",
            ),
            "nsfw": ("failed", "moderation"),
            "invalid": ("failed", "http_422: input is wrong"),
        },
        usage=("p:request", "1"),
        version="fal-ai/flux/dev",
        patience_s=2.5,  # a result that is a server error is looked at three times
    ),
    "runpod": Service(
        RunPod,
        lambda fate: {"input": {"prompt": fate, "image": "$input_base64"}},
        {
            **COMMON,
            "failure": ("failed", "handler raised ValueError"),
            "invalid": ("failed", "http_400: bad request: body: must contain an input"),
            "bucket": ("completed", None),
        },
        usage=("p:execution-second", "0.014"),
        prefix="/v2/endpoint1",
    ),
    "comfyui": Service(
        ComfyUI,
        lambda fate: {"workflow": {"6": {"class_type": "CLIPTextEncode", "inputs": {"text": fate}}}},
        {
            **COMMON,
            "gone": ("unknown", "drain_limit"),
            "failure": ("failed", "Allocation on device"),
            "interrupted": ("cancelled_sent", None),
            "invalid": ("failed", "http_400: Prompt has no outputs"),
        },
    ),
    "veo": Service(
        Veo,
        lambda fate: {"model": "veo-3.0-generate-001", "instances": [{"prompt": fate}], "parameters": {"seed": 1}},
        {
            **COMMON,
            "failure": ("failed", "Internal error"),
            "moderation": ("failed", "moderation: Sorry, we can't create this video."),
            "invalid": ("failed", "http_400: Invalid aspect ratio"),
            "quota": ("failed", "http_429: You exceeded your current quota"),
        },
        output=CLIP,
        usage=("p:video", "1"),
        version="veo-3.0-generate-001",
    ),
    "openai": Service(
        OpenAI,
        lambda fate: {
            "endpoint": "images/generations",
            "request": {"model": "gpt-image-1", "prompt": fate},
        },
        {
            "success": ("completed", None),
            "busy": ("completed", None),
            "garbage": ("unknown", "garbage_answer"),
            "failure": ("failed", "http_500: The server had an error while processing your request"),
            "quota": ("failed", "http_429: You exceeded your current quota"),
            "moderation": ("failed", "moderation: http_400: Your request was rejected by the safety system."),
            "invalid": ("failed", "http_400: Invalid size"),
        },
        usage=("p:output-token", "4160"),
    ),
}
NAMES = sorted(SERVICES)


@dataclass
class Bench:
    folder: Path
    server: Loopback
    stand_in: StandIn

    def run(
        self,
        name: str,
        fates: list[str],
        params: Callable[[str], dict[str, Any]],
        *,
        key: str = KEY,
        patience_s: float | None = None,
    ) -> Path:
        """One drive with a variant for each fate."""
        clip = self.folder / "clip.png"
        clip.write_bytes(b"pixels")
        routes = {f"er:e:wf:w:env:lab:stage:s:provider:p:exp:{fate}": params(fate) for fate in fates}
        spec = TargetSpec(
            name=name,
            preset=name,
            base_url=self.server.url + (SERVICES[name].prefix if name in SERVICES else ""),
            output_hosts=("127.0.0.1",),
            output_networks=("127.0.0.0/8",),
        )
        plan = DrivePlan(
            run_id="run",
            target=spec,
            variants=routes,
            inputs={"i": DriveInput(uri=clip.as_uri(), sha256="0" * 64, bytes=6, cluster="c")},
            dispatches=planned_dispatches(route=list(routes), input_id="i", due_ns=[0] * len(routes)),
            limits=Limits(
                poll_interval_s=0.03,
                drain_limit_s=patience_s or SERVICES[name].patience_s,
                request_timeout_s=2.0,
                fetch_outputs=True,
            ),
        )
        drive_dir = self.folder / "drive"
        write_drive(drive_dir, plan)
        assert asyncio.run(_carry(drive_dir, key)) == "completed"
        close_drive(drive_dir, "completed")
        return drive_dir


async def _carry(drive_dir: Path, key: str) -> str:
    spec = read_header(drive_dir).target
    preset = spec.open_preset()
    secrets = {name: Secret(key) for name in secret_variables(preset)}
    headers = target_headers(preset, secrets)
    transport = HttpTransport(spec.base_url, headers=headers, mask=Mask(secrets.values()), timeout_s=2.0)
    try:
        return await Driver(
            drive_dir,
            target=AsyncJobTarget(preset),
            transport=transport,
            downloads=Downloads(spec, preset.outputs, headers=headers, timeout_s=2.0),
            disk=ThreadDisk(),
            ticks=MachineTicks(),
        ).run()
    finally:
        await transport.close()


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    stand_in = SERVICES[request.param].stand_in()
    with ExitStack() as open_servers:
        cdn = open_servers.enter_context(
            listening(lambda asked: http(200, CLIP if asked.path.endswith(".mp4") else PICTURE))
        )
        server = open_servers.enter_context(listening(stand_in))
        stand_in.cdn, stand_in.url = cdn.url, server.url
        yield Bench(tmp_path, server, stand_in)
        assert all(KEY not in str(asked.headers) for asked in cdn.asked), "the key stays at its origin"


@pytest.mark.parametrize(("bench", "name"), [(name, name) for name in NAMES], indirect=["bench"], ids=NAMES)
def test_every_fate_of_a_job_ends_as_it_should(bench: Bench, name: str) -> None:
    service = SERVICES[name]
    drive_dir = bench.run(name, list(service.ends), service.params)
    rows = {row["route"].rpartition(":")[2]: row for row in read_dispatches(drive_dir).iter_rows(named=True)}
    for fate, (state, reason) in service.ends.items():
        row = rows[fate]
        assert row["state"] == state, (fate, row["reason"])
        assert (row["reason"] or "").startswith(reason or ""), fate
        assert (row["reason"] is None) == (reason is None), fate
    quotas = [asked for asked in bench.stand_in.submitted if b"quota" in asked.body]
    assert len(quotas) == ("quota" in service.ends), "sending it again is of no use"
    content = (drive_dir / "outputs" / rows["success"]["dispatch_id"]).read_bytes()
    assert content == service.output
    assert {rows[fate]["version"] for fate in ("success", "busy") if fate in rows} == {service.version}
    outcomes = dict(read_attempts(drive_dir).select("dispatch_id", "outcome").iter_rows())
    moderated = [fate for fate, (_, reason) in service.ends.items() if (reason or "").startswith("moderation")]
    assert all(outcomes[rows[fate]["dispatch_id"]] == "refused" for fate in moderated)
    assert outcomes[rows["failure"]["dispatch_id"]] == "failed"
    if service.usage is not None:
        usage = read_attempts(drive_dir).select("dispatch_id", "sku", "quantity").iter_rows()
        of_success = {sku: quantity for one, sku, quantity in usage if one == rows["success"]["dispatch_id"]}
        sku, quantity = service.usage
        assert float(of_success[sku]) == float(quantity)


@pytest.mark.parametrize(
    ("bench", "name"),
    [(name, name) for name in NAMES if name != "comfyui"],
    indirect=["bench"],
    ids=[name for name in NAMES if name != "comfyui"],
)
def test_a_wrong_key_is_said_and_appears_nowhere(bench: Bench, name: str) -> None:
    wrong = "a-wrong-key-that-the-service-repeats"
    if isinstance(bench.stand_in, OpenAI):
        bench.stand_in.unauthorised["error"]["message"] = f"Incorrect API key provided: {wrong}."
    drive_dir = bench.run(name, ["success"], SERVICES[name].params, key=wrong)
    (row,) = read_dispatches(drive_dir).iter_rows(named=True)
    assert row["state"] == "failed"
    assert row["reason"].startswith("http_401")
    assert all(wrong.encode() not in one.read_bytes() for one in drive_dir.rglob("*") if one.is_file())


@pytest.mark.parametrize("bench", ["fal"], indirect=True)
def test_what_fal_retries_unseen_is_turned_off(bench: Bench) -> None:
    bench.run("fal", ["success", "failure"], SERVICES["fal"].params)
    assert [asked.headers["x-fal-no-retry"] for asked in bench.stand_in.submitted] == ["1", "1"]


@pytest.mark.parametrize("bench", ["comfyui"], indirect=True)
def test_a_job_that_comfyui_may_run_by_now_is_taken_out_of_the_queue_and_then_interrupted(bench: Bench) -> None:
    drive_dir = bench.run("comfyui", ["endless"], SERVICES["comfyui"].params, patience_s=0.3)
    assert read_dispatches(drive_dir)["reason"].to_list() == ["drain_limit"]
    stand_in = bench.stand_in
    assert isinstance(stand_in, ComfyUI)
    assert stand_in.interrupted == ["endless"]
    paths = [asked.path for asked in bench.server.asked if asked.path in ("/queue", "/interrupt")]
    assert paths == ["/queue", "/interrupt"]


@pytest.mark.parametrize("bench", ["openai"], indirect=True)
def test_an_endpoint_in_openais_form_answers_with_text_as_well(bench: Bench) -> None:
    def chat(fate: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": fate}]
        return {"endpoint": "chat/completions", "request": {"model": "gpt-x", "messages": messages}}

    drive_dir = bench.run("openai", ["success", "declined"], chat)
    said, declined = read_dispatches(drive_dir).iter_rows(named=True)
    assert (drive_dir / "outputs" / said["dispatch_id"]).read_bytes() == b"A mountain."
    assert (said["version"], declined["reason"]) == ("gpt-x-2026", "moderation: I can't help with that.")
    usage = read_attempts(drive_dir).select("sku", "quantity").unique()
    assert dict(usage.iter_rows()) == {"p:input-token": "19", "p:output-token": "10"}


@pytest.mark.parametrize(
    "answer", [b"ID3\x04 an audio file", b'{"object": "response", "status": "completed", "output": []}']
)
def test_endpoints_that_the_openai_preset_does_not_cover_end_as_its_head_says(answer: bytes) -> None:
    target = AsyncJobTarget(load_preset("openai"))
    with pytest.raises(RunFailed) as failed:
        target.parse(Request("POST", "/v1/audio/speech", ("d",)), Response(200, {}, answer))
    assert failed.value.code == "garbage_answer"


def quota(name: str) -> dict[str, Any]:
    details = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": name}]}]
    return {"error": {"code": 429, "message": "You exceeded your current quota", "details": details}}


@pytest.mark.parametrize(
    ("name", "status", "document", "reason", "final"),
    [
        ("openai", 429, {"error": {"type": "insufficient_quota", "message": "m", "code": None}}, "http_429: m", True),
        ("openai", 429, {"error": {"type": "x", "message": "m", "code": "insufficient_quota"}}, "http_429: m", True),
        (
            "openai",
            429,
            {"error": {"type": "tokens", "message": "m", "code": "rate_limit_exceeded"}},
            "http_429: m",
            False,
        ),
        ("openai", 429, {"error": {"type": "requests", "message": "m", "code": "slow_down"}}, "http_429: m", False),
        ("openai", 429, None, "http_429", False),
        ("veo", 429, quota("RequestsPerDayPerProject"), "http_429: You exceeded your current quota", True),
        ("veo", 429, quota("RequestsPerMinutePerProject"), "http_429: You exceeded your current quota", False),
        (
            "veo",
            429,
            {"error": {"message": "Your prepayment credits are depleted."}},
            "http_429: Your prepayment credits are depleted.",
            True,
        ),
        ("veo", 429, {"error": {}}, "http_429", False),
        (
            "fal",
            504,
            {"detail": "Too late", "error_type": "request_timeout"},
            "http_504: request_timeout: Too late",
            False,
        ),
        ("fal", 504, {"error_type": "request_timeout"}, "http_504: request_timeout", False),
        ("fal", 422, {"detail": [{"msg": "too small", "type": "image_too_small"}]}, "http_422: too small", False),
        ("fal", 403, {"detail": "Forbidden"}, "http_403: Forbidden", False),
        ("replicate", 429, {"detail": "Request was throttled."}, "http_429: Request was throttled.", False),
    ],
)
def test_a_rate_limit_is_told_from_errors_that_stay(
    name: str, status: int, document: Any, reason: str, final: bool
) -> None:
    answer = Response(status, {}, json.dumps(document).encode())
    assert AsyncJobTarget(load_preset(name)).rejection(answer) == (reason, final)


@pytest.mark.parametrize("name", NAMES)
def test_each_preset_says_what_it_is_and_where_its_facts_come_from(name: str) -> None:
    import pointsman.dispatch.targets.preset as module

    text = (Path(module.__file__).parent / "presets" / f"{name}.toml").read_text()
    assert "# Facts: " in text
    assert "Base URL: " in text.splitlines()[0] + text.splitlines()[1]


def test_each_preset_is_tested() -> None:
    assert set(BUILT_IN_PRESETS) == {*NAMES, "lab", "fixed"}
