"""A proxy between workers and the server that breaks connections at points that a test chooses."""

import contextlib
import socket
import threading
from typing import Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Wire:
    """One connection through the proxy. `name` is the client's application_name."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.name = ""

    def cut(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Fault:
    """Something that is done once to a connection whose name ends with `name`, when it sends `request`."""

    def __init__(self, name: str, request: bytes, *, reaches_server: bool) -> None:
        self.name = name
        self.request = request
        self.reaches_server = reaches_server
        self.happened = threading.Event()

    def fits(self, wire: Wire, data: bytes) -> bool:
        return not self.happened.is_set() and wire.name.endswith(self.name) and self.request in data


class Proxy:
    """Listens on a port of its own and passes everything on, but for the faults.

    `hold` stops everything without closing anything, as a network does that lost a route.
    """

    def __init__(self, dsn: str) -> None:
        target = conninfo_to_dict(dsn)
        self._target = (str(target.get("host", "localhost")), int(target.get("port") or 5432))
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        # Without these the client's first bytes would ask for encryption.
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        self._wires: list[Wire] = []
        self._faults: list[Fault] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._flowing.set()
        self._listener.close()
        self.cut_all()

    def lose_reply(self, name: str, request: bytes = b"") -> Fault:
        """The next request of such a connection is carried out, but its answer is lost, and the connection
        with it."""
        return self._add(Fault(name, request, reaches_server=True))

    def lose_request(self, name: str, request: bytes = b"") -> Fault:
        """The next request of such a connection never arrives, and the connection is lost."""
        return self._add(Fault(name, request, reaches_server=False))

    def hold(self) -> None:
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    def cut_all(self) -> None:
        with self._lock:
            wires, self._wires = self._wires, []
        for wire in wires:
            wire.cut()

    def _add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                wire = Wire(client, self._connect())
            except OSError:
                client.close()
                continue
            with self._lock:
                self._wires.append(wire)
            replies_lost = threading.Event()
            threading.Thread(target=self._requests, args=(wire, replies_lost), daemon=True).start()
            threading.Thread(target=self._replies, args=(wire, replies_lost), daemon=True).start()

    def _connect(self) -> socket.socket:
        host, port = self._target
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
            return server
        return socket.create_connection((host, port))

    def _requests(self, wire: Wire, replies_lost: threading.Event) -> None:
        fault: Fault | None = None
        with contextlib.suppress(OSError):
            while data := wire.client.recv(65536):
                self._flowing.wait()
                fault = next((f for f in self._faults if f.fits(wire, data)), None)
                wire.name = wire.name or _application_name(data)
                if fault is not None:
                    fault.happened.set()
                    if not fault.reaches_server:
                        break
                    replies_lost.set()
                wire.server.sendall(data)
        if not replies_lost.is_set():
            wire.cut()

    def _replies(self, wire: Wire, replies_lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := wire.server.recv(65536):
                self._flowing.wait()
                if replies_lost.is_set():
                    break
                wire.client.sendall(data)
        wire.cut()


def _application_name(startup: bytes) -> str:
    parts = startup[8:].split(b"\0")
    values = dict(zip(parts[::2], parts[1::2], strict=False))
    return values.get(b"application_name", b"?").decode()


def sessions(connection: psycopg.Connection[dict[str, object]], purpose: str) -> list[int]:
    """The process ids of the sessions that workers have in this database for a purpose ("": for any)."""
    rows = connection.execute(
        "select a.pid from pg_stat_activity a "
        "where a.datname = current_database() and a.application_name like %s"
        " order by a.pid",
        (f"pgorch worker {purpose}%",),
    ).fetchall()
    return [int(str(row["pid"])) for row in rows]
