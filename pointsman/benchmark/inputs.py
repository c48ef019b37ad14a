"""Input sets: named, content-addressed lists of files, each readable, hashed and assigned to a cluster (its source).

A file has the data classes that any set says of its content: who registers it once more and forgets one, or learns of
one later, changes nothing about who may be given it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from pointsman.benchmark.input_files import InputFile, checked_files
from pointsman.canonical import sha256_of
from pointsman.errors import Conflict, NotFound
from pointsman.ids import check_id
from pointsman.model import InputMember, InputSet
from pointsman.storage import insert_absent, local_path, tables
from pointsman.workspace import Workspace

_SETS = tables.input_sets


def register_input_set(ws: Workspace, set_id: str, files: Sequence[InputFile]) -> InputSet:
    """Check, hash and register `files` as the input set `set_id`; the same content again is answered alike.

    The set's sha256 covers ids, hashes, sizes, clusters and data classes of its members but not their places, so files
    that moved are still the same set, and the new places are kept. A results store that machines share takes the files
    in, as `inputs/<sha256><suffix>`. Raises, before anything is written, `InputRefused` as `checked_files` does, and
    `Conflict` when the id stands for other content.
    """
    check_id("input set id", set_id)
    members = sorted((_member(*one) for one in checked_files(files)), key=lambda member: member.input_id)
    identity = [{name: value for name, value in _row(member).items() if name != "uri"} for member in members]
    sha256 = sha256_of(identity)
    members = [_taken_in(ws, member) for member in members]
    stored_members = [_row(member) for member in members]
    row = {"id": set_id, "sha256": sha256, "members": stored_members, "created_at": ws.clock.now()}
    with ws.database.begin() as connection:
        if not insert_absent(connection, _SETS, [row]):
            registered = connection.execute(sa.select(_SETS).where(_SETS.c.id == set_id)).one()
            if registered.sha256 != sha256:
                raise Conflict(
                    f"Input set {set_id} is registered with other content: {_difference(registered.members, identity)}",
                    instruction="Register the changed files under another id: measurements keep the set they used.",
                )
            connection.execute(sa.update(_SETS).where(_SETS.c.id == set_id).values(members=stored_members))
    return input_set(ws, set_id)


def input_set(ws: Workspace, set_id: str) -> InputSet:
    """The registered input set, its files at hand on this machine.

    Raises `NotFound` naming the sets that exist, and what `ws.results.local` raises for a file that cannot be had.
    """
    row, members = _registered(ws, set_id)
    return InputSet(row.id, tuple(_at_hand(ws, member) for member in members), row.sha256)


def inputs_named(ws: Workspace, set_id: str, names: Collection[str]) -> tuple[InputMember, ...]:
    """The members of these ids, their files at hand. Raises as `input_set` does."""
    _, members = _registered(ws, set_id, names)
    return tuple(_at_hand(ws, member) for member in members)


def list_input_sets(ws: Workspace) -> list[InputSet]:
    """Every registered input set by id, its files wherever they are."""
    with ws.database.begin() as connection:
        rows = connection.execute(sa.select(_SETS).order_by(_SETS.c.id)).all()
        known = known_classes(connection, [member["sha256"] for row in rows for member in row.members])
    return [InputSet(row.id, tuple(_read(member, known) for member in row.members), row.sha256) for row in rows]


def known_classes(connection: sa.Connection, contents: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """By sha256 of a content that has any: its data classes in all input sets together."""
    wanted = set(contents)
    classified = sa.select(_SETS.c.members).where(sa.cast(_SETS.c.members, sa.Text).contains('"data_classes"'))
    found: dict[str, set[str]] = defaultdict(set)
    for members in connection.execute(classified).scalars():
        for member in members:
            if member["sha256"] in wanted:
                found[member["sha256"]].update(member.get("data_classes", ()))
    return {sha256: tuple(sorted(words)) for sha256, words in found.items() if words}


def _registered(
    ws: Workspace, set_id: str, names: Collection[str] | None = None
) -> tuple[sa.Row[Any], list[InputMember]]:
    with ws.database.begin() as connection:
        row = connection.execute(sa.select(_SETS).where(_SETS.c.id == set_id)).one_or_none()
        if row is None:
            known = connection.execute(sa.select(_SETS.c.id).order_by(_SETS.c.id)).scalars().all()
            raise NotFound("input set", set_id, ", ".join(known) or "none is registered yet")
        wanted = [member for member in row.members if names is None or member["input_id"] in names]
        classes = known_classes(connection, [member["sha256"] for member in wanted])
    return row, [_read(member, classes) for member in wanted]


def _read(row: Mapping[str, Any], known: Mapping[str, tuple[str, ...]]) -> InputMember:
    return InputMember(**{**row, "data_classes": known.get(row["sha256"], ())})


def _member(file: InputFile, sha256: str) -> InputMember:
    return InputMember(
        input_id=str(file.input_id),
        uri=file.path.as_uri(),
        sha256=sha256,
        bytes=file.path.stat().st_size,
        cluster=file.cluster,
        data_classes=file.data_classes,
    )


def _row(member: InputMember) -> dict[str, Any]:
    """Without classes where it has none: sets were registered, and hashed, before there were any."""
    row = {name: value for name, value in asdict(member).items() if name not in ("copy_here", "data_classes")}
    return {**row, "data_classes": list(member.data_classes)} if member.data_classes else row


def _taken_in(ws: Workspace, member: InputMember) -> InputMember:
    path = local_path(member.uri)
    taken = ws.results.take_in(path, f"inputs/{member.sha256}{path.suffix.lower()}")
    return _at_hand(ws, replace(member, uri=taken.uri))


def _at_hand(ws: Workspace, member: InputMember) -> InputMember:
    if urlsplit(member.uri).scheme in ("", "file"):
        return member
    return replace(member, copy_here=str(ws.results.local(member.uri)))


def _comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "data_classes": tuple(row.get("data_classes", ())), "uri": None}


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
