"""The lightest HTTP client that can be: it must not be what is measured."""

import asyncio
import json
from typing import Any


class Connection:
    """One kept-alive connection to an API on this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def post(self, path: str, body: Any = None) -> Any:
        """The answer to a POST, parsed. Raises RuntimeError unless its status is 2xx."""
        assert self._reader is not None
        assert self._writer is not None
        data = b"" if body is None else json.dumps(body).encode()
        kind = b"" if body is None else b"content-type: application/json\r\n"
        self._writer.write(
            b"POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n%scontent-length: %d\r\n\r\n%s"
            % (path.encode(), self._port, kind, len(data), data)
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, length = int(head[9:12]), 0
        for line in head.split(b"\r\n"):
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        answer = await self._reader.readexactly(length)
        if not 200 <= status < 300:
            raise RuntimeError(f"{path}: {status} {answer[:500]!r}")
        return json.loads(answer) if answer else None

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
