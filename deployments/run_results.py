"""What a load test left in the results store: found by the run's id, fetched, and told as a table of markdown."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from pointsman.errors import InputRefused, NotFound

TOTALS, JUNIT = "results.json", "junit.xml"
FILES = (TOTALS, JUNIT, "report.html", "k6-summary.json")
"""What is fetched; a run that failed early has not all of them."""


class Store(Protocol):
    """A results store, for reading only."""

    def names(self, prefix: str) -> Iterator[str]: ...
    def read(self, name: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Folder:
    root: Path

    def names(self, prefix: str) -> Iterator[str]:
        for path in (self.root / prefix).rglob("*"):
            if path.is_file():
                yield path.relative_to(self.root).as_posix()

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()


@dataclass(frozen=True, slots=True)
class Bucket:
    client: Any
    bucket: str
    under: str

    def names(self, prefix: str) -> Iterator[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self.under}{prefix}"
        )
        for page in pages:
            for entry in page.get("Contents", ()):
                yield str(entry["Key"]).removeprefix(self.under)

    def read(self, name: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.bucket, Key=f"{self.under}{name}")["Body"].read()
        return content


def open_store(uri: str) -> Store:
    """`s3://bucket[/prefix]` or a folder. Raises `InputRefused` for any other scheme."""
    parsed = urlsplit(uri)
    if parsed.scheme == "s3":
        import boto3

        prefix = parsed.path.strip("/")
        return Bucket(boto3.client("s3"), parsed.netloc, f"{prefix}/" if prefix else "")
    if parsed.scheme in ("", "file"):
        return Folder(Path(parsed.path))
    raise InputRefused("POINTSMAN_RESULTS_URI", uri, "s3://bucket, s3://bucket/prefix or a folder")


def fetch(store: Store, *, environment: str, scenario: str, run_id: str, into: Path) -> str:
    """Copy the run's files into a folder and return where they lie in the store. The newest runs are looked at first.

    Raises `NotFound` when no results of this scenario in this environment are of the run.
    """
    prefix = f"{environment}/{scenario}/"
    present = set(store.names(prefix))
    for name in sorted((name for name in present if name.endswith(f"/{TOTALS}")), reverse=True):
        if json.loads(store.read(name)).get("run_id") == run_id:
            folder = name.removesuffix(f"/{TOTALS}")
            into.mkdir(parents=True, exist_ok=True)
            for file in FILES:
                if f"{folder}/{file}" in present:
                    (into / file).write_bytes(store.read(f"{folder}/{file}"))
            return folder
    raise NotFound("run", run_id, f"a run with {TOTALS} under {prefix}")


def summary(folder: Path, *, state: str, where: str, about: Mapping[str, str]) -> str:
    """The run's state, totals and checks as markdown, from the files that `fetch` wrote."""
    rows = [("state", state), *about.items(), ("results", where)]
    totals = folder / TOTALS
    if totals.is_file():
        rows += [(term, str(count)) for term, count in json.loads(totals.read_bytes())["totals"].items() if count]
    lines = ["## Load test", "", "| what | value |", "| --- | --- |", *(_row(*row) for row in rows)]
    checks = [_row(*check) for check in _checks(folder / JUNIT)]
    if checks:
        lines += ["", "| check | verdict | why |", "| --- | --- | --- |", *checks]
    return "\n".join(lines) + "\n"


def _checks(junit: Path) -> Iterator[tuple[str, str, str]]:
    if not junit.is_file():
        return
    for case in ET.parse(junit).getroot().iter("testcase"):
        failure, skipped = case.find("failure"), case.find("skipped")
        verdict = "failed" if failure is not None else "not measured" if skipped is not None else "passed"
        found = failure if failure is not None else skipped
        yield case.get("name", ""), verdict, "" if found is None else found.get("message", "")


def _row(*cells: str) -> str:
    """A row of a table; what stands in a cell cannot end it, nor begin a tag."""
    safe = (" ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(safe)} |"
