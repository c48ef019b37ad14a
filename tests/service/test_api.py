"""The HTTP API, called in this process: who may ask, what is answered, and how it refuses."""

import pytest
import uvicorn
from fastapi.testclient import TestClient

from pointsman.safety import Identity, create_token, revoke_tokens
from pointsman.settings import Secret
from service.api import PREFIX, create_app
from tests.economics.worlds import BENCHMARK
from tests.service.test_money import weighed

__all__ = ["weighed"]
HUD = f"{PREFIX}/economics/money-hud"
ADMIN = Identity("root", "admin", "local")


@pytest.fixture
def token(weighed) -> Secret:
    return create_token(weighed, ADMIN, "dashboard", "viewer")[1]


@pytest.fixture
def api(weighed, token) -> TestClient:
    return TestClient(create_app(weighed), headers={"Authorization": f"Bearer {token.reveal()}"})


def test_the_money_hud_of_a_benchmark_is_its_newest_verdict_with_the_money_behind_it(api):
    answer = api.get(HUD, params={"benchmark_context_id": BENCHMARK})
    assert answer.status_code == 200
    found = answer.json()
    assert {"rows", "verdict", "winner", "incumbent", "experiment_cost_usd"} <= set(found)
    assert found["money"]["production"]["outputs_per_month"] == 1000
    assert {line["basis"] for line in found["money"]["variants"][0]["lines"]} == {"measured", "estimated", "missing"}


def test_a_request_without_a_token_that_holds_is_told_nothing(weighed, api, token):
    revoked = create_token(weighed, ADMIN, "gone", "admin")[1]
    revoke_tokens(weighed, ADMIN, "gone")
    for headers, code in (
        ({}, "token_missing"),
        ({"Authorization": "Basic eDp5"}, "token_missing"),
        ({"Authorization": "Bearer pm_guessed_guessed"}, "token_unknown"),
        ({"Authorization": f"Bearer {revoked.reveal()}"}, "token_revoked"),
    ):
        answer = TestClient(create_app(weighed), headers=headers).get(HUD, params={"benchmark_context_id": BENCHMARK})
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "rows" not in answer.text
        assert revoked.reveal() not in answer.text


@pytest.mark.parametrize(
    ("params", "status", "named"),
    [
        ({"benchmark_context_id": "bm_none"}, 404, "pointsman evaluate bm_none"),
        ({}, 422, "benchmark_context_id"),
        ({"benchmark_context_id": BENCHMARK, "colour": "red"}, 422, "colour"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_document_that_says_what_to_do(api, params, status, named):
    answer = api.get(HUD, params=params)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert named in problem["detail"] + problem["instruction"]
    assert {"title", "code"} <= set(problem)


def test_it_is_described_where_contracts_say(api):
    described = api.get("/openapi.json").json()
    assert HUD in described["paths"]
    assert described["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


def test_serve_listens_on_this_machine_alone_unless_told(pointsman, weighed, monkeypatch):
    served = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **about: served.append((app.title, about["host"], about["port"])))
    assert pointsman("serve", "--json").document == {"url": f"http://127.0.0.1:4300{PREFIX}"}
    assert "/docs" in pointsman("serve", "--host", "0.0.0.0", "--port", "80").out
    assert served == [("Pointsman", "127.0.0.1", 4300), ("Pointsman", "0.0.0.0", 80)]
