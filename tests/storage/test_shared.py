"""Results in S3 lose nothing: when S3 is out, when the process dies at any point, and when several drain at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import boto3
import polars as pl
import pytest
from moto.server import ThreadedMotoServer

from pointsman.clock import SystemClock
from pointsman.errors import DependencyDown, InputRefused, NotFound
from pointsman.storage import LocalResults, SharedResults, Uploads, open_results
from pointsman.storage.results import PATIENCE_S, sha256_file
from pointsman.storage.spool import Spool
from tests.storage import buckets
from tests.storage.buckets import Crash, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with buckets.world(tmp_path) as found:
        yield found


def test_another_machine_reads_what_was_written_and_keeps_a_copy(world: World) -> None:
    written = world.machine("one").write_json("dev/smoke/t/run1/results.json", {"seed": 1})
    assert written.uri == "s3://results/team/dev/smoke/t/run1/results.json"
    two = world.machine("two")
    assert two.exists("dev/smoke/t/run1/results.json")
    assert two.stored("dev/smoke/t/run1/results.json") == written
    assert two.read("dev/smoke/t/run1/results.json") == b'{"seed":1}\n'
    assert two.local(written.uri).read_bytes() == b'{"seed":1}\n'
    assert two.stored("dev/smoke/t/run1/results.json") == written
    assert str(two) == "s3://results/team"
    world.go_out()
    assert two.read("dev/smoke/t/run1/results.json") == b'{"seed":1}\n'


def test_a_digest_is_of_what_s3_holds_whatever_the_copy_here_is(world: World, tmp_path: Path) -> None:
    one, two = world.machine("one"), world.machine("two")
    written = one.write("dev/out.mp4", b"as it was made")
    assert [one.digest(written.uri), two.digest("dev/out.mp4")] == [written.sha256] * 2
    assert not two.path("dev/out.mp4").exists(), "read through, not kept"
    one.path("dev/out.mp4").write_bytes(b"a damaged copy")
    assert one.digest(written.uri) == written.sha256
    world.client.put_object(Bucket="results", Key="team/dev/out.mp4", Body=b"another one")
    assert one.digest(written.uri) == sha256(b"another one").hexdigest()
    beside = tmp_path / "beside"
    beside.write_bytes(b"of this machine")
    assert one.digest(beside.as_uri()) == LocalResults(tmp_path).digest("beside") == sha256_file(beside)
    for nowhere in ("dev/nothing", "s3://results/team/dev/nothing"):
        with pytest.raises(NotFound, match="dev/nothing"):
            one.digest(nowhere)
    with pytest.raises(InputRefused):
        one.digest("s3://another/team/dev/out.mp4")
    world.go_out()
    late = one.write("dev/late", b"waits")
    assert one.digest(late.uri) == late.sha256
    with pytest.raises(DependencyDown):
        one.digest(written.uri)


def test_what_is_nowhere_is_not_found_and_nothing_leaves_the_store(world: World) -> None:
    one = world.machine()
    assert not one.exists("nowhere")
    for ask in (one.read, one.stored):
        with pytest.raises(NotFound, match="nowhere"):
            ask("nowhere")
    for relative in ("../outside", "a/../../b"):
        with pytest.raises(InputRefused, match="results path"):
            one.write(relative, b"x")
    assert world.kept == {}
    assert one.local("file:///a%20b") == Path("/a b")


def test_a_folder_is_published_once_and_without_what_is_of_one_process(world: World) -> None:
    one = world.machine()
    for name in ("plan.json", "journal/0000-000001.arrow", "shards/1/summary.json"):
        path = one.path(f"dev/run/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    for name in ("lock", "status.json", ".half-written.12", "coordinator.lock"):
        one.path(f"dev/run/{name}").write_bytes(b"x")
    one.write("dev/other/x", b"x")
    assert one.publish("dev/run") == Uploads(3, 0)
    assert sorted(world.kept) == [
        "dev/other/x",
        "dev/run/journal/0000-000001.arrow",
        "dev/run/plan.json",
        "dev/run/shards/1/summary.json",
    ]
    calls = len(world.client.calls)
    assert one.publish("dev/run") == Uploads(0, 0)
    assert len(world.client.calls) == calls, "what is known to be there is not even looked at"
    one.path("dev/run/plan.json").write_bytes(b"another plan")
    assert one.publish("dev/run") == Uploads(1, 0)
    assert world.kept["dev/run/plan.json"] == b"another plan"
    assert one.publish("dev/nothing") == Uploads(0, 0)


def test_a_folder_is_pulled_file_by_file_and_own_files_are_left_as_they_are(world: World) -> None:
    one, two = world.machine("one"), world.machine("two")
    for name in ("plan.json", "journal/1.arrow"):
        one.write(f"dev/run/{name}", b"of one")
    one.write("dev/run2/plan.json", b"another run's")
    two.path("dev/run").mkdir(parents=True)
    two.path("dev/run/plan.json").write_bytes(b"of two")
    assert two.pull("dev/run") == 1
    assert two.path("dev/run/plan.json").read_bytes() == b"of two"
    assert two.path("dev/run/journal/1.arrow").read_bytes() == b"of one"
    assert not two.path("dev/run2").exists()
    one.write("dev/run/journal/2.arrow", b"of one")
    assert [two.pull("dev/run"), two.pull("dev/run")] == [1, 0]
    assert LocalResults(one.root).pull("dev/run") == 0


def test_a_folder_of_more_than_a_page_is_pulled_whole(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        world.machine("one").write(f"dev/run/{number}", b"x")
    real = world.client._real.list_objects_v2
    world.client.list_objects_v2 = lambda **asked: real(**asked, MaxKeys=2)  # type: ignore[attr-defined]
    assert world.machine("two").pull("dev/run") == 5


def test_pulling_waits_as_long_as_it_is_told_for_a_bucket_that_is_out_and_not_for_one_that_refuses(
    world: World,
) -> None:
    world.machine("one").write("dev/run/a", b"a")
    began_s = world.clock.monotonic()
    world.go_out(until_s=began_s + 60)
    with pytest.raises(DependencyDown):
        world.machine("two").pull("dev/run")
    assert world.machine("two").pull("dev/run", patience_s=75) == 1
    assert world.clock.monotonic() - began_s < 75
    world.client.trouble = lambda call, number: (_ for _ in ()).throw(buckets.refused("AccessDenied"))
    at_s = world.clock.monotonic()
    with pytest.raises(DependencyDown, match="read and write"):
        world.machine("three").pull("dev/run", patience_s=75)
    assert world.clock.monotonic() == at_s


def test_while_s3_is_out_files_wait_and_one_word_is_said(world: World) -> None:
    one = world.machine()
    world.go_out(until_s=60)
    for number in range(20):
        one.write(f"dev/run/{number}", b"%d" % number)
    assert world.clock.monotonic() == 7.5, "one upload is tried again and again, the others do not wait for it"
    (spooled,) = world.spooled
    assert (spooled.files, spooled.why.code) == (1, "results_unreachable")
    assert one.waiting() == 20
    with pytest.raises(DependencyDown, match="20 of 20 files still wait") as down:
        one.drain()
    assert down.value.data["left"] == 20
    world.clock.sleep(60)
    one.write("dev/run/20", b"20")
    assert one.waiting() == 20
    assert one.drain() == Uploads(20, 0)
    assert world.kept == {f"dev/run/{number}": b"%d" % number for number in range(21)}
    assert one.drain() == Uploads(0, 0)
    world.go_out()
    one.write("dev/run/0", b"new")
    assert len(world.spooled) == 2, "and again when it goes away again"


def test_the_end_of_a_run_waits_for_an_s3_that_is_out_for_a_minute(world: World) -> None:
    one = world.machine()
    one.path("dev/run").mkdir(parents=True)
    for number in range(3):
        one.path(f"dev/run/{number}").write_bytes(b"%d" % number)
    world.go_out(until_s=60)
    assert one.publish("dev/run") == Uploads(3, 0)
    assert 60 <= world.clock.monotonic() < PATIENCE_S
    assert sorted(world.kept) == ["dev/run/0", "dev/run/1", "dev/run/2"]
    assert len(world.spooled) == 1


def test_and_no_longer_than_its_patience(world: World) -> None:
    one = world.machine()
    one.path("dev/run").mkdir(parents=True)
    one.path("dev/run/0").write_bytes(b"0")
    world.go_out()
    assert one.publish("dev/run") == Uploads(0, 1)
    assert PATIENCE_S <= world.clock.monotonic() < PATIENCE_S + 10
    world.come_back()
    assert world.machine().drain() == Uploads(1, 0)


STEPS = ["noted", "written", "looked", "put", "cleared", "nothing"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_process_that_dies_at_any_point_of_writing_loses_nothing(
    step: str, before: bytes | None, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is on the disk of the machine in the end is in S3 after a drain, and nothing waits."""
    one = world.machine()
    if before is not None:
        one.write("dev/a", before)

    def dying(function: object) -> object:
        def call(*arguments: object) -> None:
            function(*arguments)  # type: ignore[operator]
            raise Crash

        return call

    with monkeypatch.context() as patch:
        if step == "noted":
            patch.setattr(Spool, "note", dying(Spool.note))
        elif step == "written":
            patch.setattr(LocalResults, "write", dying(LocalResults.write))
        elif step == "cleared":
            patch.setattr(Spool, "clear", staticmethod(dying(Spool.clear)))
        else:
            at = {"looked": "head_object", "put": "put_object"}.get(step)

            def after(call: str) -> None:
                if call == at:
                    raise Crash

            world.client.after = after
        try:
            one.write("dev/a", b"new")
        except Crash:
            assert step != "nothing"
    world.come_back()
    again = world.machine()
    again.drain()
    assert again.waiting() == 0
    on_disk = {"dev/a": again.path("dev/a").read_bytes()} if again.path("dev/a").is_file() else {}
    assert world.kept == on_disk
    if step != "noted":
        assert on_disk == {"dev/a": b"new"}


