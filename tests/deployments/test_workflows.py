"""The GitHub workflows: their form, that nothing in them can be injected into, and that what they name exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deployments.load_test import main as load_test
from pointsman.scenario import load_scenario
from tests.deployments.rendering import Rendered
from tests.deployments.workflow_model import Step, Workflow, parse

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
TEXTS = {path.stem: path.read_text() for path in FILES}
WORKFLOWS = {name: parse(text) for name, text in TEXTS.items()}
LOAD_TEST, IMAGE = WORKFLOWS["load-test"], WORKFLOWS["image"]


def steps(workflow: Workflow) -> list[Step]:
    return [step for job in workflow.jobs.values() for step in job.steps]


def running(workflow: Workflow, part: str) -> Step:
    (found,) = [step for step in steps(workflow) if part in (step.run or "")]
    return found


def test_zizmor_finds_nothing() -> None:
    command = [Path(sys.executable).with_name("zizmor"), "--offline", "--quiet", *FILES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", TEXTS)
def test_what_people_type_reaches_a_shell_only_through_the_environment(name: str) -> None:
    assert [step.run for step in steps(WORKFLOWS[name]) if "${{" in (step.run or "")] == []


@pytest.mark.parametrize("name", TEXTS)
def test_actions_are_pinned_to_a_commit_and_say_which_version_it_is(name: str) -> None:
    used = re.findall(r"uses: (\S+) # v\d+\.\d+\.\d+$", TEXTS[name], re.MULTILINE)
    assert used == re.findall(r"uses: (\S+)", TEXTS[name])


@pytest.mark.parametrize("name", ["load-test", "image"])
def test_nothing_is_allowed_but_what_a_job_names(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow.permissions.model_dump(exclude_none=True) == {}
    for job in workflow.jobs.values():
        assert job.permissions is not None
        assert job.permissions.contents in (None, "read")
    assert not re.search(r"secrets\.|AWS_ACCESS_KEY|AWS_SECRET", TEXTS[name]), "no stored keys"


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_run_is_shell_that_parses(name: str) -> None:
    for step in steps(WORKFLOWS[name]):
        if step.run:
            done = subprocess.run(["bash", "-n"], input=step.run, text=True, capture_output=True, check=False)
            assert done.returncode == 0, f"{step.name}: {done.stderr}"


@pytest.mark.parametrize("name", TEXTS)
def test_expressions_name_inputs_and_variables_that_exist(name: str) -> None:
    dispatch = WORKFLOWS[name].on.workflow_dispatch
    assert set(re.findall(r"inputs\.(\w+)", TEXTS[name])) == set(dispatch.inputs if dispatch else ())
    described = (CHECKOUT / "docs" / "decisions" / "github.md").read_text()
    for variable in set(re.findall(r"vars\.(\w+)", TEXTS[name])):
        assert f"`{variable}`" in described, f"{variable} is not explained in docs/decisions/github.md"


def test_every_scenario_and_environment_that_can_be_chosen_exists(stacks: dict[str, Rendered]) -> None:
    assert LOAD_TEST.on.workflow_dispatch is not None
    inputs = LOAD_TEST.on.workflow_dispatch.inputs
    for name in inputs["scenario"].options:
        assert load_scenario(CHECKOUT / "lab" / "scenarios" / f"{name}.yaml").name == name
    for name in inputs["environment"].options:
        assert f"{name.title()}/Worker" in stacks


def test_production_needs_reviewers_of_the_environment_and_an_approval() -> None:
    keys, job = LOAD_TEST.jobs["two-keys"], LOAD_TEST.jobs["load-test"]
    assert keys.condition == "inputs.environment == 'prod'"
    assert (job.needs, job.environment) == ("two-keys", "${{ inputs.environment }}")
    only = "needs.two-keys.result == 'success' || (needs.two-keys.result == 'skipped' && inputs.environment != 'prod')"
    assert only in (job.condition or "")


@pytest.mark.parametrize(
    ("approval", "rules", "code"),
    [
        ("ap_0123456789ab", "wait_timer required_reviewers", 0),
        ("ap_0123456789ab", "wait_timer", 1),
        ("ap_0123456789ab", "", 1),
        ("", "required_reviewers", 1),
        ("yes; exit 0", "required_reviewers", 1),
    ],
)
def test_without_one_of_the_keys_production_stops_at_once(tmp_path: Path, approval: str, rules: str, code: int) -> None:
    stand_in(tmp_path, "gh", f"echo '{rules}'")
    (step,) = LOAD_TEST.jobs["two-keys"].steps
    done = shell(step.run or "", tmp_path, APPROVAL=approval, GITHUB_REPOSITORY="acme/effects")
    assert done.returncode == code
    assert ("::error::" in done.stdout) == bool(code)


def test_the_command_that_starts_a_load_test_is_one_that_it_takes(tmp_path: Path) -> None:
    step = running(LOAD_TEST, "deployments.load_test")
    stand_in(tmp_path, "aws", "echo 'pointsman:of-prefect'")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$PREFECT_API_AUTH_STRING" "$@"\n')
    python.chmod(0o755)
    given = {
        "ENVIRONMENT": "dev",
        "SCENARIO": "phase01-smoke",
        "VARIANT": "er:a:wf:b:env:prod:stage:c:provider:d:exp:e",
        "INPUT_SET": "a set; rm -rf $HOME",
        "SEED": "1",
        "APPROVAL": "",
        "RUN_ID": "",
        "RESULTS_URI": "s3://results",
        "PREFECT_AUTH_STRING_ARN": "arn:of-it",
        "GITHUB_RUN_ID": "7",
        "GITHUB_RUN_ATTEMPT": "1",
    }
    assert set(step.env) <= {*given, "PREFECT_API_URL"}
    done = shell(step.run or "", tmp_path, **given)
    assert done.returncode == 0, done.stderr
    masked, secret, module, name, *arguments = done.stdout.splitlines()
    assert (masked, secret) == ("::add-mask::pointsman:of-prefect", "pointsman:of-prefect")
    assert (module, name) == ("-m", "deployments.load_test")
    assert arguments[arguments.index("--input-set") + 1] == given["INPUT_SET"]
    assert arguments[arguments.index("--run-id") + 1] == "github-7-1"
    approved = shell(step.run or "", tmp_path, **{**given, "RUN_ID": "july-1"}).stdout.splitlines()
    assert approved[approved.index("--run-id") + 1] == "july-1"
    assert load_test(arguments) == 2  # taken as it stands, and refused because the variant is of another environment


def test_results_are_shown_whatever_became_of_the_run() -> None:
    shown = [step for step in steps(LOAD_TEST) if step.condition == "always()"]
    assert any("GITHUB_STEP_SUMMARY" in (step.run or "") for step in shown)
    assert any(step.given.get("report_paths") == "out/junit.xml" for step in shown)
    assert any(step.given.get("path") == "out" for step in shown)


SCAN = {"clean": '{"MEDIUM": 3}', "none": "null", "critical": '{"CRITICAL": 1, "HIGH": 2}'}


@pytest.mark.parametrize(
    ("found", "blocks", "code"),
    [("clean", "", 0), ("none", "", 0), ("critical", "", 1), ("clean", "CRITICAL HIGH MEDIUM", 1)],
)
def test_an_image_gets_its_tag_only_when_its_scan_is_clean(tmp_path: Path, found: str, blocks: str, code: int) -> None:
    done, said = publish(tmp_path, SCAN[found], already=False, **({"BLOCKS": blocks} if blocks else {}))
    assert done.returncode == code, done.stderr
    pushed = [line for line in said if line.startswith("docker push")]
    assert re.fullmatch(r"docker push --quiet registry.test/pointsman:candidate-0123abc-\d+", pushed.pop(0))
    assert pushed == ([] if code else ["docker push --quiet registry.test/pointsman:0123abc"])
    order = [line.split()[2] for line in said if line.startswith("aws ecr")]
    assert order[:4] == ["describe-images", "get-login-password", "wait", "describe-image-scan-findings"]
    assert ("batch-delete-image" in order) == (not code)


def test_an_image_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    done, said = publish(tmp_path, SCAN["clean"], already=True)
    assert (done.returncode, len(said)) == (0, 1)


def publish(
    folder: Path, findings: str, *, already: bool, **environment: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run publish.sh as the workflow does, with an aws and a docker that only write down what they are told."""
    log = folder / "said"
    answers = f"""case "$2" in
      describe-images) exit {0 if already else 254} ;;
      get-login-password) echo password ;;
      describe-image-scan-findings) echo '{findings}' ;;
    esac"""
    stand_in(folder, "aws", f'echo "aws $*" >> {log}\n{answers}')
    stand_in(folder, "docker", f'echo "docker $*" >> {log}\n[ "$1" != login ] || cat > {folder}/password')
    command = (running(IMAGE, "publish.sh").run or "").replace("deployments/", f"{CHECKOUT}/deployments/")
    given = {"REPOSITORY_URI": "registry.test/pointsman", "GITHUB_SHA": "0123abc", **environment}
    done = shell(command, folder, **given)
    return done, log.read_text().splitlines()


def stand_in(folder: Path, name: str, script: str) -> None:
    """A command of this name for `shell`."""
    command = folder / "bin" / name
    command.parent.mkdir(exist_ok=True)
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """As GitHub runs a step."""
    path = f"{folder / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
