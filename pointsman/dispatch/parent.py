"""Carrying out a drive in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pointsman
from pointsman.clock import Clock, SystemClock
from pointsman.dispatch.orders import CONFIRM_CLAIMS
from pointsman.dispatch.plan import DriveHeader, cancelling_s, drain_s, read_header, read_planned, schedule_length_s
from pointsman.dispatch.reading import STATUS, read_live_status, read_summary
from pointsman.dispatch.settling import settle_cancelled
from pointsman.dispatch.status import DriveStatus, DriveSummary
from pointsman.dispatch.targets.credentials import EXECUTOR_VARIABLE, secret_variables
from pointsman.errors import DependencyDown, PointsmanError, RunFailed, error_told
from pointsman.processes import ChildResult, supervise
from pointsman.settings import Secret, require_credential

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR")
_TARGET_LOST, _INTERRUPTED, _REFUSED = 75, 76, 70
_MARGIN_S = 60.0
_GOOD_BYE_S = 5.0
_DEAF_LIMIT_S = 15.0
_AGAIN = "Run the same command again: it continues where this one stopped."


def drive(
    drive_dir: Path,
    *,
    secret: Secret | None,
    cancelled: Callable[[], bool] = lambda: False,
    on_status: Callable[[DriveStatus], None] = lambda status: None,
    clock: Clock | None = None,
) -> DriveSummary:
    """Dispatch what the folder's plan says and return when every dispatch has ended; a closed drive returns at once.

    `cancelled` is asked several times a second: when it says so, jobs in flight are ended at the target and the drive
    closes with outcome `cancelled`. After any interruption, a kill included, the same call continues.

    Raises `DependencyDown` (code `target_lost`: out of reach for longer than the plan's patience), `Conflict` (another
    process dispatches it), `InputRefused` (no secret for a target that needs one), `RunFailed` (the process died), or
    `DataCheckFailed` (the numbers do not add up).
    """
    clock = clock or SystemClock()
    summary = read_summary(drive_dir)
    if summary is not None:
        return summary
    header = read_header(drive_dir)
    last: DriveStatus | None = None
    began = clock.monotonic()
    (drive_dir / STATUS).unlink(missing_ok=True)

    def tick() -> None:
        nonlocal last
        found = read_live_status(drive_dir)
        if found is not None and found != last:
            last = found
            on_status(found)

    def cancelled_and_heard() -> bool:
        # Before its first report the child does not listen yet, and would die without ending jobs at the target.
        return cancelled() and (last is not None or clock.monotonic() - began > _DEAF_LIMIT_S)

    result = supervise(
        argv(drive_dir),
        env=environment(header, secret),
        deadline_s=deadline_s(drive_dir, header),
        cancelled=cancelled_and_heard,
        on_tick=tick,
        grace_s=good_bye_s(header),
        clock=clock,
    )
    summary = read_summary(drive_dir)
    if summary is not None:
        return summary
    if result.ended == "cancelled":
        # It was killed before it could say good-bye to the target.
        return settle_cancelled(drive_dir, clock=clock)
    raise error_of(header, result)


def argv(drive_dir: Path, *, confirm_claims: bool = False) -> list[str]:
    """The command of a drive's child."""
    command = [sys.executable, "-m", "pointsman.dispatch.child", str(drive_dir.absolute())]
    return [*command, CONFIRM_CLAIMS] if confirm_claims else command


def environment(header: DriveHeader, secret: Secret | None) -> Mapping[str, str]:
    """What the child may know: where Python is, and the secrets that the target's preset asks for."""
    environment = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith(("PYTHON", "COV_"))
    }
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(pointsman.__file__).parent.parent), os.environ.get("PYTHONPATH")])
    )
    # One thread is enough for small files, and leaves the other cores to the sending loop and the target.
    environment["POLARS_MAX_THREADS"] = "1"
    for variable in secret_variables(header.target.open_preset()):
        given = secret if variable == EXECUTOR_VARIABLE else None
        environment[variable] = require_credential(
            variable, f"the secret of target {header.target.name}", given=given
        ).reveal()
    return environment


def deadline_s(drive_dir: Path, header: DriveHeader) -> float | None:
    """When the child must have ended, whatever happens; None for a closed loop, which its own stall rule bounds."""
    length = schedule_length_s(read_planned(drive_dir))
    limits = header.limits
    if length == float("inf"):
        return None
    capabilities = header.target.build().capabilities
    answer_s = max(limits.request_timeout_s, capabilities.answer_within_s or 0.0)
    waits_s = 2 * drain_s(limits, capabilities) + 2 * answer_s + limits.target_patience_s
    return length + waits_s + good_bye_s(header) + _MARGIN_S


def good_bye_s(header: DriveHeader) -> float:
    """How long the child may take to end its jobs at the target, once it is told to."""
    jobs = min(header.limits.max_in_flight, header.planned)
    return _GOOD_BYE_S + cancelling_s(header.limits, header.target.build().capabilities, jobs)


def error_of(header: DriveHeader, result: ChildResult) -> PointsmanError:
    """Why a child ended without having closed its drive."""
    target = header.target
    if result.exit_code == _TARGET_LOST:
        return DependencyDown(
            f"Target {target.name} at {target.base_url} was out of reach for {header.limits.target_patience_s:g} s.",
            instruction=f"Bring it back, then: {_AGAIN}",
            code="target_lost",
        )
    if result.exit_code == _INTERRUPTED:
        return RunFailed("The dispatch driver was interrupted.", instruction=_AGAIN, code="driver_interrupted")
    if result.exit_code == _REFUSED:
        try:
            return error_told(json.loads(result.stderr_tail.strip().splitlines()[-1]))
        except (ValueError, KeyError, IndexError):
            pass  # it did not get as far as writing its last line
    if result.ended == "deadline":
        return RunFailed("The dispatch driver did not end in time.", instruction=_AGAIN, code="driver_stuck")
    return RunFailed(
        f"The dispatch driver died (exit code {result.exit_code}).",
        instruction=_AGAIN,
        code="driver_died",
        stderr=result.stderr_tail,
    )
