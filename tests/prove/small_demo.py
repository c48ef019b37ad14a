"""`pointsman demo` with fewer clips, two variants, a short load: `python -m tests.prove.small_demo [demo's options]`.

With SMALL_DEMO_HOLD=prepare or decide it stops in the middle of that step, between two of its writes, until the file
`go` appears in the home folder; the file `held` says that it is there. The other steps last long enough to be met.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pointsman.decision
import pointsman.preparation
import service.cli.demo as demo
from pointsman.settings import load_settings
from pointsman.workspace import Workspace
from service.cli import run
from tests.few_inputs import register_few_inputs, variant

INPUT_SET = "four-photographs"
INPUTS = 4
INCUMBENT = variant("x264-medium-crf26")
CHALLENGER = variant("x265-fast-crf28")
SMALLER = {
    "input_set": INPUT_SET,
    "variants": (INCUMBENT, CHALLENGER),
    "scenario": {
        "name": "small-load",
        "stages": [{"name": "steady", "kind": "constant", "rate": 4.0, "duration_s": 1.5}],
        "drain_limit_s": 30.0,
        "target_patience_s": 2.0,
    },
    # Four clusters allow no smaller p than 1 in 16.
    "rules": {"quality_margin": 30.0, "min_saving": 0.0, "alpha": 0.2, "swaps": 999},
    "judge": "local",
    "probe_jobs": 4,
}


def smaller() -> None:
    prepare_lab, request = demo.prepare_lab, demo.request

    def prepare_few(*args: Any, **kwargs: Any) -> Any:
        incumbent = prepare_lab(*args, **kwargs)
        settings = load_settings()
        register_few_inputs(Workspace.open(settings, actor="a test"), settings.home, INPUT_SET, INPUTS)
        return incumbent

    demo.prepare_lab = prepare_few
    demo.request = lambda model, **fields: request(model, **{**fields, **SMALLER})


def hold_at(step: str | None) -> None:
    held = {
        "prepare": (pointsman.preparation, "declare_plans"),
        # By its name: the package shows the function `conclude` in the module's place.
        "decide": (sys.modules["pointsman.decision.conclude"], "store_verdict"),
    }
    if step is None:
        return
    module, name = held[step]
    setattr(module, name, _then_wait(getattr(module, name)))


def _then_wait(function: Callable[..., Any]) -> Callable[..., Any]:
    home = Path(os.environ["POINTSMAN_HOME"])

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        (home / "held").touch()
        while not (home / "go").exists():
            time.sleep(0.02)
        return result

    return wrapped


if __name__ == "__main__":
    smaller()
    hold_at(os.environ.get("SMALL_DEMO_HOLD"))
    sys.argv[1:1] = ["demo"]
    run()
