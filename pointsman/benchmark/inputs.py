"""Input sets: named, content-addressed lists of files, each readable, hashed and assigned to a cluster (its source)."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from pointsman.benchmark.clips import refuse_unreadable
from pointsman.canonical import sha256_of
from pointsman.data_classes import data_classes
from pointsman.errors import Conflict, InputRefused, NotFound
from pointsman.ids import check_id
from pointsman.model import InputMember, InputSet
from pointsman.storage import insert_absent, local_path, tables
from pointsman.storage.results import sha256_file
from pointsman.workspace import Workspace


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of an input set. Files cut from the same source share a `cluster`: they are not independent.

    Without an `input_id` the file's stem is used, with illegal characters replaced by `-`. `data_classes` are words
    such as faces, minors or region:eu: only variants that may see all of them are given the file.
    """

    path: Path
    cluster: str
    input_id: str | None = None
    data_classes: tuple[str, ...] = ()


def register_input_set(ws: Workspace, set_id: str, files: Sequence[InputFile]) -> InputSet:
    """Check, hash and register `files` as the input set `set_id`; the same content again is answered alike.

    The set's sha256 covers ids, hashes, sizes, clusters and data classes of its members but not their places, so files
    that moved are still the same set, and the new places are kept. A results store that machines share takes the files
    in, as `inputs/<sha256><suffix>`. Raises `InputRefused`, before anything is written, for a missing, empty or
    unreadable file, for what is no data class, and for an id or a content that comes twice; `Conflict` when the id
    stands for other content.
    """
    check_id("input set id", set_id)
    if not files:
        raise InputRefused("input set files", [], "at least one file")
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        list(pool.map(refuse_unreadable, [file.path for file in files]))
        members = list(pool.map(_member, files))
    _refuse_repeated("input id", [member.input_id for member in members], members)
    _refuse_repeated("input content", [member.sha256 for member in members], members)
    members.sort(key=lambda member: member.input_id)
    identity = [{name: value for name, value in _row(member).items() if name != "uri"} for member in members]
    sha256 = sha256_of(identity)
    members = [_taken_in(ws, member) for member in members]
    found = InputSet(set_id, tuple(members), sha256)
    stored_members = [_row(member) for member in members]
    row = {"id": set_id, "sha256": found.sha256, "members": stored_members, "created_at": ws.clock.now()}
    table = tables.input_sets
    with ws.database.begin() as connection:
        if not insert_absent(connection, table, [row]):
            registered = connection.execute(sa.select(table).where(table.c.id == set_id)).one()
            if registered.sha256 != found.sha256:
                raise Conflict(
                    f"Input set {set_id} is registered with other content: {_difference(registered.members, identity)}",
                    instruction="Register the changed files under another id: measurements keep the set they used.",
                )
            connection.execute(sa.update(table).where(table.c.id == set_id).values(members=stored_members))
    return found


def input_set(ws: Workspace, set_id: str) -> InputSet:
    """The registered input set, its files at hand on this machine.

    Raises `NotFound` naming the sets that exist, and what `ws.results.local` raises for a file that cannot be had.
    """
    row = _registered(ws, set_id)
    return InputSet(row.id, tuple(_at_hand(ws, _read(member)) for member in row.members), row.sha256)


def inputs_named(ws: Workspace, set_id: str, names: Collection[str]) -> tuple[InputMember, ...]:
    """The members of these ids, their files at hand. Raises as `input_set` does."""
    members = _registered(ws, set_id).members
    return tuple(_at_hand(ws, _read(member)) for member in members if member["input_id"] in names)


def _registered(ws: Workspace, set_id: str) -> sa.Row[Any]:
    table = tables.input_sets
    with ws.database.begin() as connection:
        row = connection.execute(sa.select(table).where(table.c.id == set_id)).one_or_none()
        if row is None:
            known = connection.execute(sa.select(table.c.id).order_by(table.c.id)).scalars().all()
            raise NotFound("input set", set_id, ", ".join(known) or "none is registered yet")
    return row


def import_inputs(
    inputs_root: Path, paths: Sequence[Path], *, data_classes: Sequence[str] = ()
) -> tuple[InputFile, ...]:
    """Copy the user's own files to `<inputs_root>/<sha256><suffix>`, each in a cluster of its own.

    All of them have these data classes.

    A copy that is there already is kept. Raises `InputRefused`, before anything is copied, for a file that is missing,
    empty or not readable by ffmpeg.
    """
    for path in paths:
        refuse_unreadable(path)
    return tuple(_imported(inputs_root, path, tuple(data_classes)) for path in paths)


def _imported(root: Path, path: Path, classes: tuple[str, ...]) -> InputFile:
    copy = root.absolute() / f"{sha256_file(path)}{path.suffix.lower()}"
    if not copy.is_file():
        root.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=root, prefix=".importing.")
        os.close(handle)
        try:
            shutil.copyfile(path, temporary)
            os.chmod(temporary, 0o644)
            os.replace(temporary, copy)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    name = _legal_id(path)
    return InputFile(copy, cluster=name, input_id=name, data_classes=classes)


def _member(file: InputFile) -> InputMember:
    path = file.path.absolute()
    return InputMember(
        input_id=check_id("input id", file.input_id or _legal_id(path)),
        uri=path.as_uri(),
        sha256=sha256_file(path),
        bytes=path.stat().st_size,
        cluster=check_id("cluster", file.cluster),
        data_classes=data_classes(f"data class of {path}", file.data_classes),
    )


def _row(member: InputMember) -> dict[str, Any]:
    """Without classes where it has none: sets were registered, and hashed, before there were any."""
    row = {name: value for name, value in asdict(member).items() if name not in ("copy_here", "data_classes")}
    return {**row, "data_classes": list(member.data_classes)} if member.data_classes else row


def _read(row: Mapping[str, Any]) -> InputMember:
    return InputMember(**{**row, **_classes(row)})


def _classes(row: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {"data_classes": tuple(row.get("data_classes", ()))}


def _taken_in(ws: Workspace, member: InputMember) -> InputMember:
    path = local_path(member.uri)
    taken = ws.results.take_in(path, f"inputs/{member.sha256}{path.suffix.lower()}")
    return _at_hand(ws, replace(member, uri=taken.uri))


def _at_hand(ws: Workspace, member: InputMember) -> InputMember:
    if urlsplit(member.uri).scheme in ("", "file"):
        return member
    return replace(member, copy_here=str(ws.results.local(member.uri)))


def _legal_id(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", path.stem)[:64]


def _refuse_repeated(what: str, values: Sequence[str], members: Sequence[InputMember]) -> None:
    value, times = Counter(values).most_common(1)[0]
    if times > 1:
        files = [member.uri for member, own in zip(members, values, strict=True) if own == value]
        raise InputRefused(what, value, f"each only once in a set, but {' and '.join(files)} share it")


def _comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, **_classes(row), "uri": None}


def _difference(registered: list[dict[str, Any]], asked: list[dict[str, Any]]) -> str:
    before = {member["input_id"]: member for member in registered}
    after = {member["input_id"]: member for member in asked}
    changed = sorted(
        name for name in before.keys() & after.keys() if _comparable(before[name]) != _comparable(after[name])
    )
    parts = {
        "missing now": sorted(before.keys() - after.keys()),
        "new": sorted(after.keys() - before.keys()),
        "changed": changed,
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names) + "."
