"""Who acts: the holder of a token, else the user of the operating system.

The rule. A token (`POINTSMAN_TOKEN`) proves a name and its role. Without one, the name is that of the operating
system's user, who is `admin` of a database file (to open it is to own it) and `operator` of a shared database, where
that name proves nothing to others. A worker acts for whoever started the run in Prefect, which proves no name at all.
"""

from __future__ import annotations

import os
import pwd

from pointsman.safety.identities import Identity, shared
from pointsman.safety.tokens import holder
from pointsman.settings import Secret
from pointsman.workspace import Workspace


def who_acts(ws: Workspace, token: Secret | None) -> Identity:
    """The holder of `token`, else the user of the operating system.

    Raises `GuardRefused` for a token that is not, or no longer, one of ours: a bad token never falls back.
    """
    if token is not None:
        name, role = holder(ws, token)
        return Identity(name, role, "token")
    return Identity(_user(), "operator" if shared(ws) else "admin", "local")


def _user() -> str:
    # The system's own word: the variables USER and LOGNAME can be set to anything.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"
