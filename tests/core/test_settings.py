"""Settings: explicit, then environment, then file, then default; secrets never show."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.errors import InputRefused
from pointsman.settings import ENVIRONMENT_NAMES, Secret, load_settings
from tests.docs.pages import TEXT


def test_defaults_lie_in_the_home_folder(tmp_path: Path) -> None:
    settings = load_settings({"POINTSMAN_HOME": str(tmp_path)})
    assert settings.home == tmp_path
    assert settings.database_url == f"sqlite:///{tmp_path / 'pointsman.db'}"
    assert settings.results_uri == str(tmp_path / "results")
    assert settings.executor_secret is None
    assert settings.gemini_api_key is None


LIMITS = {
    *("max_dispatches", "max_in_flight", "max_run_usd", "max_month_usd", "approval_limit_usd"),
    *("max_production_per_s", "max_production_run_usd"),
}

OF_TARGETS = {"target_role_arn", "target_external_id"}
ROLE = "arn:aws:iam::111122223333:role/load-test-uat-look"


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_limits_come_from_the_same_places_in_the_same_order(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'{name} = "3"\n')
    assert getattr(load_settings({}, home=tmp_path), name) == 3
    assert getattr(load_settings({ENVIRONMENT_NAMES[name]: "0"}, home=tmp_path), name) == 0
    assert getattr(load_settings({ENVIRONMENT_NAMES[name]: "4"}, home=tmp_path, **{name: 5}), name) == 5


def test_the_readme_explains_every_limit() -> None:
    readme = TEXT
    defaults = load_settings({})
    for name in LIMITS:
        assert f"| `{ENVIRONMENT_NAMES[name]}` | {getattr(defaults, name)} |" in readme
    for name in (one for one in ENVIRONMENT_NAMES if one.startswith("production_")):
        assert f"| `{ENVIRONMENT_NAMES[name]}` | nothing |" in readme
    for name in OF_TARGETS:
        assert f"`{ENVIRONMENT_NAMES[name]}`" in readme


@pytest.mark.parametrize("name", sorted(set(ENVIRONMENT_NAMES) - LIMITS - OF_TARGETS - {"home", "runner_mode"}))
def test_explicit_beats_environment_beats_file_beats_default(name: str, tmp_path: Path) -> None:
    def value(environ: dict[str, str], **explicit: str) -> object:
        found = getattr(load_settings({"POINTSMAN_HOME": str(tmp_path), **environ}, **explicit), name)
        return found.reveal() if isinstance(found, Secret) else found

    default = value({})
    (tmp_path / "config.toml").write_text(f'{name} = "from-file"\n')
    assert default != "from-file"
    assert value({}) == "from-file"
    assert value({ENVIRONMENT_NAMES[name]: "from-environment"}) == "from-environment"
    assert value({ENVIRONMENT_NAMES[name]: ""}) == "from-file"
    assert value({ENVIRONMENT_NAMES[name]: "from-environment"}, **{name: "explicit"}) == "explicit"


def test_the_role_of_the_targets_account_is_an_arn_and_comes_with_its_external_id(tmp_path: Path) -> None:
    role, agreed = (ENVIRONMENT_NAMES[name] for name in sorted(OF_TARGETS, reverse=True))
    assert load_settings({role: "", agreed: ""}, home=tmp_path).target_role_arn is None
    both = load_settings({role: ROLE, agreed: "agreed-upon"}, home=tmp_path)
    assert (both.target_role_arn, both.target_external_id) == (ROLE, "agreed-upon")
    refused = {agreed: {role: ROLE}, role: {agreed: "agreed-upon"}}
    for missing, environ in refused.items():
        with pytest.raises(InputRefused, match=missing):
            load_settings(environ, home=tmp_path)
    with pytest.raises(InputRefused, match=role):
        load_settings({role: "load-test-uat-look", agreed: "agreed-upon"}, home=tmp_path)


def test_the_runner_mode_is_one_of_two_and_names_the_pool_of_tasks(tmp_path: Path) -> None:
    inline = load_settings({}, home=tmp_path)
    assert (inline.runner_mode, inline.runner_pool) == ("inline", None)
    (tmp_path / "config.toml").write_text('runner_mode = "ecs"\n')
    assert load_settings({}, home=tmp_path).runner_pool == "ecs"
    assert load_settings({"STUDIO_LOAD_TEST_RUNNER_POOL": "own"}, home=tmp_path).runner_pool == "own"
    assert load_settings({"STUDIO_LOAD_TEST_RUNNER_MODE": "inline"}, home=tmp_path).runner_pool is None
    with pytest.raises(InputRefused, match="STUDIO_LOAD_TEST_RUNNER_MODE"):
        load_settings({"STUDIO_LOAD_TEST_RUNNER_MODE": "fargate"}, home=tmp_path)


def test_the_processes_environment_is_read_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POINTSMAN_HOME", str(tmp_path / "elsewhere"))
    assert load_settings().home == tmp_path / "elsewhere"


def test_a_relative_home_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).home == tmp_path / ".pointsman"


def test_the_executor_secret_comes_from_its_file_unless_given(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "executor").write_text("from-the-file\n")
    environ = {"POINTSMAN_HOME": str(tmp_path)}
    assert load_settings(environ).executor_secret == Secret("from-the-file")
    assert load_settings({**environ, "STUDIO_EXECUTOR_SECRET": "given"}).executor_secret == Secret("given")


@pytest.mark.parametrize(
    ("content", "named"),
    [(b"databse_url = 'x'", "databse_url"), (b"= nonsense", "config.toml"), (b"\xff\xfe", "config.toml")],
)
def test_a_bad_config_file_is_refused_by_name(content: bytes, named: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(InputRefused, match=named):
        load_settings({"POINTSMAN_HOME": str(tmp_path)})


@pytest.mark.parametrize("content", ["gemini_model = 5", "database_url = ['a']"])
def test_a_value_of_the_file_that_is_no_text_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(InputRefused, match=f"setting {content.split()[0]}"):
        load_settings({"POINTSMAN_HOME": str(tmp_path)})


def test_a_home_named_by_the_file_in_the_home_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("home = '/elsewhere'")
    with pytest.raises(InputRefused, match="setting: 'home'"):
        load_settings({"POINTSMAN_HOME": str(tmp_path)})


def test_an_unknown_explicit_setting_is_refused() -> None:
    with pytest.raises(InputRefused, match="colour"):
        load_settings({}, colour="red")


@given(st.text(min_size=4))
def test_a_secret_shows_in_no_text_form(text: str) -> None:
    secret = Secret(text)
    assert f"{secret}{secret!r}{[secret]}" == "Secret(***)" * 2 + "[Secret(***)]"
    assert secret.reveal() == text


def test_a_secret_compares_by_value_and_is_never_pickled() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    with pytest.raises(TypeError):
        pickle.dumps(Secret("a"))
    assert not hasattr(Secret("a"), "__dict__")


def test_settings_with_secrets_show_none_of_them(tmp_path: Path) -> None:
    environ = {"POINTSMAN_HOME": str(tmp_path), "GEMINI_API_KEY": "key-5591", "STUDIO_EXECUTOR_SECRET": "word-7713"}
    shown = repr(load_settings(environ))
    assert "5591" not in shown
    assert "7713" not in shown


@pytest.mark.parametrize("prefix", ["a/b", "{{ x }}", "p" * 41, "a\n"])
def test_a_prefix_that_prefect_cannot_carry_in_a_name_is_refused(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(InputRefused, match="POINTSMAN_PREFECT_PREFIX"):
        load_settings({"POINTSMAN_PREFECT_PREFIX": prefix}, home=tmp_path)
