"""One child: it ends by itself, in time, on request, or with its parent; and never leaves anything behind."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path

import pytest

from pointsman.processes import ChildResult, supervise


def python(code: str, **other: object) -> ChildResult:
    given: dict[str, object] = {"env": dict(os.environ), "deadline_s": 20.0} | other
    return supervise([sys.executable, "-c", code], **given)  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    """Whether it has ended; a process that was just killed is given the moment that its end takes."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], 10.0)[0])
    finally:
        os.close(handle)


def wait_for(path: Path) -> str:
    give_up = time.monotonic() + 10
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return path.read_text()


def test_a_child_that_ends_tells_its_exit_code_and_its_last_words() -> None:
    ticks: list[int] = []
    result = python(
        "import sys; print('\\n'.join(str(i) for i in range(1000)), file=sys.stderr); sys.exit(3)",
        on_tick=lambda: ticks.append(1),
    )
    assert (result.exit_code, result.ended) == (3, "exited")
    assert result.stderr_tail.splitlines()[-1] == "999"
    assert len(result.stderr_tail.splitlines()) == 40
    assert ticks


def test_only_the_given_environment_reaches_the_child() -> None:
    result = python("import os, sys; print(sorted(os.environ), file=sys.stderr)", env={"ONLY": "this"})
    assert "'ONLY'" in result.stderr_tail
    assert "'PATH'" not in result.stderr_tail


def test_a_cancelled_child_may_say_good_bye(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        "import signal, sys, time, pathlib\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        f"pathlib.Path({str(ready)!r}).write_text('yes')\n"
        "time.sleep(60)"
    )
    result = python(code, cancelled=ready.exists)
    assert (result.exit_code, result.ended) == (5, "cancelled")


def test_a_child_that_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    began = time.monotonic()
    result = python(code, deadline_s=0.5, grace_s=0.3)
    assert result.ended == "deadline"
    assert result.exit_code == -signal.SIGKILL
    assert time.monotonic() - began < 5


def test_grandchildren_do_not_outlive_the_child(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(child.pid))"
    )
    assert python(code).exit_code == 0
    assert gone(int(pid.read_text()))


def test_an_exception_here_closes_the_childs_input_so_that_it_can_stop_in_order(tmp_path: Path) -> None:
    pid, last = tmp_path / "pid", tmp_path / "last"
    code = (
        "import os, sys, pathlib\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "sys.stdin.read()\n"
        f"pathlib.Path({str(last)!r}).write_text('in order')"
    )

    def interrupt() -> None:
        if pid.exists() and pid.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        python(code, on_tick=interrupt)
    assert last.read_text() == "in order"
    assert gone(int(pid.read_text()))


def test_an_exception_here_ends_even_a_child_that_does_not_watch_its_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pointsman.processes.supervision._FAREWELL_S", 0.1)
    pid = tmp_path / "pid"
    code = (
        "import os, time, pathlib\n" + f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n" + "time.sleep(60)"
    )

    def fail() -> None:
        if pid.exists() and pid.read_text():
            raise RuntimeError("the watcher broke")

    with pytest.raises(RuntimeError, match="broke"):
        python(code, on_tick=fail)
    assert gone(int(wait_for(pid)))
