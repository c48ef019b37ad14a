"""What the lab offers: the workflows of one effect, the providers that run them, and the variants to start with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pointsman.errors import InputRefused
from pointsman.ids import VariantId

EFFECT_REVISION = "postcard-1"
ENVIRONMENT = "lab"
STAGE = "demo"
REGION = "us-east-1"
GROUP = "lab-cpu"
"""The provider whose workers run on machines of the lab's AWS, and the Auto Scaling group of these there."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """One way to encode: an encoder, its constant rate factor (and the range it takes), its other options."""

    name: str
    encoder: str
    crf: int
    crf_limit: int
    options: tuple[str, ...]

    def with_params(self, params: Mapping[str, object]) -> Workflow:
        """This workflow with a variant's params in place of its own. Raises `InputRefused` for any it does not take."""
        unknown = sorted(set(params) - {"crf"})
        if unknown:
            raise InputRefused("params", unknown[0], "crf")
        crf = params.get("crf", self.crf)
        if not isinstance(crf, int) or isinstance(crf, bool) or not 0 <= crf <= self.crf_limit:
            raise InputRefused("params.crf", crf, f"a whole number from 0 to {self.crf_limit} for {self.encoder}")
        return replace(self, crf=crf)


@dataclass(frozen=True, slots=True)
class Provider:
    """A named group of worker processes. Each attempt occupies `vcpus` and `memory_gb` while it lasts, and is billed
    for them. `interrupted`: the provider takes its workers away at seeded moments, as a spot market does."""

    name: str
    workers: int
    vcpus: float = 1.0
    memory_gb: float = 2.0
    interrupted: bool = False


# Every encoder is held to one thread, so that an attempt's CPU seconds do not depend on the machine it shares.
WORKFLOWS: Mapping[str, Workflow] = {
    workflow.name: workflow
    for workflow in (
        Workflow("x264-veryfast-crf23", "libx264", 23, 51, ("-preset", "veryfast")),
        Workflow("x264-medium-crf26", "libx264", 26, 51, ("-preset", "medium")),
        Workflow(
            "x265-fast-crf28",
            "libx265",
            28,
            51,
            ("-preset", "fast", "-x265-params", "pools=none:frame-threads=1:log-level=error", "-tag:v", "hvc1"),
        ),
        Workflow(
            "vp9-rt6-crf34",
            "libvpx-vp9",
            34,
            63,
            ("-deadline", "realtime", "-cpu-used", "6", "-b:v", "0", "-row-mt", "0"),
        ),
        Workflow("svtav1-p10-crf38", "libsvtav1", 38, 63, ("-preset", "10", "-svtav1-params", "lp=1")),
        Workflow("svtav1-p6-crf38", "libsvtav1", 38, 63, ("-preset", "6", "-svtav1-params", "lp=1")),
    )
}

PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider
    for provider in (Provider("lab-cpu", workers=2), Provider("lab-spot", workers=1, interrupted=True))
}


def instance_id(provider: str, number: int) -> str:
    """The machine that a provider's worker of this number runs on, named as EC2 names its instances."""
    return "i-" + hashlib.sha256(f"{provider}/{number}".encode()).hexdigest()[:17]


def _variant(workflow: str, provider: str) -> str:
    return str(VariantId(EFFECT_REVISION, workflow, ENVIRONMENT, STAGE, provider, "default"))


INCUMBENT = _variant("x264-medium-crf26", "lab-cpu")
"""The variant that traffic goes to before anything was measured."""


def default_variants() -> list[tuple[str, dict[str, int]]]:
    """(variant id, params) of every workflow on lab-cpu, and of the incumbent's workflow on lab-spot as well.

    The params are the workflow's own, spelt out: a routed job, which names no params, is the same effect.
    """
    pairs = [(name, "lab-cpu") for name in WORKFLOWS] + [("x264-medium-crf26", "lab-spot")]
    return [(_variant(name, provider), {"crf": WORKFLOWS[name].crf}) for name, provider in pairs]


def catalogue() -> dict[str, object]:
    """The catalogue as a JSON document, for programs that do not import the lab."""
    return {
        "effect_revision": EFFECT_REVISION,
        "variants": [{"id": variant, "params": params} for variant, params in default_variants()],
        "incumbent": INCUMBENT,
        "machines": {"region": REGION, "asg_name": GROUP},
        "providers": [
            {
                "name": provider.name,
                "vcpus": provider.vcpus,
                "memory_gb": provider.memory_gb,
                "workers": provider.workers,
            }
            for provider in PROVIDERS.values()
        ],
    }
