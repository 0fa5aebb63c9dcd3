"""`pgorch dev`: PostgreSQL, the API and workers in one process tree."""

import contextlib
import os
import select
import socket
import time
import urllib.request
from collections.abc import Iterator
from typing import Annotated, Any

import psycopg
import typer
from psycopg.conninfo import make_conninfo

from pgorch.api.addresses import is_loopback
from pgorch.cli.failures import USAGE, Failure, UsageError
from pgorch.cli.options import App, DataDir, Dsn, direct_dsn
from pgorch.cli.processes import Child, Tree, ending
from pgorch.cli.serve import Host, Port

_READY_SECONDS = 60.0


def dev(
    app: App = None,
    workers: Annotated[int, typer.Option("--workers", help="How many worker processes.", min=0, max=64)] = 2,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    data_dir: DataDir = None,
    dsn: Dsn = None,
) -> None:
    """Run everything here: PostgreSQL (your own with a DSN), API and workers. Ctrl-C ends it all."""
    if dsn and data_dir:
        raise UsageError(
            "--dsn and --data-dir exclude each other: the one is your server, the other is ours."
        )
    _check_port(host, port)
    with _database(dsn, data_dir) as database:
        _prepare(database)
        count = workers if app else 0
        direct = None if database.embedded else direct_dsn(None, dsn)
        with Tree(_children(database.dsn, direct, app or [], count, host, port)) as tree:
            if not _wait_until_ready(tree, database.dsn, host, port, count):
                return
            _say(f"API        http://{host}:{port}, {_openness(host)}")
            tools = _tools(database.dsn)
            if count:
                _say(f"workers    {count} with the tools {', '.join(tools)}")
            else:
                _say("workers    none: name your tools with --app your_module")
            tree.watch(_say, database.look)
            _say("ending")


class _Database:
    """The server that everything runs on; an embedded one is brought back if it dies."""

    def __init__(self, dsn: str, server: Any = None) -> None:
        self.dsn = dsn
        self._server = server
        self._connection = self._connect()

    def _connect(self) -> psycopg.Connection[Any]:
        from pgorch.database.connection import connect_sync

        # Not the database itself: it may be dropped and made again (`pgorch db reset`).
        watched = make_conninfo(self.dsn, dbname="postgres") if self._server else self.dsn
        return connect_sync(watched, application_name="pgorch dev")

    def look(self) -> None:
        """Costs the server nothing: a connection on which something arrives unasked has been closed."""
        if self._server is None or not select.select([self._connection], [], [], 0)[0]:
            return
        try:
            self._connection.execute("select 1")
        except psycopg.Error:
            self._connection.close()
            self._server.start()
            self._connection = self._connect()
            _say(f"PostgreSQL {self._server.version} had ended; it was started again")

    @property
    def embedded(self) -> bool:
        return self._server is not None

    @property
    def info(self) -> psycopg.ConnectionInfo:
        return self._connection.info

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def _database(dsn: str | None, data_dir: str | None) -> Iterator[_Database]:
    from pgorch.config import resolve_dsn
    from pgorch.embedded import EmbeddedServer

    address = None if data_dir else resolve_dsn(dsn)
    with contextlib.ExitStack() as stack:
        server = None
        if address is None:
            server = stack.enter_context(EmbeddedServer(data_dir))
            address = server.dsn
        database = _Database(address, server)
        stack.callback(database.close)
        info = database.info
        version = (info.parameter_status("server_version") or "").split()[0]
        if server:
            _say(f"PostgreSQL {version} (embedded), data in {server.data_dir}")
            _say(f"DSN        {server.dsn}")
        else:
            _say(f"PostgreSQL {version}, database {info.dbname} on {info.host}:{info.port} as {info.user}")
        yield database


def _prepare(database: _Database) -> None:
    from pgorch.database.migrations import migrate

    applied = migrate(database.dsn)
    _say(f"schema     {len(applied)} files applied" if applied else "schema     up to date")


def _children(dsn: str, direct: str | None, app: list[str], count: int, host: str, port: int) -> list[Child]:
    # The DSN may hold a password, which the list of processes would show.
    environment = {"PGORCH_DSN": dsn, "PGORCH_DIRECT_DSN": direct or ""}
    serve = ["serve", "--quiet", "--host", host, "--port", str(port)]
    if is_loopback(host):
        serve.append("--no-auth")
    modules = [part for module in app for part in ("--app", module)]
    children = [Child("API", serve, environment)]
    for number in range(1, count + 1):
        name = ["--name", _worker_name(number)]
        children.append(Child(f"worker {number}", ["worker", "--quiet", *name, *modules], environment))
    return children


def _openness(host: str) -> str:
    if is_loopback(host):
        return "without keys: everybody on this machine may use it"
    return "for bearers of keys: pgorch keys create NAME --role admin"


def _worker_name(number: int) -> str:
    return f"dev-{os.getpid()}-{number}"


def _wait_until_ready(tree: Tree, dsn: str, host: str, port: int, count: int) -> bool:
    """Does everything run? False if a signal came first. A child that fails now would fail again."""
    deadline = time.monotonic() + _READY_SECONDS
    while not tree.stopping.is_set():
        for child in tree.children:
            code = child.exit_code()
            if code == USAGE:
                raise typer.Exit(USAGE)
            if code is not None:
                raise Failure(
                    f"The {child.name} did not start: {ending(code)}.", hint="See what it says above."
                )
        if _answers(host, port) and _enlisted(dsn) >= count:
            return True
        if time.monotonic() > deadline:
            raise Failure(
                f"API and workers did not start within {_READY_SECONDS:g} seconds.", hint="pgorch doctor"
            )
        tree.stopping.wait(0.05)
    return False


def _answers(host: str, port: int) -> bool:
    reached = "127.0.0.1" if host == "0.0.0.0" else host
    try:
        with urllib.request.urlopen(f"http://{reached}:{port}/livez", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _enlisted(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select count(distinct w.worker_id) from pgorch.worker_list w"
            " where w.status = 'alive' and w.name like %s",
            [f"dev-{os.getpid()}-%"],
        ).fetchone()
    return row[0] if row else 0


def _tools(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select t.name from pgorch.tool_list t where t.workers > 0 order by 1"
        ).fetchall()
    return [name for (name,) in rows]


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"Port {port} on {host} cannot be had: {error.strerror}.",
                hint=f"pgorch dev --port {port + 1}",
            ) from error


def _say(line: str) -> None:
    # Whoever reads this through a pipe waits for the lines, and may be gone.
    with contextlib.suppress(BrokenPipeError):
        print(line, flush=True)
