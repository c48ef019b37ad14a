"""A driver rehearses before it sends: that leaves no trace, and finds out early that nothing can be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointsman.dispatch.recording import rehearse


def test_a_rehearsal_leaves_the_drive_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{}")
    rehearse(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_drive_that_cannot_be_written_is_found_out_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        rehearse(tmp_path / "gone")