def test_two_who_drain_while_a_third_writes_upload_the_last_content_of_every_file(world: World) -> None:
    one = world.machine()
    world.go_out()
    for number in range(12):
        one.write(f"dev/{number}", b"first")
    world.come_back()
    errors: list[BaseException] = []

    def doing(work: object) -> None:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - told by the test
            errors.append(error)

    def write() -> None:
        machine = world.machine()
        for number in range(0, 12, 2):
            machine.write(f"dev/{number}", b"second")

    threads = [threading.Thread(target=doing, args=(work,)) for work in (world.machine().drain,) * 2 + (write,)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert one.waiting() == 0
    assert world.kept == {f"dev/{n}": b"first" if n % 2 else b"second" for n in range(12)}


def test_a_change_during_its_upload_is_uploaded_as_well(world: World) -> None:
    """The note of the change is not the one that the upload takes away."""
    one = world.machine()
    world.go_out()
    one.write("dev/a", b"first")
    world.come_back()

    def changed(call: str) -> None:
        if call == "put_object":
            world.client.after = lambda call: None
            one._spool.note("dev/a")
            one.path("dev/a").write_bytes(b"second")

    world.client.after = changed
    world.machine().drain()
    assert one.waiting() == 1
    world.machine().drain()
    assert world.kept == {"dev/a": b"second"}


def test_the_store_opens_by_its_uri_and_polars_reads_segments_straight_from_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "of-a-test",
            "AWS_SECRET_ACCESS_KEY": "of-a-test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="results")
        one, two = (
            open_results("s3://results/team", working=tmp_path / name, clock=SystemClock()) for name in ("one", "two")
        )
        assert isinstance(two, SharedResults)
        two.reach()
        for number in range(2):
            path = one.path(f"dev/run/dispatches-0000{number}.parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            pl.DataFrame({"seq": [2 * number, 2 * number + 1]}).write_parquet(path)
        assert one.publish("dev/run") == Uploads(2, 0)
        rows = two.scan_parquet("dev/run/dispatches-*.parquet").filter(pl.col("seq") > 0).collect()
        assert rows["seq"].to_list() == [1, 2, 3]
        assert [path for path in (tmp_path / "two").rglob("*") if path.is_file()] == []
    finally:
        server.stop()
    assert open_results(str(tmp_path / "folder"), working=tmp_path, clock=SystemClock()).root == tmp_path / "folder"
