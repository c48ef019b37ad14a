"""One request for an output at another place, over connections that check where they lead and how long it takes.

Apart from `downloads`, which imports this when there is something to fetch: httpcore takes a tenth of a second to
import, and most drives never need it.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

import httpcore

from pointsman.dispatch.downloads import NotAllowed, is_allowed
from pointsman.dispatch.protocol import Response
from pointsman.dispatch.transport import TOO_SLOW, Fetched, NoAnswer

_LONGEST_CONNECT_S = 5.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def get(
    url: str,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    networks: Sequence[Any] | None,
    tls: ssl.SSLContext | None,
    timeout_s: float,
    ends_by: float,
    keep: Callable[[Iterable[bytes]], Fetched | Response | NoAnswer],
) -> Fetched | Response | NoAnswer | str:
    """What `keep` makes of the body; a string is where it redirects to.

    `networks` are those that are not public and allowed all the same, None = anywhere. Each wait may take `timeout_s`,
    and everything together until `ends_by`, of the monotonic clock. Raises `NotAllowed`.
    """
    timeouts = {
        "connect": min(timeout_s, _LONGEST_CONNECT_S),
        **dict.fromkeys(("read", "write", "pool"), timeout_s),
    }
    try:
        with (
            httpcore.ConnectionPool(ssl_context=tls, network_backend=_Backend(networks, ends_by)) as pool,
            pool.stream("GET", url, headers=headers, extensions={"timeout": timeouts}) as answer,
        ):
            if answer.status in _REDIRECTS:
                places = [value for name, value in answer.headers if name.lower() == b"location"]
                return places[0].decode("latin-1") if places else Response(answer.status, {}, b"")
            if answer.status != 200:
                return Response(answer.status, {}, b"")
            return keep(answer.iter_stream())
    except (httpcore.ConnectError, httpcore.ConnectTimeout):
        return NoAnswer("unreachable", left=True)
    except httpcore.TimeoutException:
        return TOO_SLOW if monotonic() >= ends_by else NoAnswer("timeout", left=True)
    except (httpcore.NetworkError, httpcore.ProtocolError):
        return NoAnswer("connection_lost", left=True)


class _Backend(httpcore.SyncBackend):
    """Connects to public addresses and those of `networks`, and to the very address that it has checked."""

    def __init__(self, networks: Sequence[Any] | None, ends_by: float) -> None:
        self._networks = networks
        self._ends_by = ends_by

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        address = host if self._networks is None else _checked(host, port, self._networks)
        return _Stream(super().connect_tcp(address, port, timeout, local_address, socket_options), self._ends_by)


def _checked(host: str, port: int, networks: Sequence[Any]) -> str:
    """An address of the host. Raises `NotAllowed` when any of them may not be asked."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    addresses = [str(one[4][0]) for one in found]
    for address in addresses:
        if not is_allowed(ipaddress.ip_address(address.partition("%")[0]), networks):
            raise NotAllowed(
                f"{host} is at {address}, which is not public; allow it by outputs.networks of the preset "
                "or the target's --output-network"
            )
    return addresses[0]


class _Stream(httpcore.NetworkStream):
    """A connection on which no wait goes on beyond the end of the time for all of them."""

    def __init__(self, stream: httpcore.NetworkStream, ends_by: float) -> None:
        self._stream = stream
        self._ends_by = ends_by

    def _left_s(self, timeout: float | None) -> float:
        left_s = self._ends_by - monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout
        return left_s if timeout is None else min(timeout, left_s)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left_s(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._left_s(timeout)), self._ends_by)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
