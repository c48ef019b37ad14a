"""The machines that the lab's workers belong to: taken away and given back, asked of a real backend process."""

from __future__ import annotations

import re

import httpx

from lab.clips import Clip
from tests.lab.running import Backend, eventually, job, variant


def instances(backend: Backend) -> list[dict[str, object]]:
    found: list[dict[str, object]] = backend.client.get("/v1/instances").raise_for_status().json()["instances"]
    return found


def test_every_worker_belongs_to_an_instance_of_its_own(backend: Backend) -> None:
    found = instances(backend)
    assert [one["provider"] for one in found] == ["lab-cpu", "lab-cpu", "lab-spot"]
    assert len({one["instance_id"] for one in found}) == 3
    assert all(re.fullmatch(r"i-[0-9a-f]{17}", str(one["instance_id"])) for one in found)


def test_instances_that_are_killed_or_frozen_work_no_more_until_they_are_given_back(
    backend: Backend, clip: Clip, long_clip: Clip
) -> None:
    mine = [one["instance_id"] for one in instances(backend)][:2]
    busy = ["away:0", "away:1"]
    for dispatch_id in busy:
        backend.submit(job(dispatch_id, long_clip, variant=variant("x264-medium-crf26")))
        eventually(lambda wanted=dispatch_id: backend.read(wanted)["status"] == "leased", 10)  # type: ignore[misc]
    for instance, kind in zip(mine, ("kill", "freeze"), strict=True):
        answer = backend.client.post(f"/v1/instances/{instance}/stop", json={"kind": kind, "at_most_s": 60})
        assert answer.json() == {"instance_id": instance, "running": False}
    backend.submit(job("away:2", clip))
    for dispatch_id in busy:
        eventually(lambda wanted=dispatch_id: backend.read(wanted)["status"] == "queued", 10)  # type: ignore[misc]
    assert backend.read("away:2")["status"] == "queued"
    assert [one["running"] for one in instances(backend)] == [False, False, True]
    for instance in mine:
        assert backend.client.post(f"/v1/instances/{instance}/start").json()["running"]
    for done in backend.ended(*busy, "away:2"):
        assert done["status"] == "completed"
    assert [one["outcome"] for one in backend.read("away:0")["attempts"]] == ["lost", "completed"]


def test_an_instance_whose_taker_forgot_it_comes_back_by_itself(backend: Backend) -> None:
    instance = instances(backend)[0]["instance_id"]
    backend.client.post(f"/v1/instances/{instance}/stop", json={"kind": "freeze", "at_most_s": 0.2}).raise_for_status()
    eventually(lambda: bool(instances(backend)[0]["running"]), 10)


def test_what_is_unknown_or_not_allowed_is_refused(backend: Backend) -> None:
    stop = {"kind": "kill", "at_most_s": 1}
    answer = backend.client.post("/v1/instances/i-0/start")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_instance")
    assert backend.client.post("/v1/instances/i-0/stop", json=stop).status_code == 404
    assert backend.client.post("/v1/instances/i-0/stop", json={**stop, "kind": "melt"}).status_code == 422
    assert httpx.post(f"{backend.client.base_url}/v1/instances/i-0/stop", json=stop).status_code == 401
