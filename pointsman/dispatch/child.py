"""The driver's process: `python -m pointsman.dispatch.child DRIVE_DIR`, started by `drive`.

SIGTERM cancels the drive. The end of standard input means that the parent is gone: the process stops within a second
and leaves the drive to be continued. Secrets come in the environment. The exit code says how it ended.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import sys
from pathlib import Path

from pointsman.clock import SystemClock
from pointsman.dispatch.closing import SUMMARY, close_drive
from pointsman.dispatch.downloads import Downloads
from pointsman.dispatch.driver import Driver, Ending
from pointsman.dispatch.durable import sole_process
from pointsman.dispatch.edges import MachineTicks, ThreadDisk
from pointsman.dispatch.masking import Mask
from pointsman.dispatch.plan import read_header
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
_COLLECT_AFTER = 400_000
"""Objects made since the last collection; one of this size takes some milliseconds."""


def main(drive_dir: Path) -> int:
    try:
        with sole_process(drive_dir, wait_s=_ORPHAN_WAIT_S, clock=SystemClock()):
            if (drive_dir / SUMMARY).is_file():
                return 0
            sys.setswitchinterval(_SWITCH_EVERY_S)
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # every request in flight is a connection
            with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(ExactSelector())) as runner:
                ending = runner.run(_drive(drive_dir))
            if ending in ("completed", "cancelled"):
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


def _tell(error: PointsmanError) -> None:
    """Standard error is how the parent hears of it."""
    print(json.dumps({"kind": type(error).__name__, **error.as_failure()}), file=sys.stderr)  # noqa: T201


async def _drive(drive_dir: Path) -> Ending:
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
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, driver.stop, "cancelled")

    def parent_spoke() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            driver.stop("interrupted")

    loop.add_reader(0, parent_spoke)
    # Nothing that exists now will ever be garbage; collections in the middle of sending make it late.
    gc.collect()
    gc.freeze()
    gc.disable()
    collecting = asyncio.create_task(_collect_garbage())
    try:
        return await driver.run()
    finally:
        collecting.cancel()
        loop.remove_reader(0)
        await transport.close()


async def _collect_garbage() -> None:
    """When there is much of it."""
    while True:
        await asyncio.sleep(1.0)
        if gc.get_count()[0] > _COLLECT_AFTER:
            gc.collect(0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
