"""Files in S3: verified, uploaded in parts without any left behind, and trouble that says its name."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman.clock import ManualClock
from pointsman.errors import DataCheckFailed, DependencyDown, InputRefused, NotFound
from pointsman.storage.bucket import PART_BYTES, Bucket, BucketPlace
from tests.storage import buckets
from tests.storage.buckets import PLACE, Crash, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with buckets.world(tmp_path) as found:
        yield found


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Three parts."""
    path = tmp_path / "large.parquet"
    path.write_bytes(b"".join(bytes([n]) * PART_BYTES for n in range(2)) + b"the rest")
    return path


def test_what_was_put_is_fetched_with_its_hash(world: World, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    stored = world.bucket.put(tmp_path / "a", "dev/run/a")
    assert stored.uri == "s3://results/team/dev/run/a"
    assert (stored.sha256, stored.bytes) == (hashlib.sha256(b"content").hexdigest(), 7)
    assert world.bucket.look("dev/run/a") == stored == world.bucket.fetch("dev/run/a", tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").read_bytes() == b"content"
    assert world.bucket.has("dev/run/a")
    assert not world.bucket.has("dev/run")
    assert world.bucket.look("dev/run") is None


def test_equal_content_is_not_uploaded_again(world: World, tmp_path: Path, large: Path) -> None:
    for path in (large, tmp_path / "a"):
        path.touch()
        world.bucket.put(path, path.name)
        before = len(world.client.calls)
        world.bucket.put(path, path.name)
        assert world.client.calls[before:] == ["head_object"]


def test_what_may_not_be_looked_at_is_uploaded_all_the_same(world: World, tmp_path: Path) -> None:
    def only_writing(call: str, _number: int) -> None:
        if call == "head_object":
            raise buckets.refused("403")

    world.client.trouble = only_writing
    (tmp_path / "a").write_bytes(b"content")
    world.bucket.put(tmp_path / "a", "a")
    assert world.kept == {"a": b"content"}


def test_a_large_file_goes_up_in_parts(world: World, large: Path, tmp_path: Path) -> None:
    world.bucket.put(large, "large")
    assert world.client.calls.count("upload_part") == 3
    assert world.bucket.fetch("large", tmp_path / "back").bytes == large.stat().st_size
    assert (tmp_path / "back").read_bytes() == large.read_bytes()
    assert world.begun == []


def test_a_part_that_fails_for_a_moment_is_sent_again(world: World, large: Path) -> None:
    def trouble(call: str, number: int) -> None:
        if (call, number) == ("upload_part", 2):
            raise buckets.out()

    world.client.trouble = trouble
    world.bucket.put(large, "large")
    assert world.kept == {"large": large.read_bytes()}
    assert world.clock.monotonic() == 0.5


@pytest.mark.parametrize("failing", ["upload_part", "complete_multipart_upload"])
def test_an_upload_that_fails_leaves_no_part_behind(failing: str, world: World, large: Path) -> None:
    def trouble(call: str, number: int) -> None:
        if call == failing:
            raise buckets.out()

    world.client.trouble = trouble
    with pytest.raises(DependencyDown, match=r"s3://results/team does not answer \(EndpointConnectionError\)"):
        world.bucket.put(large, "large")
    assert world.begun == []
    assert world.kept == {}


@pytest.mark.parametrize("dying", ["create_multipart_upload", "upload_part"])
def test_parts_of_a_killed_upload_are_taken_back_by_the_next(dying: str, world: World, large: Path) -> None:
    def killed(call: str) -> None:
        if call == dying:
            world.client.trouble = lambda call, number: (_ for _ in ()).throw(Crash())
            raise Crash

    world.client.after = killed
    with pytest.raises(Crash):
        world.bucket.put(large, "large")
    assert len(world.begun) == 1
    world.come_back()
    world.bucket.put(large, "large")
    assert world.begun == []
    assert world.kept == {"large": large.read_bytes()}


class _Sink:
    """Takes parts and forgets them."""

    def __init__(self) -> None:
        self.most = 0

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.most = max(self.most, len(arguments.get("Body", b"")))
            if name == "head_object":
                raise buckets.refused("404")
            return {"UploadId": "u", "ETag": "e"}

        return call


def test_a_large_file_takes_the_memory_of_a_part_or_two(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(8 * PART_BYTES)
    sink = _Sink()
    tracemalloc.start()
    try:
        Bucket(PLACE, sink, ManualClock()).put(path, "large")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sink.most == PART_BYTES
    assert peak < 2.5 * PART_BYTES


def test_a_file_that_was_changed_in_s3_is_not_read(world: World, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    world.bucket.put(tmp_path / "a", "a")
    world.client.put_object(
        Bucket=PLACE.name, Key="team/a", Body=b"other", Metadata={"sha256": hashlib.sha256(b"content").hexdigest()}
    )
    world.client.put_object(Bucket=PLACE.name, Key="team/b", Body=b"of somebody else")
    for name in ("a", "b"):
        with pytest.raises(DataCheckFailed, match=f"s3://results/team/{name} is not what was uploaded") as refused:
            world.bucket.fetch(name, tmp_path / "back" / name)
        assert refused.value.code == "results_damaged"
    assert list((tmp_path / "back").iterdir()) == []


def test_what_is_not_there_is_not_found(world: World, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        world.bucket.fetch("nowhere", tmp_path / "x")


@pytest.mark.parametrize(
    ("error", "code", "waited_s"),
    [
        (buckets.refused("AccessDenied"), "results_denied", 0),
        (buckets.refused("NoSuchBucket"), "results_bucket_missing", 0),
        (buckets.refused("SlowDown"), "results_unreachable", 7.5),
        (buckets.refused("InternalError"), "results_unreachable", 7.5),
        (buckets.out(), "results_unreachable", 7.5),
        (ConnectionResetError(), "results_unreachable", 7.5),
    ],
)
def test_trouble_has_a_name_and_an_instruction(
    error: Exception, code: str, waited_s: float, world: World, tmp_path: Path
) -> None:
    def trouble(call: str, number: int) -> None:
        raise error

    world.client.trouble = trouble
    with pytest.raises(DependencyDown) as down:
        world.bucket.fetch("a", tmp_path / "a")
    assert (down.value.code, down.value.exit_code) == (code, 4)
    assert down.value.instruction.endswith("then: pointsman doctor --drain")
    assert world.clock.monotonic() == waited_s


def test_a_bucket_that_is_not_there_is_told(world: World) -> None:
    world.bucket.reach()
    with pytest.raises(DependencyDown, match="There is no bucket nobodys"):
        Bucket(BucketPlace("nobodys", ""), world.client, world.clock).reach()


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "s3://bucket?x=1", "gs://bucket", "bucket"])
def test_what_names_no_bucket_is_refused(uri: str) -> None:
    with pytest.raises(InputRefused, match="POINTSMAN_RESULTS_URI"):
        BucketPlace.parse(uri)


def test_a_place_may_have_a_prefix() -> None:
    assert str(BucketPlace.parse("s3://bucket/a/b/")) == "s3://bucket/a/b"
    assert BucketPlace.parse("s3://bucket").uri("dev/x") == "s3://bucket/dev/x"
    assert BucketPlace.parse("s3://bucket").key("dev/x") == "dev/x"
