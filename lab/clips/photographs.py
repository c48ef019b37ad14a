"""The photographs that the clips pan over: files that scikit-image ships inside its wheel."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble": "hubble_deep_field.jpg",
    "motorcycle": "motorcycle_left.png",
    "rocket": "rocket.jpg",
    "retina": "retina.jpg",
    "tissue": "ihc.png",
}
"""Cluster name -> file. Clips of one photograph share its cluster, because they share most of their picture."""


def photograph(cluster: str) -> Path:
    """The file of one photograph. Raises FileNotFoundError when the installed scikit-image does not carry it."""
    path = Path(str(files("skimage"))) / "data" / PHOTOGRAPHS[cluster]
    if not path.is_file():
        raise FileNotFoundError(
            f"scikit-image ships no {PHOTOGRAPHS[cluster]}; install the version of requirements.lock"
        )
    return path
