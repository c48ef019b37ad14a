"""Dispatch targets: sans-IO adapters and the preset files that configure them."""

from pointsman.dispatch.targets.async_job import AsyncJobTarget
from pointsman.dispatch.targets.preset import BUILT_IN_PRESETS, Preset, load_preset
from pointsman.dispatch.targets.spec import TargetSpec

__all__ = ["BUILT_IN_PRESETS", "AsyncJobTarget", "Preset", "TargetSpec", "load_preset"]
