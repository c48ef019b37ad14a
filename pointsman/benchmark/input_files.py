"""The user's own files as inputs: named one by one, found in folders, or listed in a manifest; checked and copied.

A manifest is a TOML file. What stands at its top holds for every file; files lie where it says, seen from its folder:

    data_classes = ["region:eu"]

    [[input]]
    file = "stadium/crowd.mp4"
    cluster = "stadium"
    data_classes = ["faces"]
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pointsman.benchmark.clips import refuse_unreadable
from pointsman.data_classes import data_classes
from pointsman.errors import InputRefused
from pointsman.ids import check_id
from pointsman.storage.results import sha256_file

_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
_MOST = 10_000


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


class _Listed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(min_length=1)]
    id: _Id | None = None
    cluster: _Id | None = None
    data_classes: tuple[str, ...] = ()
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$")] = None


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    data_classes: tuple[str, ...] = ()
    input: Annotated[tuple[_Listed, ...], Field(min_length=1, max_length=_MOST)]


def named_files(paths: Sequence[Path], *, data_classes: Sequence[str] = ()) -> tuple[InputFile, ...]:
    """Files by their paths, and those in folders; all of them have these data classes.

    Each is independent of the others, but for the files in one folder within a folder, which count as cut from the same
    source. Files whose name begins with a dot are left out. Raises `InputRefused` for a folder without any.
    """
    found: list[InputFile] = []
    for path in paths:
        if not path.is_dir():
            name = legal_id(path.stem)
            found.append(InputFile(path, cluster=name, input_id=name, data_classes=tuple(data_classes)))
            continue
        within = [one for one in sorted(path.rglob("*")) if one.is_file() and not _is_hidden(one.relative_to(path))]
        if not within:
            raise InputRefused("input files", str(path), "a folder that holds files")
        for one in within:
            folder, *rest = one.relative_to(path).with_suffix("").parts
            name = legal_id("-".join((folder, *rest)))
            cluster = legal_id(folder) if rest else name
            found.append(InputFile(one, cluster=cluster, input_id=name, data_classes=tuple(data_classes)))
    return tuple(found)


def listed_files(manifest: Path, *, data_classes: Sequence[str] = ()) -> tuple[InputFile, ...]:
    """The files of a manifest; all of them have `data_classes` besides what it says.

    Raises `InputRefused` for a manifest that cannot be read, or says anything else than the fields above, and for a
    file that has not the sha256 that it says.
    """
    try:
        read = _Manifest.model_validate(tomllib.loads(manifest.read_text()))
    except OSError as error:
        raise InputRefused("manifest", str(manifest), "a file that can be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputRefused("manifest", str(manifest), f"a TOML file ({error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        raise InputRefused(f"manifest {manifest}, {place}", first["input"], first["msg"]) from error
    found = []
    for one in read.input:
        path = manifest.parent / one.file
        if one.sha256 is not None and path.is_file() and (actual := sha256_file(path)) != one.sha256:
            raise InputRefused(
                f"manifest {manifest}, sha256 of {one.file}", one.sha256, f"{actual}, which the file has"
            )
        name = one.id or legal_id(path.stem)
        classes = tuple(sorted({*data_classes, *read.data_classes, *one.data_classes}))
        found.append(InputFile(path, cluster=one.cluster or name, input_id=name, data_classes=classes))
    return tuple(found)


def import_inputs(inputs_root: Path, files: Sequence[InputFile]) -> tuple[InputFile, ...]:
    """Copy the files to `<inputs_root>/<sha256><suffix>`, where they stay whatever becomes of the user's own.

    A copy that is there already is kept. Raises as `checked_files` does, before anything is copied.
    """
    checked = checked_files(files)
    return tuple(replace(file, path=_copied(inputs_root, file.path, sha256)) for file, sha256 in checked)


def checked_files(files: Sequence[InputFile]) -> list[tuple[InputFile, str]]:
    """The files with their ids, absolute paths and ordered data classes, each with the sha256 of its content.

    Raises `InputRefused` for a missing, empty or unreadable file, for what is no data class, for a malformed id, and
    for an id or a content that comes twice.
    """
    if not files:
        raise InputRefused("input set files", [], "at least one file")
    named = [
        InputFile(
            file.path.absolute(),
            check_id("cluster", file.cluster),
            check_id("input id", file.input_id or legal_id(file.path.stem)),
            data_classes(f"data class of {file.path}", file.data_classes),
        )
        for file in files
    ]
    _refuse_repeated("input id", [str(file.input_id) for file in named], named)
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        list(pool.map(refuse_unreadable, [file.path for file in named]))
        hashes = list(pool.map(sha256_file, [file.path for file in named]))
    _refuse_repeated("input content", hashes, named)
    return list(zip(named, hashes, strict=True))


def legal_id(text: str) -> str:
    """The text as an id: what may not be in one becomes `-`, and it ends after 64 characters."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:64]


def _copied(root: Path, path: Path, sha256: str) -> Path:
    copy = root.absolute() / f"{sha256}{path.suffix.lower()}"
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
    return copy


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _refuse_repeated(what: str, values: Sequence[str], files: Sequence[InputFile]) -> None:
    value, times = Counter(values).most_common(1)[0]
    if times > 1:
        shared = [str(file.path) for file, own in zip(files, values, strict=True) if own == value]
        raise InputRefused(what, value, f"each only once in a set, but {' and '.join(shared)} share it")
