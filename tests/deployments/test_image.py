"""The image: what its Dockerfile says, read strictly, and its steps carried out in a folder of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from pointsman.checks import own_folder, own_rules
from pointsman.settings import load_settings
from tests.deployments.rendering import Rendered
from tests.service.test_doctor import RULE

CHECKOUT = Path(__file__).resolve().parents[2]
FILE = CHECKOUT / "deployments" / "image" / "Dockerfile"
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "ARG", "LABEL", "ENV", "USER", "CMD"}


def instructions() -> list[tuple[str, str]]:
    """Every instruction with its argument, lines joined."""
    text = re.sub(r"\\\n\s*", "", "\n".join(line for line in FILE.read_text().splitlines() if line[:1] != "#"))
    found = [tuple(line.split(" ", 1)) for line in text.splitlines() if line.strip()]
    assert {name for name, _ in found} <= KNOWN
    return [(name, argument.strip()) for name, argument in found]


def of(name: str) -> list[str]:
    return [argument for found, argument in instructions() if found == name]


def environment() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(of("ENV"))))


def context(target: Path) -> None:
    """Copies what the build would: the sources of COPY, less what .dockerignore leaves out."""
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    for argument in of("COPY"):
        *sources, place = argument.split()
        for source in sources:
            assert source in allowed, f".dockerignore leaves {source} out"
            if (CHECKOUT / source).is_dir():
                shutil.copytree(CHECKOUT / source, target / place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(CHECKOUT / source, target / source)


def test_the_base_is_slim_and_pinned_and_its_python_is_one_of_ours() -> None:
    (base,) = of("FROM")
    found = re.fullmatch(r"python:(3\.\d+)\.\d+-slim-\w+", base)
    assert found
    assert found[1] in {"3.11", "3.12", "3.13"}


def test_it_runs_as_nobody_who_writes_only_where_everybody_may() -> None:
    assert instructions()[-2] == ("USER", "10001:10001")
    assert {environment()[name] for name in ("HOME", "POINTSMAN_HOME", "PREFECT_HOME")} == {
        "/tmp",
        "/tmp/pointsman",
        "/tmp/prefect",
    }


def test_all_that_it_runs_is_the_installation_from_the_lock() -> None:
    (run,) = of("RUN")
    assert run.endswith(" deployments/install.sh aws,postgres")
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"aws", "postgres"} <= set(extras)
    assert "--constraint" in (CHECKOUT / "deployments" / "install.sh").read_text()


def test_nothing_of_a_checkout_is_copied_but_the_application() -> None:
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert next(line for line in ignored if line[:1] != "#") == "*"
    copied = {source for argument in of("COPY") for source in argument.split()[:-1]}
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    rooms = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]
    assert copied >= set(rooms) - {"lab"}
    secret = [one for one in (".git", ".env", ".pointsman", "deployments/.env") if fnmatchcase(one, "*.env")]
    assert all(one not in copied for one in secret)


def test_the_folder_that_the_image_works_in_is_the_one_that_flows_are_loaded_from() -> None:
    assert of("WORKDIR") == [environment()["POINTSMAN_CHECKOUT"]]
    assert environment()["PATH"].startswith(f"{environment()['POINTSMAN_CHECKOUT']}/.venv/bin:")


def test_tasks_of_every_environment_keep_the_data_checks_that_a_team_committed(
    tmp_path: Path, stacks: dict[str, Rendered]
) -> None:
    tasks = [stack.properties("LoadTest") for path, stack in stacks.items() if path.endswith("/Tasks")]
    given = [one["ContainerDefinitions"][0]["Environment"] for one in tasks]
    own = [load_settings({**environment(), **{one["Name"]: one["Value"] for one in of_task}}) for of_task in given]
    assert len(own) == 3
    (place,) = {Path(one.checks).relative_to(of("WORKDIR")[0]) for one in own}
    context(tmp_path)
    settings = load_settings({"POINTSMAN_CHECKS": str(tmp_path / place)}, home=tmp_path / "home")
    own_rules(own_folder(settings))  # the folder is there, whether a team has rules or not
    (tmp_path / place / "ledger.toml").write_text(RULE)
    assert own_rules(own_folder(settings))["ledger"] == 1


@pytest.mark.prove
def test_its_steps_make_an_application_that_loads_every_flow(tmp_path: Path) -> None:
    context(tmp_path)
    outside = {**os.environ, "PYTHON": "python3"}
    subprocess.run(["sh", "-c", of("RUN")[0]], cwd=tmp_path, env=outside, check=True, timeout=900)
    home = tmp_path / "home"
    home.mkdir()
    inside = {
        "PATH": f"{tmp_path}/.venv/bin:/usr/bin:/bin",
        "HOME": str(home),
        "USER": "pointsman",
        "POINTSMAN_COMMIT": "0123456789abcdef0123456789abcdef01234567",
    }
    shown = subprocess.run(["pointsman", "--help"], env=inside, cwd=home, capture_output=True, text=True, check=True)
    assert "scenario" in shown.stdout
    load = """
import importlib, pathlib, yaml
from pointsman.version import code_version
for one in yaml.safe_load(pathlib.Path("prefect.yaml").read_text())["deployments"]:
    file, _, name = one["entrypoint"].partition(":")
    print(getattr(importlib.import_module(file[:-3].replace("/", ".")), name).name)
import prefect_aws, psycopg
print(code_version())
"""
    done = subprocess.run(["python", "-c", load], env=inside, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "run-scenario" in done.stdout.split()
    assert done.stdout.split()[-1].endswith("+g0123456789ab")
    assert list((tmp_path / "pointsman").glob("__pycache__/*.pyc"))
