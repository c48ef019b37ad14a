"""The lab's effects backend: a job service whose effects are real ffmpeg encodes, run by real worker processes."""

from lab.effects.catalogue import EFFECT_REVISION, INCUMBENT, PROVIDERS, WORKFLOWS, default_variants

__all__ = ["EFFECT_REVISION", "INCUMBENT", "PROVIDERS", "WORKFLOWS", "default_variants"]
