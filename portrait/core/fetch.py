"""Fetches the picture behind a caller's `image_url` without becoming the caller's way into our network.

The host is resolved once; every address must be public; the connection then goes to that very address, so
that a second DNS answer cannot lead elsewhere. Redirects are followed by hand, each checked the same way.
One deadline (`portrait.core.deadline`) holds for all of it, however slowly the other side drips.
"""

import ipaddress
import socket
import ssl
import string
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from inference.errors import ImageTooLargeError
from portrait.core.deadline import Deadline
from portrait.core.errors import ImageUrlError

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_READ_BYTES = 65536
# Networks that carry an IPv4 address inside an IPv6 one could hide a private target.
_TRANSLATED = tuple(ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How far a fetch may go. `total_s` holds for everything together, from the DNS question of the first address
    to the last byte behind the last redirect. `ports` None allows any."""

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


def _resolve(host: str, port: int, limits: FetchLimits, deadline: Deadline) -> str:
    try:
        found = deadline.call(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except TimeoutError:
        raise
    except (OSError, UnicodeError):
        raise ImageUrlError(f"The host {host!r} of image_url cannot be found.", field="image_url") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not limits.allow_private and not all(is_public(address) for address in addresses):
        raise ImageUrlError("image_url leads to an address that is not public.", field="image_url")
    return addresses[0]


@contextmanager
def _open(
    parts: SplitResult, address: str, port: int, limits: FetchLimits, deadline: Deadline
) -> Iterator[HTTPResponse]:
    """The answer of `address`, its headers read."""
    host = parts.netloc.rpartition("@")[2].encode("idna").decode()
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=string.punctuation)
    timeout_s = min(limits.connect_s, deadline.left_s())
    with deadline.guarding(socket.create_connection((address, port), timeout=timeout_s)) as plain:
        plain.settimeout(deadline.left_s())
        sock = plain
        if parts.scheme == "https":
            sock = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
        with closing(HTTPConnection(address, port)) as connection, closing(sock):
            connection.sock = sock
            connection.request("GET", path, headers={"Host": host, "User-Agent": "Portrait", "Accept": "image/*"})
            with closing(connection.getresponse()) as response:
                yield response


def _read(response: HTTPResponse, limits: FetchLimits, deadline: Deadline) -> bytes:
    """The body as it was sent: a compressed one must not unfold beyond the limit."""
    too_large = ImageTooLargeError(f"The picture behind image_url has more than {limits.max_bytes} bytes.")
    if (response.length or 0) > limits.max_bytes:
        raise too_large
    body = bytearray()
    while chunk := response.read1(_READ_BYTES):
        deadline.left_s()
        body += chunk
        if len(body) > limits.max_bytes:
            raise too_large
    if response.length:
        raise ConnectionError("the body ended early")
    return bytes(body)


def _fetch(url: str, limits: FetchLimits, deadline: Deadline) -> bytes:
    for _ in range(limits.max_redirects + 1):
        parts, host, port = _split(url, limits)
        address = _resolve(host, port, limits, deadline)
        with _open(parts, address, port, limits, deadline) as response:
            location = response.headers.get("Location")
            if response.status in _REDIRECTS and location:
                # Headers come as Latin-1, whatever their bytes meant.
                url = urljoin(url, quote(location, safe=string.punctuation, encoding="latin-1"))
                continue
            if response.status != 200:
                raise ImageUrlError(f"image_url answers {response.status}.", field="image_url")
            body = _read(response, limits, deadline)
        deadline.left_s()  # what was cut off looks like a body's end where no length was announced
        return body
    raise ImageUrlError(f"image_url redirects more than {limits.max_redirects} times.", field="image_url")


def fetch_image(url: str, *, limits: FetchLimits) -> bytes:
    """The bytes behind a public http(s) address.

    Raises:
        ImageUrlError: the address is refused, cannot be reached, answers an error or takes too long.
        ImageTooLargeError: more than `limits.max_bytes`.
    """
    with closing(Deadline(limits.total_s)) as deadline:
        try:
            return _fetch(url, limits, deadline)
        except (OSError, HTTPException, ValueError):
            if deadline.over:
                message = f"image_url did not answer within {limits.total_s:g} s."
            else:
                message = "image_url cannot be fetched: its server does not answer well."
            raise ImageUrlError(message, field="image_url") from None
