"""Identities: a name, what proves it, and what it may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pointsman.errors import GuardRefused
from pointsman.workspace import Workspace

Role = Literal["viewer", "operator", "admin"]
Proof = Literal["token", "local", "none"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Identity:
    """A name, what proves it, and what it may do. Names are compared whatever proves them."""

    name: str
    role: Role
    proof: Proof

    def may(self, role: Role) -> bool:
        """Whether this identity's role is `role` or a higher one."""
        return ROLES.index(self.role) >= ROLES.index(role)


def shared(ws: Workspace) -> bool:
    """Whether others than the owner of one file reach the state of record."""
    return ws.database.dialect.name != "sqlite"


def unproven(name: str) -> Identity:
    """Whoever started a run in Prefect, known only by the run."""
    return Identity(name, "operator", "none")


def require(identity: Identity, role: Role, doing: str) -> None:
    """Raise `GuardRefused` (`role_too_low`) unless `identity` may do what takes `role`."""
    if not identity.may(role):
        raise GuardRefused(
            f"{identity.name} is {identity.role}; {doing} takes the role {role}.",
            instruction="Set POINTSMAN_TOKEN to a token of that role; an admin makes one: `pointsman token create`.",
            code="role_too_low",
        )
