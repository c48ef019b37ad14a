"""Checks as JUnit XML, which every CI system shows: one suite, a test case per check.

It keeps to what the two schemas in use have in common: Jenkins's `jenkins-junit.xsd` and Windy Road's `JUnit.xsd`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class TestCase:
    """One check. At most one of `failure` and `skipped` says why it did not pass."""

    __test__ = False  # not one of pytest's

    group: str
    name: str
    failure: str | None = None
    skipped: str | None = None


def to_junit(
    cases: Sequence[TestCase],
    *,
    suite: str,
    package: str,
    at: datetime,
    host: str,
    seconds: float,
    about: Mapping[str, str],
) -> str:
    """The document. `about` becomes the suite's properties, `at` the time at which the suite began."""
    numbers = {
        "tests": str(len(cases)),
        "failures": str(sum(case.failure is not None for case in cases)),
        "errors": "0",
        "time": f"{seconds:.3f}",
    }
    skipped = str(sum(case.skipped is not None for case in cases))
    root = ET.Element("testsuites", {"name": _legal(suite), **numbers})
    holder = ET.SubElement(
        root,
        "testsuite",
        {
            "id": "0",
            "name": _legal(suite),
            "package": _legal(package),
            "timestamp": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "hostname": _legal(host),
            **numbers,
            "skipped": skipped,
        },
    )
    properties = ET.SubElement(holder, "properties")
    for name, value in about.items():
        ET.SubElement(properties, "property", {"name": _legal(name), "value": _legal(value)})
    for case in cases:
        names = {"name": _legal(case.name), "classname": _legal(f"{package}.{case.group}"), "time": "0.000"}
        element = ET.SubElement(holder, "testcase", names)
        if case.failure is not None:
            failure = ET.SubElement(element, "failure", {"message": _legal(case.failure), "type": case.group})
            failure.text = _legal(case.failure)
        elif case.skipped is not None:
            ET.SubElement(element, "skipped", {"message": _legal(case.skipped)})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _legal(text: str) -> str:
    """`text` without the characters that no XML document may hold."""
    return _NOT_XML.sub("\ufffd", text)
