"""Posts a message. No redirect is followed, no proxy asked, and nothing of the answer but its status kept."""

import asyncio
import functools
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httptools

from pgorch.hooks.addresses import Refused, checked_addresses

_MOST_BYTES: Final = 65536


@dataclass(frozen=True)
class Answer:
    """The status of the answer, or why there is none."""

    status: int | None
    problem: str | None = None


async def post(
    url: str, headers: Mapping[str, str], body: bytes, *, seconds: float, allow_private: bool = False
) -> Answer:
    """Sends `body` and waits for the answer, for so many seconds in all. Raises nothing."""
    reading = _Reading()
    try:
        async with asyncio.timeout(seconds):
            await _post(urlsplit(url), headers, body, allow_private, reading)
        problem = None if reading.status else "the connection was closed without an answer"
    except TimeoutError:
        problem = f"no answer within {seconds:g} s"
    except Refused as refused:
        problem = str(refused)
    except ssl.SSLError as error:
        problem = f"TLS: {getattr(error, 'verify_message', '') or error.reason or 'it failed'}"
    except socket.gaierror as error:
        problem = f"the name cannot be resolved: {error.strerror}"
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        # An upgrade is an error of its own kind there, and no answer here: nobody has asked for one.
        problem = "what came back is no HTTP"
    except (OSError, ValueError) as error:
        problem = f"no connection: {error}"
    # Its status is the answer, whatever became of the rest.
    return Answer(reading.status) if reading.status else Answer(None, problem)


async def _post(
    url: SplitResult, headers: Mapping[str, str], body: bytes, allow_private: bool, reading: "_Reading"
) -> None:
    host = url.hostname or ""
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    addresses = await checked_addresses(host, port, allow_private=allow_private)
    reader, writer = await _connected(addresses, host, port, secure)
    try:
        writer.write(_head(url, headers, len(body)) + body)
        await writer.drain()
        size = 0
        while not reading.complete and size < _MOST_BYTES and (data := await reader.read(_MOST_BYTES)):
            size += len(data)
            reading.parser.feed_data(data)
    finally:
        # Whatever else it wants to say is of no interest.
        writer.transport.abort()


async def _connected(
    addresses: list[str], host: str, port: int, secure: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address that takes the connection; certificate and name are those of the host."""
    tls = _tls() if secure else None
    for address in addresses[:-1]:
        try:
            return await asyncio.open_connection(
                address, port, ssl=tls, server_hostname=host if tls else None
            )
        except ssl.SSLError:
            raise
        except OSError:
            continue
    return await asyncio.open_connection(addresses[-1], port, ssl=tls, server_hostname=host if tls else None)


def _head(url: SplitResult, headers: Mapping[str, str], length: int) -> bytes:
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: {url.netloc}",
        f"content-length: {length}",
        "connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


class _Reading:
    """What the parser has come by."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status: int | None = None
        self.complete = False

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        # Those below are not the answer yet.
        if status >= 200 and self.status is None:
            self.status = status

    def on_message_complete(self) -> None:
        self.complete = self.status is not None


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
