"""The driver's process: `python -m pointsman.dispatch.child DRIVE_DIR`, started by `drive`.

SIGTERM cancels the drive, and so does an order in its folder. The end of standard input means that the parent is gone:
the process stops within a second and leaves the drive to be continued. Secrets come in the environment. The exit code
says how it ended.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import select
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pointsman.clock import SystemClock
from pointsman.dispatch.closing import SUMMARY, close_drive
from pointsman.dispatch.downloads import Downloads
from pointsman.dispatch.driver import Driver, Ending
from pointsman.dispatch.durable import replace_file, sole_process
from pointsman.dispatch.edges import MachineTicks, ThreadDisk
from pointsman.dispatch.masking import Mask
from pointsman.dispatch.orders import CONFIRM_CLAIMS, Start, cancel_ordered, confirmed_claim, read_start
from pointsman.dispatch.plan import read_header
from pointsman.dispatch.reading import STATUS, read_status
from pointsman.dispatch.recording import rehearse
from pointsman.dispatch.status import Phase
from pointsman.dispatch.targets import AsyncJobTarget
from pointsman.dispatch.targets.credentials import secret_variables, target_headers
from pointsman.dispatch.transcript import Transcript
from pointsman.dispatch.transport import HttpTransport
from pointsman.dispatch.waiting import ExactSelector
from pointsman.errors import DependencyDown, PointsmanError
from pointsman.settings import Secret

EXIT_CODES: dict[Ending, int] = {"completed": 0, "cancelled": 0, "target_lost": 75, "interrupted": 76}
REFUSED = 70
"""The last line of standard error is the error as JSON."""
_ORPHAN_WAIT_S = 10.0
_SWITCH_EVERY_S = 0.0005
"""The disk thread must give the interpreter back sooner than the lateness that is allowed."""
_LOOK_EVERY_S = 0.1
"""For orders."""
_COLLECT_AFTER = 400_000
"""Objects made since the last collection; one of this size takes some milliseconds."""


def main(drive_dir: Path, *, confirm_claims: bool = False) -> int:
    try:
        with sole_process(drive_dir, wait_s=_ORPHAN_WAIT_S, clock=SystemClock()):
            if (drive_dir / SUMMARY).is_file():
                return 0
            sys.setswitchinterval(_SWITCH_EVERY_S)
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # every request in flight is a connection
            start = None
            if read_header(drive_dir).shared_start:
                start = _await_start(drive_dir)
                if start is None and not cancel_ordered(drive_dir):
                    return EXIT_CODES["interrupted"]
            with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(ExactSelector())) as runner:
                ending = runner.run(_drive(drive_dir, start, confirm_claims))
            if ending in ("completed", "cancelled"):
                _say(drive_dir, "closing")
                _free_the_driver()
                close_drive(drive_dir, "completed" if ending == "completed" else "cancelled")
            return EXIT_CODES[ending]
    except OSError as error:
        _tell(
            DependencyDown(
                f"The drive folder cannot be written: {error.strerror}.",
                instruction=f"Make room, or make it writable: ls -ld {drive_dir}",
                code="drive_folder",
            )
        )
        return REFUSED
    except PointsmanError as error:
        _tell(error)
        return REFUSED


def _await_start(drive_dir: Path) -> Start | None:
    """The order to start; None when the drive is cancelled before, or nobody is left to give it."""
    while not cancel_ordered(drive_dir):
        start = read_start(drive_dir)
        if start is not None:
            return start
        _say(drive_dir, "waiting")
        if select.select([0], [], [], _LOOK_EVERY_S)[0] and not os.read(0, 4096):
            return None
    return None


def _say(drive_dir: Path, phase: Phase) -> None:
    """A word from outside of the driver: that this process is there, and what it is at."""
    told = read_status(drive_dir).model_copy(update={"phase": phase, "at": datetime.now(UTC)})
    replace_file(drive_dir / STATUS, told.model_dump_json().encode())


def _tell(error: PointsmanError) -> None:
    """Standard error is how the parent hears of it."""
    print(json.dumps(error.as_told()), file=sys.stderr)  # noqa: T201


async def _drive(drive_dir: Path, start: Start | None, confirm_claims: bool) -> Ending:
    header = read_header(drive_dir)
    preset = header.target.open_preset()
    target = AsyncJobTarget(preset)
    secrets = {name: Secret(value) for name in secret_variables(preset) if (value := os.environ.pop(name, None))}
    headers = target_headers(preset, secrets)
    timeout_s = max(header.limits.request_timeout_s, target.capabilities.answer_within_s or 0.0)
    transport = HttpTransport(header.target.base_url, headers=headers, mask=Mask(secrets.values()), timeout_s=timeout_s)
    downloads = Downloads(header.target, preset.outputs, headers=headers, timeout_s=header.limits.request_timeout_s)
    driver = Driver(
        drive_dir,
        target=target,
        transport=Transcript(transport, drive_dir) if header.keep_answers else transport,
        downloads=downloads,
        disk=ThreadDisk(),
        ticks=MachineTicks(),
        start=start,
        confirmed=partial(confirmed_claim, drive_dir) if confirm_claims else None,
    )
    if cancel_ordered(drive_dir):
        driver.stop("cancelled")
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, driver.stop, "cancelled")

    def parent_spoke() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            driver.stop("interrupted")

    loop.add_reader(0, parent_spoke)
    rehearse(drive_dir)
    # Nothing that exists now will ever be garbage; collections in the middle of sending make it late.
    gc.collect()
    gc.freeze()
    gc.disable()
    beside = [asyncio.create_task(_collect_garbage()), asyncio.create_task(_obey(drive_dir, driver))]
    try:
        return await driver.run()
    finally:
        for task in beside:
            task.cancel()
        loop.remove_reader(0)
        downloads.close()
        await transport.close()


async def _obey(drive_dir: Path, driver: Driver) -> None:
    """Cancel the drive when that is ordered."""
    while not cancel_ordered(drive_dir):
        await asyncio.sleep(_LOOK_EVERY_S)
    driver.stop("cancelled")


def _free_the_driver() -> None:
    """A driver of a million dispatches holds memory that closing needs."""
    gc.unfreeze()
    gc.enable()
    gc.collect()


async def _collect_garbage() -> None:
    """When there is much of it."""
    while True:
        await asyncio.sleep(1.0)
        if gc.get_count()[0] > _COLLECT_AFTER:
            gc.collect(0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), confirm_claims=CONFIRM_CLAIMS in sys.argv[2:]))
