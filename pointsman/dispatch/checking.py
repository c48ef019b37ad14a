"""Trying a target out: one job, and what the preset's mappings made of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pointsman.dispatch.parent import drive
from pointsman.dispatch.plan import DriveInput, DrivePlan, Limits, planned_dispatches, write_drive
from pointsman.dispatch.reading import read_attempts, read_dispatches
from pointsman.dispatch.targets import TargetSpec
from pointsman.model import InputMember, Variant
from pointsman.settings import Secret

_REPORTED = ("state", "reason", "job_id", "variant", "generation", "queue_ms", "run_ms", "total_ms")
_OUTPUT = ("output_uri", "output_sha256", "output_bytes")


def check_target(
    drive_dir: Path,
    target: TargetSpec,
    variant: Variant,
    member: InputMember,
    *,
    secret: Secret | None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Mapping[str, object]:
    """Send one job, fetch its output, and say what was understood, mapping by mapping; None = not reported.

    Raises what `drive` raises.
    """
    route = str(variant.id)
    capabilities = target.build().capabilities
    limits = Limits(max_in_flight=1, fetch_outputs=capabilities.batch_status > 0, target_patience_s=5.0)
    plan = DrivePlan(
        run_id=f"check-{drive_dir.name}"[:64],
        target=target,
        variants={route: variant.params},
        inputs={member.input_id: DriveInput.of(member)},
        dispatches=planned_dispatches(route=route, input_id=member.input_id),
        limits=limits,
    )
    write_drive(drive_dir, plan)
    drive(drive_dir, secret=secret, cancelled=cancelled)
    row = read_dispatches(drive_dir).row(0, named=True)
    attempts = read_attempts(drive_dir)
    usage = {sku: quantity for sku, quantity in attempts.select("sku", "quantity").iter_rows() if sku is not None}
    return {
        **{name: row[name] for name in (*_REPORTED, *_OUTPUT)},
        "attempts": attempts["number"].n_unique(),
        "usage": ", ".join(f"{sku} {quantity}" for sku, quantity in usage.items()) or None,
    }
