"""The results store: whole files or none, and nothing outside its root."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import InputRefused, NotFound
from pointsman.storage import LocalResults, ResultsSpec, local_path, write_atomically


@pytest.fixture
def results(tmp_path: Path) -> LocalResults:
    return LocalResults(tmp_path / "results")


def test_what_was_written_is_read_back_and_described(results: LocalResults) -> None:
    written = results.write("lab/run/a file.bin", b"content")
    assert results.read("lab/run/a file.bin") == b"content"
    assert (written.sha256, written.bytes) == (hashlib.sha256(b"content").hexdigest(), 7)
    assert local_path(written.uri).read_bytes() == b"content"
    assert results.stored("lab/run/a file.bin") == written
    assert results.exists("lab/run/a file.bin")
    assert not results.exists("lab/run")


def test_equal_documents_give_equal_files(results: LocalResults) -> None:
    one = results.write_json("one.json", {"b": 1, "a": [True, None]})
    two = results.write_json("two.json", {"a": [True, None], "b": 1})
    assert one.sha256 == two.sha256
    assert results.read("one.json") == b'{"a":[true,null],"b":1}\n'


@pytest.mark.parametrize("operation", ["path", "read", "stored", "exists"])
@pytest.mark.parametrize("relative", ["../outside", "a/../../outside", "/etc/passwd", "a/../../results-beside/x"])
def test_a_path_that_leaves_the_root_is_refused(results: LocalResults, operation: str, relative: str) -> None:
    with pytest.raises(InputRefused, match="results path"):
        getattr(results, operation)(relative)


def test_nothing_is_written_outside_the_root(results: LocalResults) -> None:
    with pytest.raises(InputRefused):
        results.write("../outside", b"x")
    assert not (results.root.parent / "outside").exists()


@given(st.lists(st.sampled_from(["..", ".", "a", "b", ""]), max_size=8).map("/".join))
def test_every_path_given_out_lies_inside_the_root(relative: str) -> None:
    results = LocalResults(Path("/srv/results"))
    try:
        found = results.path(relative)
    except InputRefused:
        return
    assert Path(os.path.normpath(found)).is_relative_to("/srv/results")


@pytest.mark.parametrize("operation", ["read", "stored"])
def test_a_file_that_is_not_there_is_not_found(results: LocalResults, operation: str) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        getattr(results, operation)("nowhere.json")


def test_files_are_listed_in_order_without_folders_and_temporaries(results: LocalResults) -> None:
    for name in ("b/2.txt", "b/1.txt", "a/9.txt", "a/9.json"):
        results.write(name, b"")
    assert [str(path.relative_to(results.root)) for path in results.glob("**/*.txt")] == [
        "a/9.txt",
        "b/1.txt",
        "b/2.txt",
    ]
    assert [path.name for path in results.glob("*")] == []


class _Crash(BaseException):
    """Stands for the process dying at this point."""


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_file_and_no_rubbish(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "verdict.json"
    write_atomically(target, b"old")

    def crash(*_: object) -> None:
        raise _Crash

    monkeypatch.setattr(os, step, crash)
    with pytest.raises(_Crash):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["verdict.json"]


def test_the_content_is_on_disk_before_the_name_points_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for step in ("fsync", "replace"):
        real = getattr(os, step)
        monkeypatch.setattr(os, step, lambda *a, real=real, step=step: (order.append(step), real(*a))[1])
    write_atomically(tmp_path / "x", b"content")
    assert order[:2] == ["fsync", "replace"]


@pytest.mark.parametrize("form", ["plain", "uri"])
def test_the_store_opens_by_path_and_by_uri(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    store = LocalResults.from_uri(str(folder) if form == "plain" else folder.as_uri())
    assert store.root == folder


def test_a_spec_builds_the_store_that_it_describes(tmp_path: Path) -> None:
    assert ResultsSpec(uri=str(tmp_path)).build().root == tmp_path


@pytest.mark.parametrize("uri", ["s3://bucket/prefix", "http://127.0.0.1/x"])
def test_a_store_that_is_no_folder_is_refused(uri: str) -> None:
    with pytest.raises(InputRefused, match="POINTSMAN_RESULTS_URI"):
        LocalResults.from_uri(uri)


def test_a_uri_that_is_no_local_file_has_no_local_path() -> None:
    assert local_path("file:///a%20b/c") == Path("/a b/c")
    assert local_path("/a b/c") == Path("/a b/c")
    with pytest.raises(InputRefused):
        local_path("s3://bucket/key")
