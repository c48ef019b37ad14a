"""Tokens: shown once, kept as a salted slow hash, revoked for ever.

A token is `pm_<id>_<secret>`; the id finds its row, so that a check costs one hash. The hash is scrypt (n = 2^14,
r = 8, p = 1: about 50 ms and 16 MB a try) with a salt for each token. It is salted and slow rather than keyed because a
key would have to be carried to every machine that shares the database, and a lost one would shut everybody out. The
secret's 256 random bits alone would already be out of reach for who holds a copy of the rows.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from pointsman.errors import Conflict, GuardRefused, InputRefused, NotFound
from pointsman.ids import check_id
from pointsman.safety.identities import ROLES, Identity, Role, require, shared
from pointsman.settings import Secret
from pointsman.storage import tables
from pointsman.workspace import Workspace

_TOKENS, _IDENTITIES = tables.identity_tokens, tables.identities
_SCHEME = "scrypt-16384-8-1"


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; the token itself is known to its holder alone."""

    id: str
    identity: str
    role: Role
    created_at: datetime
    created_by: str
    revoked_at: datetime | None
    revoked_by: str | None


def create_token(ws: Workspace, by: Identity, name: str, role: Role) -> tuple[Token, Secret]:
    """Make a token of the identity `name`, which is made too if it is new; the secret is given out only here.

    Takes an admin; where the database is shared and has no admin yet, anybody who reaches it makes the first. Raises
    `GuardRefused`, and `Conflict` when `name` holds tokens of another role.
    """
    check_id("name", name)
    if role not in ROLES:
        raise InputRefused("role", role, ", ".join(ROLES))
    now = ws.clock.now()
    token_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    with ws.database.begin() as connection:
        first = shared(ws) and not _admins(connection)
        if first and role != "admin":
            raise InputRefused("role", role, "admin: the first token of a shared database makes all others")
        if not first:
            require(by, "admin", "making a token")
        known = connection.execute(
            sa.select(_IDENTITIES.c.role).where(_IDENTITIES.c.name == name).with_for_update()
        ).scalar()
        if known is None:
            connection.execute(sa.insert(_IDENTITIES).values(name=name, role=role, created_at=now, created_by=by.name))
        elif known != role:
            if _active(connection, name):
                raise Conflict(
                    f"{name} holds tokens of the role {known}, not {role}.",
                    instruction=f"Use another name, or end its tokens first: pointsman token revoke {name}",
                    code="role_differs",
                )
            connection.execute(sa.update(_IDENTITIES).where(_IDENTITIES.c.name == name).values(role=role))
        connection.execute(
            sa.insert(_TOKENS).values(
                id=token_id,
                identity=name,
                hash=_hash(secret, secrets.token_hex(16)),
                created_at=now,
                created_by=by.name,
            )
        )
        return _read(connection, _TOKENS.c.id == token_id)[0], Secret(f"pm_{token_id}_{secret}")


def revoke_tokens(ws: Workspace, by: Identity, which: str) -> list[Token]:
    """End the token of this id, or all tokens of this name; returns them. Again changes nothing.

    Takes an admin, or the holder. Raises `NotFound` and `GuardRefused`.
    """
    meant = (_TOKENS.c.id == which) | (_TOKENS.c.identity == which)
    with ws.database.begin() as connection:
        found = _read(connection, meant)
        if not found:
            raise NotFound("token", which, "the id or name of a token that `pointsman token list` shows")
        if any(one.identity != by.name for one in found) or by.proof != "token":
            require(by, "admin", "ending a token of others")
        connection.execute(
            sa.update(_TOKENS)
            .where(meant, _TOKENS.c.revoked_at.is_(None))
            .values(revoked_at=ws.clock.now(), revoked_by=by.name)
        )
        return _read(connection, meant)


def list_tokens(ws: Workspace) -> list[Token]:
    """Every token that was made, by name and time."""
    with ws.database.connect() as connection:
        return _read(connection, sa.true())


def holder(ws: Workspace, token: Secret) -> tuple[str, Role]:
    """Name and role of who holds `token`. Raises `GuardRefused`: `token_unknown` or `token_revoked`."""
    token_id, secret = _parts(token)
    with ws.database.connect() as connection:
        kept = connection.execute(sa.select(_TOKENS.c.hash).where(_TOKENS.c.id == token_id)).scalar()
        found = _read(connection, _TOKENS.c.id == token_id)
    scheme, _, rest = (kept or "").partition("$")
    salt = rest.partition("$")[0]
    if scheme != _SCHEME or not hmac.compare_digest(_hash(secret, salt), str(kept)):
        raise GuardRefused(
            "The token is not one that was made here.",
            instruction="Set POINTSMAN_TOKEN to the whole token as `pointsman token create` printed it, or unset it.",
            code="token_unknown",
        )
    if found[0].revoked_at is not None:
        raise GuardRefused(
            f"The token {token_id} of {found[0].identity} was revoked by {found[0].revoked_by}.",
            instruction="Ask an admin for another, or unset POINTSMAN_TOKEN.",
            code="token_revoked",
        )
    return found[0].identity, found[0].role


def token_id(token: Secret) -> str:
    """The id under which a token's row is kept; of any text that is no token, a word that no row has."""
    return _parts(token)[0]


def _parts(token: Secret) -> tuple[str, str]:
    kind, _, rest = token.reveal().strip().partition("_")
    token_id, _, secret = rest.partition("_")
    return (token_id, secret) if kind == "pm" else ("", "")


def _hash(secret: str, salt: str) -> str:
    made = hashlib.scrypt(secret.encode(), salt=salt.encode(), n=16384, r=8, p=1, dklen=32)
    return f"{_SCHEME}${salt}${made.hex()}"


def _read(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Token]:
    columns = [_TOKENS.c[name] for name in ("id", "identity", "created_at", "created_by", "revoked_at", "revoked_by")]
    wanted = (
        sa.select(*columns, _IDENTITIES.c.role)
        .join(_IDENTITIES, _IDENTITIES.c.name == _TOKENS.c.identity)
        .where(which)
        .order_by(_TOKENS.c.identity, _TOKENS.c.created_at, _TOKENS.c.id)
    )
    return [Token(**row) for row in connection.execute(wanted).mappings()]


def _active(connection: sa.Connection, name: str) -> bool:
    return any(one.revoked_at is None for one in _read(connection, _TOKENS.c.identity == name))


def _admins(connection: sa.Connection) -> bool:
    return bool(_read(connection, (_IDENTITIES.c.role == "admin") & _TOKENS.c.revoked_at.is_(None)))
