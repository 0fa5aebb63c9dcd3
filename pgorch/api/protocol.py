"""HTTP/1.1 with limits: uvicorn gives whoever sends a byte now and then, or reads none, all the time and room
in the world."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pgorch.api.bodies import RECEIVE_SECONDS

MOST_HEAD_BYTES: Final = 65536
_SEPARATORS: Final = 4


class Protocol(HttpToolsProtocol):
    """Ends a connection whose head is too large (431) or slow (408), whose body is slow although nobody reads
    it, or that takes nothing of its answer. The times are in seconds."""

    head_seconds = 10.0
    # Whoever reads a body gives up after RECEIVE_SECONDS, and has then time to say so.
    body_seconds = RECEIVE_SECONDS + 10.0
    unread_seconds = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head = True
        self._head_bytes = 0
        self._refusal: bytes | None = None
        self._receiving: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_within(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timers()
        super().connection_lost(exc)

    # Receiving.

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            # A header that does not end is told to nobody; what came is counted instead.
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._expect_within(self.head_seconds)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + _SEPARATORS
        if self._head_bytes > MOST_HEAD_BYTES:
            self._refusal = b"431 Request Header Fields Too Large"
            raise ValueError("the head is too large")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._expect_within(self.body_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._expect_within(None)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._refusal is None:
            super().send_400_response(msg)
        else:
            self._refuse(self._refusal)

    # Sending.

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_at_unread(self.transport.get_write_buffer_size() + 1)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _look_at_unread(self, before: int) -> None:
        """Looks again and again while an answer waits to be taken; ends it when none of it was."""
        waiting = self.transport.get_write_buffer_size()
        if waiting >= before:
            self.transport.abort()
            return
        self._unread = self.loop.call_later(self.unread_seconds, self._look_at_unread, waiting)

    # Limits.

    def _expect_within(self, seconds: float | None) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None
        if seconds is not None:
            self._receiving = self.loop.call_later(seconds, self._is_late, seconds)

    def _is_late(self, seconds: float) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            # Another request is still being answered: first things first. Its own body is late by now.
            if self._in_head:
                self._expect_within(seconds)
                return
            self.transport.close()
        elif self._in_head:
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        self.transport.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        self.transport.close()

    def _cancel_timers(self) -> None:
        for timer in (self._receiving, self._unread):
            if timer is not None:
                timer.cancel()
        self._receiving = self._unread = None
