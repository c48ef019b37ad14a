"""Trying a target out: one job, what was understood of its answers, and which part of the preset does not fit them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pointsman.dispatch.parent import drive
from pointsman.dispatch.plan import DriveInput, DrivePlan, Limits, planned_dispatches, write_drive
from pointsman.dispatch.protocol import Capabilities
from pointsman.dispatch.reading import read_attempts, read_dispatches
from pointsman.dispatch.targets import TargetSpec
from pointsman.dispatch.targets.explaining import Finding, explain
from pointsman.dispatch.targets.preset import Preset
from pointsman.dispatch.transcript import read_answers
from pointsman.model import InputMember, Variant
from pointsman.settings import Secret

_REPORTED = ("state", "reason", "job_id", "variant", "version", "generation", "queue_ms", "run_ms", "total_ms")
_OUTPUT = ("output_uri", "output_sha256", "output_bytes")
_LONGEST_JOB_S = 600.0


@dataclass(frozen=True, slots=True)
class TargetCheck:
    found: Mapping[str, object]
    """What was understood, by name; None = not reported."""
    findings: tuple[Finding, ...]
    """What does not fit, in the order in which it was met, each once."""


def check_target(
    drive_dir: Path,
    target: TargetSpec,
    variant: Variant,
    member: InputMember,
    *,
    secret: Secret | None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TargetCheck:
    """Send one job, fetch its output, and say what was understood and what was not.

    A job whose state cannot be read is cancelled at once. Raises what `drive` raises.
    """
    route = str(variant.id)
    preset = target.open_preset()
    capabilities = target.build().capabilities
    plan = DrivePlan(
        run_id=f"check-{drive_dir.name}"[:64],
        target=target,
        variants={route: variant.params},
        inputs={member.input_id: DriveInput.of(member)},
        dispatches=planned_dispatches(route=route, input_id=member.input_id),
        limits=Limits(max_in_flight=1, fetch_outputs=True, target_patience_s=5.0, drain_limit_s=_LONGEST_JOB_S),
        keep_answers=True,
        sees={route: variant.data_classes},
    )
    write_drive(drive_dir, plan)

    def hopeless() -> bool:
        answers = read_answers(drive_dir)
        last = answers[-1] if answers else None
        return last is not None and any(one.blocks for one in explain(preset, last.purpose, last.status, last.body))

    drive(drive_dir, secret=secret, cancelled=lambda: cancelled() or hopeless())
    row = read_dispatches(drive_dir).row(0, named=True)
    attempts = read_attempts(drive_dir)
    usage = {sku: quantity for sku, quantity in attempts.select("sku", "quantity").iter_rows() if sku is not None}
    found = {
        **{name: row[name] for name in (*_REPORTED, *_OUTPUT)},
        "attempts": attempts["number"].n_unique(),
        "usage": ", ".join(f"{sku} {quantity}" for sku, quantity in usage.items()) or None,
        **_declared(capabilities),
    }
    return TargetCheck(found, _findings(preset, drive_dir))


def _findings(preset: Preset, drive_dir: Path) -> tuple[Finding, ...]:
    found: dict[tuple[str, str], Finding] = {}
    for heard in read_answers(drive_dir):
        for one in explain(preset, heard.purpose, heard.status, heard.body):
            found.setdefault((one.where, one.expression), one)
    return tuple(found.values())


def _declared(capabilities: Capabilities) -> Mapping[str, object]:
    """What the preset declares, as far as it changes what figures mean."""
    return {
        "submits_per_s": capabilities.submits_per_s,
        "polls_per_s": capabilities.polls_per_s,
        "output_lifetime_s": capabilities.output_lifetime_s,
        "hidden_retries": capabilities.hidden_retries or None,
    }
