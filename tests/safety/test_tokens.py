"""Tokens: who holds one acts under its name; it is told once, kept as a hash, and ends when it is revoked."""

from __future__ import annotations

import os
import pwd

import pytest
import sqlalchemy as sa

from pointsman.errors import Conflict, GuardRefused, InputRefused, NotFound
from pointsman.safety import Identity, create_token, list_tokens, revoke_tokens, unproven, who_acts
from pointsman.settings import Secret
from pointsman.storage import tables
from pointsman.workspace import Workspace
from tests.safety.conftest import ALICE, BOB


def test_who_holds_a_token_acts_under_its_name_and_role(ws: Workspace) -> None:
    made, token = create_token(ws, ALICE, "carol", "viewer")
    assert who_acts(ws, token) == Identity("carol", "viewer", "token")
    assert who_acts(ws, Secret(f"  {token.reveal()}\n")) == who_acts(ws, token)
    assert (made.identity, made.created_by, made.revoked_at) == ("carol", "alice", None)


def test_without_a_token_the_user_of_the_system_acts_whatever_the_environment_says(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "LOGNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "somebody-else")
    user = pwd.getpwuid(os.getuid()).pw_name
    assert who_acts(ws, None) == Identity(user, "admin", "local")

    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert who_acts(ws, None).name == f"uid-{os.getuid()}"


@pytest.mark.usefixtures("on_a_shared_database")
def test_on_a_shared_database_the_user_of_the_system_is_an_operator(ws: Workspace) -> None:
    assert who_acts(ws, None).role == "operator"


@pytest.mark.parametrize("text", ["", "pm", "pm__", "pm_00000000_x", "bearer", "{id}", "pm_{id}_", "pm_{id}_wrong"])
def test_a_token_that_is_not_ours_is_refused_and_repeated_nowhere(ws: Workspace, text: str) -> None:
    made, _ = create_token(ws, ALICE, "carol", "operator")
    given = text.format(id=made.id)
    with pytest.raises(GuardRefused) as refused:
        who_acts(ws, Secret(given))
    assert refused.value.code == "token_unknown"
    assert not given or given not in str(refused.value)


def test_a_revoked_token_is_refused_for_ever_and_others_stay(ws: Workspace) -> None:
    first, token = create_token(ws, ALICE, "carol", "operator")
    _, other = create_token(ws, ALICE, "carol", "operator")
    (ended,) = revoke_tokens(ws, ALICE, first.id)
    assert ended.revoked_by == "alice"
    with pytest.raises(GuardRefused, match=r"carol was revoked by alice") as refused:
        who_acts(ws, token)
    assert refused.value.code == "token_revoked"
    assert who_acts(ws, other).name == "carol"
    assert ended in revoke_tokens(ws, ALICE, "carol"), "who ended it first stays"
    with pytest.raises(GuardRefused):
        who_acts(ws, other)


def test_no_row_holds_a_token_and_equal_ones_would_not_look_alike(ws: Workspace) -> None:
    made, token = create_token(ws, ALICE, "carol", "operator")
    secret = token.reveal().split("_", 2)[2]
    with ws.database.connect() as connection:
        rows = [row for table in tables.metadata.sorted_tables for row in connection.execute(table.select())]
        (kept,) = connection.execute(sa.select(tables.identity_tokens.c.hash)).scalars()
    assert secret not in str(rows)
    assert kept.startswith("scrypt-16384-8-1$")
    assert len(kept.split("$")[1]) == 32
    assert secret not in repr((made, list_tokens(ws), token))


@pytest.mark.parametrize("by", [BOB, Identity("eve", "viewer", "token"), unproven("flow-run:1")])
def test_only_an_admin_makes_or_ends_tokens_of_others(ws: Workspace, by: Identity) -> None:
    create_token(ws, ALICE, "carol", "operator")
    for attempt in (lambda: create_token(ws, by, "mine", "admin"), lambda: revoke_tokens(ws, by, "carol")):
        with pytest.raises(GuardRefused, match="takes the role admin") as refused:
            attempt()
        assert refused.value.code == "role_too_low"
    assert [one.identity for one in list_tokens(ws) if one.revoked_at is None] == ["carol"]


def test_who_holds_a_token_may_end_it(ws: Workspace) -> None:
    _, token = create_token(ws, ALICE, "carol", "viewer")
    assert revoke_tokens(ws, who_acts(ws, token), "carol")[0].revoked_by == "carol"


@pytest.mark.usefixtures("on_a_shared_database")
def test_the_first_token_of_a_shared_database_is_an_admins_and_makes_all_others(ws: Workspace) -> None:
    local = who_acts(ws, None)
    with pytest.raises(InputRefused, match="first token"):
        create_token(ws, local, "carol", "operator")
    _, token = create_token(ws, local, "root-of-all", "admin")
    with pytest.raises(GuardRefused, match="takes the role admin"):
        create_token(ws, local, "carol", "operator")
    create_token(ws, who_acts(ws, token), "carol", "operator")


def test_a_name_has_one_role_at_a_time(ws: Workspace) -> None:
    create_token(ws, ALICE, "carol", "viewer")
    with pytest.raises(Conflict, match="token revoke carol"):
        create_token(ws, ALICE, "carol", "admin")
    revoke_tokens(ws, ALICE, "carol")
    _, token = create_token(ws, ALICE, "carol", "admin")
    assert who_acts(ws, token).role == "admin"


def test_what_is_no_name_role_or_token_is_refused(ws: Workspace) -> None:
    with pytest.raises(InputRefused, match="name"):
        create_token(ws, ALICE, "flow-run:1", "viewer")
    with pytest.raises(InputRefused, match="viewer, operator, admin"):
        create_token(ws, ALICE, "carol", "king")  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="token list"):
        revoke_tokens(ws, ALICE, "nobody")
