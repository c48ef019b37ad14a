"""Decisions: each says what was chosen, why and how to choose otherwise, and names only what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deployments.rendering import load, names

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "docs" / "decisions"
QUESTIONS = (
    "registry",
    "fargate-or-ec2",
    "account",
    "network",
    "secrets",
    "storage",
    "monitoring",
    "cost",
    "production-safety",
    "github",
    "iam",
    "image-build",
)


def text(question: str) -> str:
    return (FOLDER / f"{question}.md").read_text()


def test_every_question_has_its_page_and_the_list_names_it() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == {*QUESTIONS, "README"}
    assert re.findall(r"\]\((.+)\.md\)", text("README")) == list(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_decision_says_what_why_and_how_otherwise_on_one_page(question: str) -> None:
    assert re.findall(r"^\*\*(\w+)\.\*\* ", text(question), re.MULTILINE) == ["Choice", "Why", "Otherwise"]
    assert len(text(question).splitlines()) < 40


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_a_decision_names_exists(question: str) -> None:
    named = " ".join(text(question).split())
    templates = set(re.findall(r"`([a-z-]+)\.yaml`", named))
    assert templates
    assert templates <= set(names())
    for workflow in re.findall(r"`([a-z-]+\.yml)`", named):
        assert (CHECKOUT / ".github" / "workflows" / workflow).is_file()
    for path in re.findall(r"`(deployments/[\w./-]+)`", named):
        assert (CHECKOUT / path).exists(), path
    groups = re.findall(r"((?:`\w+`(?:, | and |, and )?)+) of `([a-z-]+)\.yaml`", named)
    for listed, template in groups:
        declared = {*load(template).get("Parameters", {}), *load(template).get("Outputs", {})}
        assert set(re.findall(r"`(\w+)`", listed)) <= declared, f"{question}: {listed} of {template}.yaml"
    assert groups or question == "image-build"
