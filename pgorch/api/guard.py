"""What holds for every request and answer, before and after any handler."""

from collections.abc import Collection
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pgorch.api.problems import Problem

SECURITY_HEADERS: Final = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Adds the security headers; refuses unknown hosts and writes that a browser makes for another site."""

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str] | None = None) -> None:
        self._app = app
        self._allowed_hosts = None if allowed_hosts is None else {host.lower() for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SECURITY_HEADERS]
            await send(message)

        problem = self._problem(scope)
        app = self._app if problem is None else problem.response()
        await app(scope, receive, send_with_headers)

    def _problem(self, scope: Scope) -> Problem | None:
        host = site = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"sec-fetch-site":
                site = value
        # A page of another site can make a browser send a request without a body, and without being asked.
        if site in (b"cross-site", b"same-site") and scope["method"] not in _SAFE_METHODS:
            return Problem("not-allowed", "Pages of other sites may not change anything here.")
        # A name of another site that resolves to this address would make that site's pages ours.
        if self._allowed_hosts is not None and _host_name(host) not in self._allowed_hosts:
            return Problem(
                "misdirected",
                "This server does not answer under that host name.",
                hint="Use one of: " + ", ".join(sorted(self._allowed_hosts)) + ".",
            )
        return None


def _host_name(header: bytes) -> str:
    text = header.decode("latin-1").lower()
    name, colon, port = text.rpartition(":")
    return name if colon and port.isdecimal() else text
