"""One connection through the proxy, and as much of PostgreSQL's protocol as its faults have to understand."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEAD_BYTES = 64
_ENDS_A_TRANSACTION = (b"COMMIT", b"END")
_BEGINS_ONE = (b"BEGIN", b"START TRANSACTION")


class Messages:
    """Cuts a stream into messages: the kind, and no more of the content than its first bytes.

    The first message of a client (startup, or a request to cancel) has no kind; it is given as b"".
    """

    def __init__(self, *, from_client: bool) -> None:
        self._kindless = from_client
        self._kind = b""
        self._head = bytearray()
        self._left = 0
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The messages that are complete with these bytes."""
        self._pending += data
        while True:
            if self._left:
                taken = min(self._left, len(self._pending))
                self._head += self._pending[: min(taken, _HEAD_BYTES - len(self._head))]
                del self._pending[:taken]
                self._left -= taken
                if self._left:
                    return
                yield self._kind, bytes(self._head)
            else:
                header = 4 if self._kindless else 5
                if len(self._pending) < header:
                    return
                self._kind = bytes(self._pending[: header - 4])
                self._left = struct.unpack_from("!I", self._pending, header - 4)[0] - 4
                self._kindless = False
                self._head.clear()
                del self._pending[:header]
                if self._left <= 0:
                    self._left = 0
                    yield self._kind, b""


class Session:
    """What a connection is in the middle of: told of the messages of both sides.

    A *committing request* is one whose success commits something: COMMIT in a transaction, or, outside of
    one, anything but BEGIN.
    """

    def __init__(self) -> None:
        self._requests = Messages(from_client=True)
        self._replies = Messages(from_client=False)
        self._status = b""
        self._said = b""
        self._failed = False

    def requested(self, data: bytes) -> bool:
        """Is there a committing request that is complete with these bytes?"""
        commits = False
        for kind, head in self._requests.feed(data):
            if kind in (b"Q", b"P"):
                self._said = head[head.find(b"\0") + 1 :] if kind == b"P" else head
            elif kind == b"B":
                # Bound without having been parsed now: a prepared statement, which is never BEGIN or COMMIT.
                self._said = self._said or b"bound"
            if kind in (b"Q", b"S"):
                commits = commits or self._commits()
                self._said = b""
        return commits

    def _commits(self) -> bool:
        said = self._said.lstrip().upper()
        if self._status == b"I":
            return bool(said) and not said.startswith(_BEGINS_ONE)
        return self._status == b"T" and said.startswith(_ENDS_A_TRANSACTION)

    def replied(self, data: bytes) -> tuple[bool, bool]:
        """Does a reply end with these bytes, and did it say that nothing failed?"""
        ended = well = False
        for kind, head in self._replies.feed(data):
            if kind == b"E":
                self._failed = True
            elif kind == b"Z":
                self._status, ended, well = head[:1], True, not self._failed
                self._failed = False
        return ended, well


@dataclass(eq=False)
class Wire:
    """One connection through the proxy. `name` is the client's application_name."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    name: str = ""
    dead: bool = False
    """In a hole: nothing comes through any more, and nobody is told."""
    session: Session = field(default_factory=Session)
    reply_lost: bool = False
    """The reply that comes now is the last one, and the client does not get it."""

    def end(self) -> None:
        """Both ends are closed, after what was sent to them."""
        self.client.close()
        self.server.close()

    def cut(self) -> None:
        """Both ends are closed at once."""
        self.client.transport.abort()
        self.server.transport.abort()

    def reset(self) -> None:
        """Ends it as a firewall does: the client gets an RST."""
        socket_ = self.client.get_extra_info("socket")
        with contextlib.suppress(OSError):
            socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut()


def application_name(startup: bytes) -> str:
    parts = startup[8:].split(b"\0")
    values = dict(zip(parts[::2], parts[1::2], strict=False))
    return values.get(b"application_name", b"?").decode()
