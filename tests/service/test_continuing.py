"""The same command continues the run it was interrupted in, and starts a new one when that has ended."""

import pytest

from pointsman.errors import DependencyDown, RunFailed
from service.cli.continuing import run_to_continue

ASKED = {"input_set": "clips", "repeats": 2}


def ids(home, asked=ASKED, command="compare"):
    with run_to_continue(home, command, asked) as run_id:
        pass
    return run_id


def interrupted(home, error):
    with pytest.raises(type(error)), run_to_continue(home, "compare", ASKED) as run_id:
        raise error
    return run_id


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DependencyDown("gone"), SystemExit(1)], ids=repr)
def test_what_was_interrupted_is_continued(tmp_path, error):
    first = interrupted(tmp_path, error)
    assert ids(tmp_path, {**ASKED, "repeats": 3}) != first
    assert ids(tmp_path, command="benchmark") != first
    assert ids(tmp_path) == first


def test_what_has_ended_is_not(tmp_path):
    assert ids(tmp_path) != ids(tmp_path)
    assert interrupted(tmp_path, RunFailed("no")) != ids(tmp_path)


def test_a_run_that_is_named_is_that_run_and_leaves_nothing_behind(tmp_path):
    with run_to_continue(tmp_path, "compare", ASKED, given="mine") as run_id:
        assert run_id == "mine"
    assert list(tmp_path.iterdir()) == []
