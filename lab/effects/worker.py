"""A worker process: `python -m lab.effects.worker`, JSON lines on stdin and stdout, one encode at a time.

In:  {"run": "<attempt>", "argv": [...], "output": "<path>", "deadline_s": 600.0}   start an encode
     {"stop": "<attempt>"}                                                          kill it, if it is still running
Out: {"beat": "<attempt>" | null}                                                   alive, every `beat_s` seconds
     {"done": "<attempt>", "outcome": "completed" | "failed", "reason", "wall_seconds", "cpu_seconds",
      "sha256", "bytes"}                                                            the encode ended

The end of stdin means that the backend died: the worker then kills its ffmpeg and leaves, so that nothing survives.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO


@dataclass(slots=True)
class _Encode:
    attempt: str
    output: Path
    deadline_s: float
    child: subprocess.Popen[bytes]
    complaints: BinaryIO
    started: float = field(default_factory=time.monotonic)
    stopped: str | None = None

    def stop(self, reason: str) -> None:
        self.stopped = self.stopped or reason
        # Not Popen.kill(): it would reap the child and take its CPU seconds away from the thread that waits for it.
        with suppress(ProcessLookupError):
            os.kill(self.child.pid, signal.SIGKILL)


def main() -> int:
    beat_s = float(sys.argv[1])
    # Encodes give way to whoever measures them: on a small machine they take every core there is.
    os.nice(5)
    inbox: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(inbox,), daemon=True).start()
    running: _Encode | None = None
    while True:
        try:
            message = inbox.get(timeout=beat_s)
        except queue.Empty:
            _tell({"beat": running.attempt if running else None})
            if running and time.monotonic() - running.started > running.deadline_s:
                running.stop(f"the encode took longer than {running.deadline_s:g} s")
            continue
        if "run" in message:
            running = _start(message)
            threading.Thread(target=_wait, args=(running, inbox), daemon=True).start()
        elif "stop" in message:
            if running and running.attempt == message["stop"]:
                running.stop("cancelled")
        elif "done" in message:
            running = None
            _tell(message)
        else:
            if running:
                running.stop("the backend is gone")
            return 0


def _listen(inbox: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        inbox.put(json.loads(line))
    inbox.put({"end": True})


def _tell(message: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The backend is gone; the end of stdin says so too and stops the encode.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - stands in for a stream that lives as long as the process


def _start(message: dict[str, Any]) -> _Encode:
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - read by the thread that waits for the child
    child = subprocess.Popen(
        message["argv"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=complaints,
        env={"PATH": os.defpath, "SVT_LOG": "1"},
    )
    return _Encode(message["run"], Path(message["output"]), float(message["deadline_s"]), child, complaints)


def _wait(encode: _Encode, inbox: queue.Queue[dict[str, Any]]) -> None:
    _, status, usage = os.wait4(encode.child.pid, 0)
    wall = time.monotonic() - encode.started
    encode.child.returncode = os.waitstatus_to_exitcode(status)
    done: dict[str, Any] = {
        "done": encode.attempt,
        "outcome": "failed",
        "reason": None,
        "wall_seconds": wall,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "sha256": None,
        "bytes": None,
    }
    if encode.stopped:
        done["reason"] = encode.stopped
    elif encode.child.returncode != 0:
        done["reason"] = _last_words(encode)
    else:
        with encode.output.open("rb") as file:
            done["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        done["bytes"] = encode.output.stat().st_size
        done["outcome"] = "completed"
    encode.complaints.close()
    if done["outcome"] == "failed":
        encode.output.unlink(missing_ok=True)
    inbox.put(done)


def _last_words(encode: _Encode) -> str:
    encode.complaints.seek(0, os.SEEK_END)
    encode.complaints.seek(max(0, encode.complaints.tell() - 400))
    said = " ".join(encode.complaints.read().decode(errors="replace").split())
    return f"ffmpeg ended with {encode.child.returncode}: {said or 'no message'}"


if __name__ == "__main__":
    sys.exit(main())
