"""The command line called in this process, in a home of its own."""

import json
from dataclasses import dataclass

import pytest

from service.cli import main


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("PREFECT_API_URL", "GEMINI_API_KEY", "STUDIO_EXECUTOR_SECRET", "POINTSMAN_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def pointsman(capsys):
    """Run the command with these words; what it answers."""

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return run
