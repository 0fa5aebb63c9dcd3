"""A PgBouncer in transaction mode in front of a server, as unkind as it can be: with every transaction a
connection gets another session, so that whatever is left behind in one is missed, or met by somebody else."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

_PR_SET_PDEATHSIG = 1
_SETTINGS = """
[databases]
* = host={host} port={port} auth_user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
logfile = {directory}/log
auth_type = trust
auth_file = {directory}/users
auth_query = select usename, passwd from pg_shadow where usename = $1
admin_users = {user}
pool_mode = {mode}
server_round_robin = 1
min_pool_size = 3
default_pool_size = {size}
max_client_conn = 1000
server_idle_timeout = 20
ignore_startup_parameters = extra_float_digits
"""


def pooler_program() -> str | None:
    """Where PgBouncer is; None if it is not installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Pooler:
    """A running PgBouncer. `dsn_of(server's dsn)` is the same database through it."""

    def __init__(self, server: str, *, mode: str = "transaction", size: int = 20) -> None:
        program = pooler_program()
        assert program, "PgBouncer is not installed"
        target = conninfo_to_dict(server)
        host = str(target.get("host") or "127.0.0.1")
        self._user = str(target.get("user") or "postgres")
        self._directory = Path(tempfile.mkdtemp(prefix="pgorch-pooler-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        (self._directory / "users").write_text(f'"{self._user}" "{target.get("password", "")}"\n')
        (self._directory / "conf").write_text(
            _SETTINGS.format(
                # The socket's directory may be closed to whom PgBouncer runs as; our servers listen here too.
                host="127.0.0.1" if host.startswith("/") else host,
                port=target.get("port") or 5432,
                user=self._user,
                own_port=self.port,
                directory=self._directory,
                mode=mode,
                size=size,
            )
        )
        # It refuses to run as root.
        user = "nobody" if os.getuid() == 0 else None
        if user:
            uid = pwd.getpwnam(user).pw_uid
            for path in (self._directory, *self._directory.iterdir()):
                os.chown(path, uid, -1)
        libc = ctypes.CDLL(None)
        self._process = subprocess.Popen(
            [program, "-q", str(self._directory / "conf")],
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
        self._wait()

    def dsn_of(self, dsn: str) -> str:
        return make_conninfo(dsn, host="127.0.0.1", port=self.port, sslmode="disable", gssencmode="disable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(10)
        shutil.rmtree(self._directory, ignore_errors=True)

    def forget(self, name: str) -> None:
        """Closes its sessions in a database, which is going to be dropped."""
        console = f"host=127.0.0.1 port={self.port} user={self._user} dbname=pgbouncer sslmode=disable"
        with psycopg.connect(console, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute(f'kill "{name}"'.encode())
            connection.execute(f'resume "{name}"'.encode())

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                said = self._directory / "log"
                log = said.read_text() if said.exists() else ""
                assert self._process.poll() is None, f"PgBouncer ended: {log}"
                assert time.monotonic() < deadline, f"PgBouncer did not start: {log}"
                time.sleep(0.02)
