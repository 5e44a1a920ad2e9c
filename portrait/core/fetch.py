"""Fetches the picture behind a caller's `image_url` without becoming the caller's way into our network.

The host is resolved once; every address must be public; the connection then goes to that very address, so
that a second DNS answer cannot lead elsewhere. Redirects are followed by hand, each checked the same way.
"""

import ipaddress
import socket
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
from urllib3.util import Timeout

from inference.errors import ImageTooLargeError
from portrait.core.errors import ImageUrlError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Networks that carry an IPv4 address inside an IPv6 one could hide a private target.
_TRANSLATED = tuple(ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How far a fetch may go. `ports` None allows any."""

    max_bytes: int
    total_s: float = 10.0
    connect_s: float = 3.0
    max_redirects: int = 3
    ports: frozenset[int] | None = frozenset({80, 443, 8080, 8443})
    allow_private: bool = False


def is_public(address: str) -> bool:
    """Whether an IP address is on the public internet: not private, loopback, link-local, metadata, multicast."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if any(ip in network for network in _TRANSLATED):
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _split(url: str, limits: FetchLimits) -> tuple[SplitResult, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise ImageUrlError("image_url is not an address.", field="image_url") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ImageUrlError("image_url must start with http:// or https:// and name a host.", field="image_url")
    if parts.username or parts.password:
        raise ImageUrlError("image_url must not carry a user name or password.", field="image_url")
    if limits.ports is not None and port not in limits.ports:
        raise ImageUrlError(f"image_url uses port {port}, which is not allowed.", field="image_url")
    return parts, parts.hostname, port


def _resolve(host: str, port: int, limits: FetchLimits) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ImageUrlError(f"The host {host!r} of image_url cannot be found.", field="image_url") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not limits.allow_private and not all(is_public(address) for address in addresses):
        raise ImageUrlError("image_url leads to an address that is not public.", field="image_url")
    return addresses[0]


def _open(
    parts: SplitResult, address: str, port: int, limits: FetchLimits, left_s: float
) -> tuple[urllib3.HTTPConnectionPool, urllib3.BaseHTTPResponse]:
    host = str(parts.hostname)
    timeout = Timeout(connect=min(limits.connect_s, left_s), read=left_s)
    if parts.scheme == "https":
        pool: urllib3.HTTPConnectionPool = urllib3.HTTPSConnectionPool(
            address, port, timeout=timeout, retries=False, server_hostname=host, assert_hostname=host
        )
    else:
        pool = urllib3.HTTPConnectionPool(address, port, timeout=timeout, retries=False)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Host": parts.netloc, "User-Agent": "Portrait", "Accept": "image/*"}
    return pool, pool.request("GET", path, headers=headers, preload_content=False, redirect=False)


def _read(response: urllib3.BaseHTTPResponse, limits: FetchLimits, ends_at: float) -> bytes:
    too_large = ImageTooLargeError(f"The picture behind image_url has more than {limits.max_bytes} bytes.")
    if int(response.headers.get("Content-Length") or 0) > limits.max_bytes:
        raise too_large
    body = bytearray()
    # decode_content=False: a compressed body must not unfold beyond the limit.
    for chunk in response.stream(65536, decode_content=False):
        body += chunk
        if len(body) > limits.max_bytes:
            raise too_large
        if time.monotonic() > ends_at:
            raise ImageUrlError(f"image_url did not answer within {limits.total_s:g} s.", field="image_url")
    return bytes(body)


def fetch_image(url: str, *, limits: FetchLimits) -> bytes:
    """The bytes behind a public http(s) address.

    Raises:
        ImageUrlError: the address is refused, cannot be reached, answers an error or takes too long.
        ImageTooLargeError: more than `limits.max_bytes`.
    """
    ends_at = time.monotonic() + limits.total_s
    for _ in range(limits.max_redirects + 1):
        parts, host, port = _split(url, limits)
        address = _resolve(host, port, limits)
        try:
            pool, response = _open(parts, address, port, limits, max(0.1, ends_at - time.monotonic()))
            with pool:
                if response.status in _REDIRECTS and "Location" in response.headers:
                    url = urljoin(url, response.headers["Location"])
                    continue
                if response.status != 200:
                    raise ImageUrlError(f"image_url answers {response.status}.", field="image_url")
                return _read(response, limits, ends_at)
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            raise ImageUrlError(
                "image_url cannot be fetched: its server does not answer well.", field="image_url"
            ) from None
    raise ImageUrlError(f"image_url redirects more than {limits.max_redirects} times.", field="image_url")
