"""AWS Secrets Manager, where a secret is looked for last: only when one is needed, once in five minutes.

Where AWS is not configured nothing is sent. The credentials of the usual AWS settings count (variables, profiles, the
role of an ECS task), those of an EC2 instance only through a profile with `credential_source`: asking its metadata
service would let every machine that is no instance wait for it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from pointsman.errors import DependencyDown
from pointsman.model import Missing
from pointsman.settings.secret import Secret

CACHE_S = 300.0
"""How long a process takes an answer for true, also that there is no such secret: by then a rotated one is read."""
_THROTTLED = frozenset({"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"})
_REFUSED = frozenset(
    {
        *("AccessDeniedException", "AccessDenied", "DecryptionFailure", "UnrecognizedClientException"),
        *("InvalidSignatureException", "ExpiredTokenException", "ExpiredToken", "InvalidClientTokenId"),
    }
)


class SecretsManager:
    """What Secrets Manager told. `connect`, called when needed, gives a client of it or says why there is none."""

    def __init__(
        self, connect: Callable[[], Any | Missing], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect = connect
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._client: Any = None
        self._told: dict[str, tuple[float, Secret | Missing]] = {}

    def read(self, name: str) -> Secret | Missing:
        """The text of the secret, or why there is none.

        Raises `DependencyDown`: `secrets_denied`, `secrets_throttled` (after three tries), `secrets_unreachable`.
        These are not remembered.
        """
        with self._lock:
            until, told = self._told.get(name, (0.0, Missing("")))
            if self._monotonic() >= until:
                told = self._ask(name)
                self._told[name] = (self._monotonic() + CACHE_S, told)
            return told

    def _ask(self, name: str) -> Secret | Missing:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._client is None:
                found = self._connect()
                if isinstance(found, Missing):
                    return found
                self._client = found
            text = self._client.get_secret_value(SecretId=name).get("SecretString")
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == "ResourceNotFoundException":  # also of one that nobody has put a value into
                return Missing("no such secret, or no value in it")
            # Without the error itself: nobody need wonder what else an answer about a secret may hold.
            raise _down(name, code) from None
        except BotoCoreError as error:
            raise _down(name, type(error).__name__) from None
        return Secret(text) if text is not None else Missing("it holds no text")


def _down(name: str, why: str) -> DependencyDown:
    if why in _REFUSED:
        return DependencyDown(
            f"Secrets Manager does not let this process read {name} ({why}).",
            instruction=f"Allow its role secretsmanager:GetSecretValue on {name} (and kms:Decrypt on the key of it)",
            code="secrets_denied",
        )
    if why in _THROTTLED:
        return DependencyDown(
            f"Secrets Manager answers too many requests at once, and did not tell {name} ({why}).",
            instruction="Run the same command again in a minute",
            code="secrets_throttled",
        )
    return DependencyDown(
        f"Secrets Manager did not tell {name} ({why}).",
        instruction="Check the region, AWS_ENDPOINT_URL and the network, then run the same command again",
        code="secrets_unreachable",
    )


def connect() -> Any | Missing:
    """A client of the usual AWS settings, without asking for an instance's metadata."""
    from botocore.config import Config
    from botocore.session import Session

    session = Session()
    session.get_component("credential_provider").remove("iam-role")
    if session.get_credentials() is None:
        return Missing("AWS has no credentials here")
    region = session.get_config_variable("region") or os.environ.get("AWS_REGION")
    if not region:
        return Missing("AWS_DEFAULT_REGION is not set")
    # It writes whole answers into the log of a process that logs everything.
    logging.getLogger("botocore.parsers").setLevel(logging.INFO)
    retries = {"mode": "standard", "total_max_attempts": 3}
    limits = Config(connect_timeout=3, read_timeout=5, retries=retries)  # type: ignore[arg-type]
    return session.create_client("secretsmanager", region_name=region, config=limits)


@cache
def of_this_process() -> SecretsManager:
    return SecretsManager(connect)
