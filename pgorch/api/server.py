"""Serving the API with uvicorn."""

import signal
import socket
from collections.abc import Collection
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette

from pgorch.api.addresses import LOOPBACK_NAMES, is_loopback
from pgorch.api.app import create_app
from pgorch.api.connections import SIZE
from pgorch.api.protocol import Protocol
from pgorch.errors import ConfigError

SHUTDOWN_SECONDS: Final = 10


class _Server(uvicorn.Server):
    """Tells the application before it waits for open answers: streams would never end by themselves."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.release()
        await super().shutdown(sockets)


def build_server(
    dsn: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    connections: int = SIZE,
    allowed_hosts: Collection[str] | None = None,
    no_auth: bool = False,
    direct_dsn: str | None = None,
    **options: Any,
) -> uvicorn.Server:
    """A server that is ready to run: `server.run()`, or `await server.serve()` inside a loop.

    On a loopback address it answers to the names of this machine only, so that no web page can reach it under
    a name of its own; elsewhere, to `allowed_hosts`, or to any name. `options` go to uvicorn. With `no_auth`
    it asks for no keys. Raises ConfigError if that is wanted on an address which others can reach.
    """
    if no_auth and not is_loopback(host):
        raise ConfigError(
            f"Without keys the API listens on loopback addresses alone, and {host} is none.",
            hint="Leave --no-auth out, and make a key with: pgorch keys create NAME --role admin",
        )
    if allowed_hosts is None and is_loopback(host):
        allowed_hosts = LOOPBACK_NAMES | {host}
    app = create_app(
        dsn, connections=connections, allowed_hosts=allowed_hosts, no_auth=no_auth, direct_dsn=direct_dsn
    )
    settings: dict[str, Any] = {
        "log_level": "warning",
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "timeout_graceful_shutdown": SHUTDOWN_SECONDS,
        "ws": "none",
        "http": Protocol,
        **options,
    }
    return _Server(uvicorn.Config(app, host=host, port=port, **settings), app)


def serve(dsn: str, host: str = "127.0.0.1", port: int = 8000, **options: Any) -> None:
    """Serves the API until SIGTERM or SIGINT, then ends the requests under way and returns.

    Options as in `build_server`. Runs in the main thread. Raises ConfigError if it cannot listen there.
    """
    server = build_server(dsn, host, port, **options)
    listener = listen(host, port)
    # At its end uvicorn raises the signal that stopped it again, for whoever handled it before: here, nobody.
    before = {sign: signal.signal(sign, _do_nothing) for sign in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[listener])
    finally:
        listener.close()
        for sign, handler in before.items():
            signal.signal(sign, handler)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises ConfigError if that is not possible."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # asyncio turns Nagle off only where the protocol is named; with it answers come 40 ms late.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
        return listener
    except OSError as error:
        raise ConfigError(
            f"The API cannot listen on port {port} of {host}: {error.strerror}.",
            hint="Choose another port, or stop what has this one.",
        ) from error


def _do_nothing(sign: int, frame: FrameType | None) -> None:
    pass
