"""On ECS nobody sees another's disk: what lies on one is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.errors import InputRefused
from pointsman.settings import Settings, load_settings, require_shared

SHARED = {"database_url": "postgresql+psycopg://u:word-4410@db/p", "results_uri": "s3://bucket/prefix"}


def settings(tmp_path: Path, **changes: str) -> Settings:
    return load_settings({}, home=tmp_path, **{**SHARED, **changes})


def test_a_shared_database_and_a_bucket_will_do(tmp_path: Path) -> None:
    require_shared(settings(tmp_path))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("database_url", "sqlite:////srv/p.db"),
        ("database_url", "sqlite+pysqlite:///p.db"),
        ("results_uri", "/srv/results"),
        ("results_uri", "file:///srv/results"),
        ("results_uri", "s3://"),
    ],
)
def test_what_lies_on_a_disk_is_refused_by_its_setting(field: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=f"POINTSMAN_{field.upper()}.*on ECS") as refused:
        require_shared(settings(tmp_path, **{field: value}))
    assert refused.value.code == "not_shared"
    assert "word-4410" not in str(refused.value)


def test_the_defaults_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"'sqlite:\.\.\.'"):
        require_shared(load_settings({}, home=tmp_path))
