"""Files of http and https servers, without a way into the house's own network.

A spec may come from somebody else than the operator. So a server's name is looked up once, all its
addresses must be public, and the connection goes to an address that was checked. Redirects are
followed one by one under the same rule.
"""

from __future__ import annotations

import io
import ipaddress
import socket
from typing import BinaryIO

import httpx

from retune.addresses import WEB, redact, scrub
from retune.errors import DataError

SOURCES = "data.sources"
_REDIRECTS = 5
_TIMEOUT_S = 60.0
_PIECE = 1 << 18
_MISSING = (404, 410)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


def is_public(address: str) -> bool:
    """Say whether an IP address is one of the open internet, also where it wraps an IPv4 one."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv4Address):
        return found.is_global and not found.is_multicast
    inner = found.ipv4_mapped or found.sixtofour
    if found in _NAT64:
        inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    if inner is not None:
        return is_public(str(inner))
    return found in _GLOBAL_UNICAST and found.is_global


class WebFile(io.RawIOBase):
    """A file of a server: its bytes as they are sent, read once from the beginning.

    Args:
        url: Its URL; a user and password in it are sent to that server only.
        private_hosts: Hosts (`name` or `name:port`) that may have private addresses.
        named_in: Which field of a spec names it, for errors.

    Raises:
        DataError: An address is not allowed, or the server does not give the file.
    """

    def __init__(self, url: str, private_hosts: tuple[str, ...], named_in: str) -> None:
        self._url, self._named_in = url, named_in
        # A proxy of the environment would look names up by itself, after our check.
        self._client = httpx.Client(
            trust_env=False, verify=httpx.create_ssl_context(), timeout=_TIMEOUT_S, follow_redirects=False
        )
        try:
            self._response = self._follow(private_hosts)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            self._client.close()
            raise self._error(f"cannot be had: {scrub(str(error), url)}", "check the URL") from None
        except BaseException:
            self._client.close()
            raise
        self._pieces = self._response.iter_raw(_PIECE)
        self._rest = b""

    @property
    def size(self) -> int | None:
        """The file's bytes, where the server says it."""
        length = self._response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with the next bytes; 0 at the end."""
        try:
            while not self._rest and (piece := next(self._pieces, None)) is not None:
                self._rest = piece
        except httpx.HTTPError as error:
            what = f"broke off: {scrub(str(error), self._url)}"
            raise self._error(what, "run again when the server is well") from None
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

    def close(self) -> None:
        """Close the connection."""
        if not self.closed:
            self._client.close()
        super().close()

    def _follow(self, private_hosts: tuple[str, ...]) -> httpx.Response:
        target = httpx.URL(self._url)
        for _ in range(_REDIRECTS + 1):
            response = self._get(target, private_hosts)
            if not response.has_redirect_location:
                return self._checked(response)
            response.close()
            onward = target.join(response.headers["Location"])
            if onward.scheme not in WEB or (target.scheme, onward.scheme) == ("https", "http"):
                what = f"is redirected to {redact(str(onward))}, away from {target.scheme}"
                raise self._error(what, "name the file's own https URL")
            target = onward
        raise self._error(f"is redirected more than {_REDIRECTS} times", "name the file's own URL")

    def _get(self, target: httpx.URL, private_hosts: tuple[str, ...]) -> httpx.Response:
        addresses = self._addresses(target, private_hosts)
        for address in addresses:
            request = self._client.build_request(
                "GET",
                target.copy_with(host=address, username="", password="", fragment=None),
                headers={"Host": target.netloc.decode(), "Accept-Encoding": "identity"},
                extensions={"sni_hostname": target.raw_host.decode()},
            )
            auth = httpx.BasicAuth(target.username, target.password) if target.userinfo else None
            try:
                return self._client.send(request, stream=True, auth=auth)
            except httpx.ConnectError:
                if address == addresses[-1]:
                    raise
        raise AssertionError("a name has an address")

    def _addresses(self, target: httpx.URL, private_hosts: tuple[str, ...]) -> list[str]:
        """Return the addresses of a server, all of them checked."""
        host = target.raw_host.decode().lower()
        port = target.port or {"http": 80, "https": 443}[target.scheme]
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise self._error(f"has no server: {host!r} cannot be found", "check the URL") from None
        addresses = list(dict.fromkeys(str(place[4][0]) for place in found))
        private = [address for address in addresses if not is_public(address)]
        if private and not {host, f"{host}:{port}"} & {name.lower().strip("[]") for name in private_hosts}:
            what = f"leads to {host} ({private[0]}), which is no public address"
            raise self._error(what, f"the operator may add {host} to the setting sources_private_hosts")
        return addresses

    def _checked(self, response: httpx.Response) -> httpx.Response:
        status = response.status_code
        if status == 200:
            return response
        response.close()
        if status in _MISSING:
            raise self._error(f"is not there (the server answered {status})", "check the URL")
        if status in (401, 403):
            raise self._error(f"is refused (the server answered {status})", "check the URL's credentials")
        raise self._error(f"is not given (the server answered {status})", "run again when the server is well")

    def _error(self, what: str, action: str) -> DataError:
        return DataError(f"{self._named_in}: {redact(self._url)} {what}", action)


def open_web(url: str, private_hosts: tuple[str, ...], named_in: str = SOURCES) -> BinaryIO:
    """Open a file of a server; raises DataError as `WebFile` does."""
    return io.BufferedReader(WebFile(url, private_hosts, named_in), _PIECE)


def size_of_web(url: str, private_hosts: tuple[str, ...]) -> int | None:
    """Return the size of a server's file, where the server says it; raises DataError as `WebFile` does."""
    with WebFile(url, private_hosts, SOURCES) as file:
        return file.size
