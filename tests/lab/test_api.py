"""The contract of the lab's HTTP API, asked of a real backend process."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.clips import Clip
from lab.effects import WORKFLOWS
from lab.effects.interruptions import interruption
from tests.lab.running import SECRET, Backend, descendants, eventually, job, variant, write_flag

ROUTE = "er:postcard-1:env:lab:stage:demo"


def test_a_job_runs_to_a_measured_output_that_can_be_fetched(backend: Backend, clip: Clip) -> None:
    accepted = backend.submit(job("measured:0", clip, params={"crf": 30}))
    assert (accepted["dispatch_id"], accepted["route_key"], accepted["output"]) == ("measured:0", None, None)
    (done,) = backend.ended("measured:0")
    assert (done["status"], done["variant"], done["job_id"]) == ("completed", variant(), accepted["job_id"])
    assert done["created_at"] <= done["started_at"] <= done["ended_at"]
    (attempt,) = done["attempts"]
    assert (attempt["number"], attempt["provider"], attempt["outcome"]) == (1, "lab-cpu", "completed")
    assert 0 < attempt["cpu_seconds"] < 20
    assert 0 < attempt["wall_seconds"] <= done["run_ms"] / 1000
    assert (attempt["vcpus"], attempt["memory_gb"]) == (1.0, 2.0)
    output = backend.client.get(done["output"]["path"])
    assert output.status_code == 200
    assert hashlib.sha256(output.content).hexdigest() == done["output"]["sha256"]
    assert len(output.content) == done["output"]["bytes"] == attempt["output_bytes"]


def test_the_same_job_content_gives_the_same_bytes_for_every_encoder(backend: Backend, clip: Clip) -> None:
    workflows = list(WORKFLOWS)
    names = [f"{workflow}-{copy}" for workflow in workflows for copy in "ab"]
    for name in names:
        backend.submit(job(name, clip, variant=variant(name[:-2])))
    hashes = [done["output"]["sha256"] for done in backend.ended(*names)]
    assert hashes[::2] == hashes[1::2]
    assert len(set(hashes)) == len(workflows) == 6


def test_params_change_the_effect(backend: Backend, clip: Clip) -> None:
    for crf in (20, 40):
        backend.submit(job(f"crf-{crf}", clip, params={"crf": crf}))
    fine, coarse = backend.ended("crf-20", "crf-40")
    assert fine["output"]["bytes"] > 2 * coarse["output"]["bytes"]


def test_submitting_again_answers_with_the_same_job_and_runs_nothing_twice(backend: Backend, clip: Clip) -> None:
    first = backend.submit(job("again", clip))
    backend.ended("again")
    before = backend.stats()
    repeated = backend.client.post("/v1/jobs", json=job("again", clip))
    assert repeated.status_code == 200
    assert (repeated.json()["job_id"], repeated.json()["status"]) == (first["job_id"], "completed")
    after = backend.stats()
    assert (after["accepted"], after["attempts"]) == (before["accepted"], before["attempts"])
    assert after["submissions"] == before["submissions"] + 1


@pytest.mark.parametrize(
    "change",
    [{"params": {"crf": 24}}, {"variant": variant("x264-medium-crf26")}, {"variant": None, "route_key": ROUTE}],
)
def test_a_dispatch_id_with_other_content_is_a_conflict(backend: Backend, clip: Clip, change: dict[str, Any]) -> None:
    backend.client.post("/v1/jobs", json=job("taken", clip))
    answer = backend.client.post("/v1/jobs", json=job("taken", clip, **change))
    refused(answer, 409, "dispatch_id_reused", "taken")


def test_of_many_submissions_at_once_exactly_one_is_accepted(backend: Backend, clips: list[Clip]) -> None:
    before = backend.stats()
    ids = [f"raced-{number}" for number in range(4)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(
            pool.map(lambda i: backend.client.post("/v1/jobs", json=job(ids[i % 4], clips[1])).status_code, range(48))
        )
    assert sorted(answers) == [200] * 44 + [202] * 4
    assert all(len(done["attempts"]) == 1 for done in backend.ended(*ids))
    after = backend.stats()
    assert after["accepted"] - before["accepted"] == 4
    assert after["attempts"] - before["attempts"] == 4
    assert after["submissions"] - before["submissions"] == 48


@pytest.mark.parametrize(
    "given", [{}, {"X-Studio-Executor-Secret": "wrong"}, {"X-Studio-Executor-Secret": SECRET[:-1]}]
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/jobs"), ("GET", "/v1/jobs/x"), ("GET", "/v1/stats"), ("POST", "/v1/faults")]
)
def test_without_the_executor_secret_nothing_is_answered(
    backend: Backend, method: str, path: str, given: dict[str, str]
) -> None:
    answer = httpx.request(method, f"{backend.client.base_url}{path}", headers=given)
    refused(answer, 401, "executor_secret_wrong", "X-Studio-Executor-Secret")
    assert SECRET not in answer.text


def test_health_is_told_to_everybody(backend: Backend) -> None:
    health = httpx.get(f"{backend.client.base_url}/healthz").json()
    assert health["status"] == "ok"
    assert [(p["name"], p["workers"]) for p in health["providers"]] == [("lab-cpu", 2), ("lab-spot", 1)]


def test_small_answers_are_not_held_back(backend: Backend) -> None:
    def seconds() -> float:
        started = time.perf_counter()
        backend.client.get("/healthz")
        return time.perf_counter() - started

    assert min(seconds() for _ in range(20)) < 0.03, "Nagle's algorithm would make each take 40 ms"


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        ({"variant": "er:postcard-1:wf:x"}, "variant_refused", "variant id"),
        ({"variant": variant("gif")}, "variant_refused", "workflow: 'gif'"),
        ({"variant": variant(provider="moon")}, "variant_refused", "provider: 'moon'"),
        ({"variant": variant(revision="other-2")}, "variant_refused", "effect revision: 'other-2'"),
        ({"variant": None, "route_key": "er:x"}, "variant_refused", "route key"),
        ({"variant": None}, "request_refused", "exactly one of variant and route_key"),
        ({"route_key": ROUTE}, "request_refused", "exactly one of variant and route_key"),
        ({"params": {"crf": 99}}, "params_refused", "params.crf: 99"),
        ({"params": {"crf": True}}, "params_refused", "params.crf: True"),
        ({"params": {"vf": "movie=/etc/passwd"}}, "params_refused", "'vf'"),
        ({"priority": 1}, "request_refused", "priority"),
        ({"dispatch_id": "../up"}, "request_refused", "dispatch_id"),
        ({"input": None}, "request_refused", "input"),
    ],
)
def test_what_the_backend_does_not_offer_is_refused_by_name(
    backend: Backend, clip: Clip, change: dict[str, Any], code: str, names: str
) -> None:
    before = backend.stats()["accepted"]
    refused(backend.client.post("/v1/jobs", json=job("refused", clip, **change)), 422, code, names)
    assert backend.stats()["accepted"] == before


def test_inputs_outside_the_allowed_folders_are_refused(
    backend: Backend, clip: Clip, roots: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes(Path(clip.path).read_bytes())
    link = roots / "link.mp4"
    link.unlink(missing_ok=True)
    link.symlink_to(outside)
    for uri in (str(outside), str(link), f"file://{roots}/..%2F{tmp_path.name}/x", f"{roots}/../../../../etc/hostname"):
        body = job("outside", clip, input={"id": "x", "uri": uri, "sha256": clip.sha256})
        answer = backend.client.post("/v1/jobs", json=body)
        assert answer.status_code == 422
        assert answer.json()["code"] in ("input_outside_roots", "input_unreadable")
    assert backend.client.get("/v1/jobs/outside").status_code == 404


@pytest.mark.parametrize(
    "uri", ["{0}/missing.mp4", "{0}", "clip.mp4", "http://127.0.0.1/clip.mp4", "{0}/a\0b", "file://far/a"]
)
def test_an_input_that_is_no_readable_file_is_refused(backend: Backend, clip: Clip, roots: Path, uri: str) -> None:
    body = job("unreadable", clip, input={"id": "x", "uri": uri.format(roots), "sha256": clip.sha256})
    refused(backend.client.post("/v1/jobs", json=body), 422, "input_unreadable", "input.uri")


def test_an_input_that_changed_since_it_was_hashed_is_refused(backend: Backend, clip: Clip, roots: Path) -> None:
    changing = roots / "changing.mp4"
    content = Path(clip.path).read_bytes()
    changing.write_bytes(content)
    body = job("unchanged", clip, input={"id": "x", "uri": changing.as_uri(), "sha256": clip.sha256})
    backend.submit(body)
    changing.write_bytes(content + b"\0")
    answer = backend.client.post("/v1/jobs", json={**body, "dispatch_id": "changed"})
    refused(answer, 422, "input_changed", "input.sha256")


def test_a_file_that_is_no_video_fails_the_job_with_ffmpegs_words(backend: Backend, clip: Clip, roots: Path) -> None:
    for name, content in (
        ("text.mp4", b"no video"),
        ("list.ffconcat", f"ffconcat version 1.0\nfile {clip.path}".encode()),
    ):
        path = roots / name
        path.write_bytes(content)
        source = {"id": name, "uri": str(path), "sha256": hashlib.sha256(content).hexdigest()}
        backend.submit(job(name, clip, input=source))
    for failed in backend.ended("text.mp4", "list.ffconcat"):
        assert failed["status"] == "failed"
        assert "ffmpeg ended with" in failed["reason"]
        assert failed["output"] is None
        assert [attempt["outcome"] for attempt in failed["attempts"]] == ["failed"]
        assert failed["attempts"][0]["wall_seconds"] > 0
    assert backend.client.get("/v1/jobs/text.mp4/output").json()["code"] == "no_output"


def test_a_routed_job_follows_the_flag_file_and_keeps_its_generation(backend: Backend, clip: Clip) -> None:
    routed = job("routed-0", clip, variant=None, route_key=ROUTE)
    (backend.home / "flags.json").unlink(missing_ok=True)
    refused(backend.client.post("/v1/jobs", json=routed), 404, "route_not_bound", ROUTE)
    for generation, workflow in enumerate(("x264-veryfast-crf23", "svtav1-p10-crf38"), start=1):
        write_flag(backend.home, ROUTE, variant(workflow), generation)
        backend.submit({**routed, "dispatch_id": f"routed-{generation}"})
    first, second = backend.ended("routed-1", "routed-2")
    assert (first["variant"], first["generation"]) == (variant("x264-veryfast-crf23"), 1)
    assert (second["variant"], second["generation"]) == (variant("svtav1-p10-crf38"), 2)
    assert first["route_key"] == second["route_key"] == ROUTE
    again = backend.client.post("/v1/jobs", json={**routed, "dispatch_id": "routed-1"})
    assert (again.status_code, again.json()["generation"]) == (200, 1)


def test_a_flag_file_that_cannot_be_read_refuses_routed_jobs_only(backend: Backend, clip: Clip) -> None:
    (backend.home / "flags.json").write_text("{")
    routed = job("unroutable", clip, variant=None, route_key=ROUTE)
    refused(backend.client.post("/v1/jobs", json=routed), 503, "gateway_unusable", "flags.json")
    write_flag(backend.home, ROUTE, variant("gone-workflow"), 3)
    refused(backend.client.post("/v1/jobs", json=routed), 422, "variant_refused", "gone-workflow")


def test_status_tells_known_jobs_and_unknown_ids(backend: Backend, clip: Clip) -> None:
    backend.submit(job("known", clip))
    answer = backend.client.post("/v1/jobs/status", json={"ids": ["known", "never", "known", "never"]}).json()
    assert [document["dispatch_id"] for document in answer["jobs"]] == ["known"]
    assert answer["unknown"] == ["never"]
    too_many = backend.client.post("/v1/jobs/status", json={"ids": [f"d{n}" for n in range(501)]})
    refused(too_many, 422, "request_refused", "ids")


def test_cancel_ends_waiting_and_running_jobs_and_bills_what_ran(backend: Backend, long_clip: Clip, clip: Clip) -> None:
    slow = variant("svtav1-p6-crf38", "lab-spot")
    backend.submit(job("cancel-running", long_clip, variant=slow))
    backend.submit(job("cancel-waiting", long_clip, variant=slow))
    eventually(lambda: backend.read("cancel-running")["status"] == "leased", 5)
    waiting = backend.client.post("/v1/jobs/cancel-waiting/cancel")
    assert (waiting.status_code, waiting.json()["status"], waiting.json()["attempts"]) == (200, "cancelled", [])
    running = backend.client.post("/v1/jobs/cancel-running/cancel")
    assert running.status_code == 200
    document = running.json()
    assert (document["status"], document["reason"], document["output"]) == ("cancelled", "cancelled", None)
    (attempt,) = document["attempts"]
    assert attempt["outcome"] == "failed"
    assert attempt["wall_seconds"] > 0
    assert backend.client.post("/v1/jobs/cancel-running/cancel").json() == document
    backend.submit(job("cancel-late", clip))
    (finished,) = backend.ended("cancel-late")
    assert backend.client.post("/v1/jobs/cancel-late/cancel").json() == finished
    refused(backend.client.post("/v1/jobs/never/cancel"), 404, "unknown_job", "never")


def test_a_spot_job_that_loses_its_worker_is_tried_again_and_billed_for_both(backend: Backend, clip: Clip) -> None:
    spot = variant("x264-medium-crf26", "lab-spot")
    ids = interrupted_ids(2)
    for name in ids:
        backend.submit(job(name, clip, variant=spot))
    for done in backend.ended(*ids):
        *lost, last = done["attempts"]
        assert [attempt["outcome"] for attempt in lost] == ["lost"]
        assert lost[0]["number"] == 1
        assert 0 < lost[0]["wall_seconds"] < 5
        assert lost[0]["cpu_seconds"] is None
        assert (last["outcome"], last["number"], done["status"]) == ("completed", 2, "completed")
        assert done["run_ms"] >= 1000 * (2 + last["wall_seconds"]), "the lease of the lost attempt ran out first"


def test_faults_hit_the_next_answers_only(backend: Backend, clip: Clip) -> None:
    def ask(kind: str, count: int = 1, seconds: float = 0.0) -> None:
        fault = {"kind": kind, "count": count, "seconds": seconds}
        assert backend.client.post("/v1/faults", json=fault).status_code == 200

    ask("status_500")
    assert backend.client.post("/v1/jobs", json=job("faulty", clip)).status_code == 500
    ask("reject", count=2)
    for _ in range(2):
        refused(backend.client.post("/v1/jobs", json=job("faulty", clip)), 422, "fault_injected", "reject")
    assert backend.client.get("/v1/jobs/faulty").status_code == 404
    ask("garbage")
    assert b"not json" in backend.client.post("/v1/jobs", json=job("faulty", clip)).content
    assert backend.client.post("/v1/jobs", json=job("faulty", clip)).status_code == 200, "garbage hid an acceptance"
    ask("stall", seconds=0.3)
    with pytest.raises(httpx.ReadTimeout):
        backend.client.get("/v1/stats", timeout=0.1)
    ask("garbage")
    ask("garbage", count=0)
    assert backend.stats()["accepted"] > 0
    refused(backend.client.post("/v1/faults", json={"kind": "fire", "count": 1}), 422, "request_refused", "kind")


def test_calls_that_do_not_exist_and_long_bodies_are_problem_documents(backend: Backend) -> None:
    refused(backend.client.get("/v1/nothing"), 404, "no_such_call", "/v1/nothing")
    refused(backend.client.delete("/v1/jobs"), 405, "no_such_call", "DELETE")
    refused(backend.client.post("/v1/jobs", content=b"x" * (1 << 21)), 413, "body_too_long", "longer")
    refused(backend.client.post("/v1/jobs", content=b"{"), 422, "request_refused", "JSON")


def test_no_secret_reaches_the_log_or_a_worker(backend: Backend) -> None:
    assert SECRET not in backend.log()
    workers = [pid for pid, command in descendants(backend.process.pid).items() if "lab.effects.worker" in command]
    assert len(workers) >= 3  # one more while the spot provider replaces a worker it has killed
    seen = 0
    for pid in workers:
        with suppress(FileNotFoundError, ProcessLookupError):  # the one that was replaced may be gone by now
            assert SECRET.encode() not in (Path("/proc") / str(pid) / "environ").read_bytes()
            assert os.getsid(pid) == pid
            seen += 1
    assert seen >= 3


def refused(answer: httpx.Response, status: int, code: str, names: str) -> None:
    """It is a whole problem document that names what is wrong."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["status"], document["code"]) == (status, code)
    assert names in document["detail"]
    assert document["instruction"]


def interrupted_ids(count: int) -> list[str]:
    """Dispatch ids whose first attempt the spot provider of seed 7 takes away early, and the second never."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        number += 1
        name = f"spot-{number}"
        moment = interruption(7, name, 1)
        if moment is not None and moment < 0.06 and interruption(7, name, 2) is None:
            found.append(name)
    return found
