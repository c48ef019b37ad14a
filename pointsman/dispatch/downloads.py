"""Fetching outputs from where a target's answers say that they are, which may be another host.

An answer must not make us ask whom we would not ask: other hosts have to be named by the preset or the target's
settings, and addresses that are not public (this machine, its network, a cloud's metadata service) likewise. What is
checked is the address that is then connected to, so a name that resolves differently the second time gains nothing.
The target's own origin gets the headers of the target, its key included; nobody else does.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from pointsman.dispatch.protocol import Response
from pointsman.dispatch.targets.policies import OutputsSection
from pointsman.dispatch.targets.spec import TargetSpec
from pointsman.dispatch.transport import LONGEST_FETCH_S, Fetched, NoAnswer
from pointsman.settings import Secret

MOST_REDIRECTS = 4
LARGEST_OUTPUT = 4 * 1024**3
_PORTS = {"http": 80, "https": 443}
_LEGAL = "!#$%&'()*+,/:;=?@[]~"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"


class NotAllowed(Exception):
    """The output lies where nobody allowed us to look. The message says where, and what to do."""


class Downloads:
    def __init__(
        self, target: TargetSpec, outputs: OutputsSection, *, headers: Mapping[str, Secret], timeout_s: float
    ) -> None:
        self._base = urlsplit(target.base_url)
        self._hosts = (*outputs.hosts, *target.output_hosts)
        self._networks = [ipaddress.ip_network(one) for one in (*outputs.networks, *target.output_networks)]
        self._headers = [(name.encode(), value.reveal().encode()) for name, value in headers.items()]
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    async def fetch(self, url: str, into: Path) -> Fetched | Response | NoAnswer:
        """Download to the file `into`, made durable. A `Response` is an answer other than success.

        Raises `NotAllowed`.
        """
        return await asyncio.to_thread(self._fetch, url, into)

    def close(self) -> None:
        """Leave off at the next piece: the process waits for its threads, and nobody waits for these any more."""
        self._closed = True

    def _fetch(self, url: str, into: Path) -> Fetched | Response | NoAnswer:
        ends_by = monotonic() + LONGEST_FETCH_S
        for _ in range(MOST_REDIRECTS + 1):
            got = self._once(url, into, ends_by)
            if not isinstance(got, str):
                return got
            url = urljoin(url, got)
        raise NotAllowed(f"it is behind more than {MOST_REDIRECTS} redirects")

    def _once(self, url: str, into: Path, ends_by: float) -> Fetched | Response | NoAnswer | str:
        """One request; a string is where it redirects to."""
        from pointsman.dispatch.connecting import get

        url = quote(url, safe=_LEGAL)
        place = self._check_url(url)
        ours = origin(place) == origin(self._base)
        headers = [(b"Host", place.netloc.encode()), (b"User-Agent", b"pointsman"), (b"Accept", b"*/*")]
        if ours:
            headers += self._headers
        if place.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        return get(
            url,
            headers,
            networks=None if ours else self._networks,
            tls=self._tls,
            timeout_s=self._timeout_s,
            ends_by=ends_by,
            keep=lambda pieces: self._keep(pieces, into),
        )

    def _keep(self, pieces: Iterable[bytes], into: Path) -> Fetched | Response | NoAnswer:
        digest = hashlib.sha256()
        with into.open("wb") as file:
            for piece in pieces:
                if self._closed:
                    return NoAnswer("stopped", left=True)
                digest.update(piece)
                file.write(piece)
                if file.tell() > LARGEST_OUTPUT:
                    return Response(413, {}, b"")
            file.flush()
            os.fsync(file.fileno())
            return Fetched(digest.hexdigest(), file.tell())

    def _check_url(self, url: str) -> SplitResult:
        try:
            place = urlsplit(url)
            host, _ = place.hostname, place.port
        except ValueError as error:
            raise NotAllowed("it lies at what is no URL") from error
        if place.scheme not in _PORTS or not host or place.username is not None or place.password is not None:
            raise NotAllowed(f"it lies at a {place.scheme or 'relative'} URL; allowed: https without credentials")
        if origin(place) == origin(self._base):
            return place
        if place.scheme == "http" and self._base.scheme != "http":
            raise NotAllowed(f"it lies at http://{host}, unprotected, while the target itself is asked by https")
        if not any(_is_host(host, allowed) for allowed in self._hosts):
            raise NotAllowed(
                f"it lies at {host}; allow it by outputs.hosts of the preset or the target's --output-host"
            )
        return place


def origin(place: SplitResult) -> tuple[str, str, int]:
    """Scheme, host and port."""
    return place.scheme, (place.hostname or "").lower(), place.port or _PORTS.get(place.scheme, 0)


def _is_host(host: str, allowed: str) -> bool:
    host = host.lower().rstrip(".")
    return host == allowed.lstrip(".") or (allowed.startswith(".") and host.endswith(allowed))


def is_allowed(address: Address, networks: Iterable[Any]) -> bool:
    """Public, or in one of the networks. An IPv6 address that stands for an IPv4 one counts as that one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_allowed(inner, networks)
    if any(address in network for network in networks):
        return True
    return address.is_global and not address.is_multicast
