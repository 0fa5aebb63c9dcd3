"""`pgorch db`: the embedded PostgreSQL by itself."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Annotated, Any

import psycopg
import typer
from psycopg.conninfo import make_conninfo

from pgorch.cli.failures import FAILED, Failure
from pgorch.cli.options import DataDir, Dsn, Output, wants_json
from pgorch.cli.output import to_json

app = typer.Typer(help="The embedded PostgreSQL.", no_args_is_help=True)

# Who runs the server for `db start` listens here. So a stop reaches it without a file that could be stale.
_STOP_CHANNEL = "pgorch_embedded_stop"
_STOP_SECONDS = 15.0


@app.command("start")
def start(
    data_dir: DataDir = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay until Ctrl-C or `db stop`.")] = False,
    output: Output = None,
) -> None:
    """Start the embedded PostgreSQL and leave it running."""
    if foreground:
        _hold(data_dir, wants_json(output))
        return
    place = ["--data-dir", data_dir] if data_dir else []
    holder = subprocess.Popen(
        [sys.executable, "-m", "pgorch", "db", "start", "--foreground", *place, "-o", "json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert holder.stdout is not None
    said = holder.stdout.readline()
    if not said:
        raise typer.Exit(holder.wait() or FAILED)
    holder.stdout.close()
    # It goes on without us, on purpose.
    holder.returncode = 0
    if wants_json(output):
        typer.echo(said, nl=False)
        return
    facts = json.loads(said)
    typer.echo(f"PostgreSQL {facts['version']}, data in {facts['data_dir']}")
    typer.echo(f"export PGORCH_DSN='{facts['dsn']}'")


@app.command("stop")
def stop(data_dir: DataDir = None) -> None:
    """Stop what `db start` started. A server that others use goes on until the last of them ends."""
    from pgorch.embedded import EmbeddedServer

    with EmbeddedServer(data_dir) as server:
        dsn, running = server.dsn, server.adopted
        if running:
            with psycopg.connect(_beside(dsn), autocommit=True) as connection:
                connection.execute("select pg_notify(%s, '')", [_STOP_CHANNEL])
    deadline = time.monotonic() + _STOP_SECONDS
    while running and _runs(dsn):
        if time.monotonic() > deadline:
            raise Failure(
                "The server has other users, for instance pgorch dev.",
                hint="End them: it stops with the last.",
            )
        time.sleep(0.05)
    typer.echo("stopped" if running else "it did not run")


@app.command("psql", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, data_dir: DataDir = None, dsn: Dsn = None) -> None:
    """Open psql on the embedded PostgreSQL, or on --dsn. What follows is handed to psql."""
    from pgorch.embedded import EmbeddedServer

    if dsn:
        raise typer.Exit(_run_psql(shutil.which("psql"), dsn, context.args))
    with EmbeddedServer(data_dir) as server:
        own = server.bin_dir / "psql"
        code = _run_psql(str(own) if own.exists() else shutil.which("psql"), server.dsn, context.args)
    raise typer.Exit(code)


@app.command("reset")
def reset(
    data_dir: DataDir = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Throw away everything in the embedded database, and install the schema anew."""
    from pgorch.database.migrations import migrate
    from pgorch.embedded import EmbeddedServer

    with EmbeddedServer(data_dir) as server:
        if not yes:
            typer.confirm(
                f"Throw away all graphs, runs and tables of yours in {server.data_dir}?", abort=True
            )
        with psycopg.connect(_beside(server.dsn), autocommit=True) as connection:
            connection.execute("drop database if exists pgorch with (force)")
            # Somebody who starts the server just now makes it, too.
            with contextlib.suppress(psycopg.errors.DuplicateDatabase):
                connection.execute("create database pgorch")
        migrate(server.dsn)
        typer.echo(f"empty again: {server.data_dir}")


def _hold(data_dir: str | None, as_json: bool) -> None:
    """Use the server until a signal or `db stop` says otherwise."""
    from pgorch.embedded import EmbeddedServer

    try:
        with EmbeddedServer(data_dir) as server:
            facts = {"version": server.version, "data_dir": str(server.data_dir), "dsn": server.dsn}
            if as_json:
                _print_json_line(facts)
            else:
                typer.echo(f"PostgreSQL {server.version}, data in {server.data_dir}\nDSN {server.dsn}")
            while not _told_to_stop(server):
                server.start()
    except KeyboardInterrupt:
        return


def _print_json_line(facts: dict[str, Any]) -> None:
    typer.echo(to_json(facts, indent=False))
    sys.stdout.flush()


def _told_to_stop(server: Any) -> bool:
    """Waits. True: somebody asked for the end; False: the server died."""
    try:
        address = make_conninfo(_beside(server.dsn), application_name="pgorch db start")
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"listen {_STOP_CHANNEL}".encode())
            for _ in connection.notifies():
                return True
    except psycopg.OperationalError:
        pass
    return False


def _beside(dsn: str) -> str:
    """The server's own database: `db reset` drops the other one under those who are connected."""
    return make_conninfo(dsn, dbname="postgres")


def _runs(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=2).close()
    except psycopg.OperationalError as error:
        return "starting up" in str(error) or "shutting down" in str(error)
    return True


def _run_psql(program: str | None, dsn: str, arguments: list[str]) -> int:
    if program is None:
        raise Failure(
            "There is no psql here.", hint="Install PostgreSQL's client, for instance postgresql-client."
        )
    # Ctrl-C belongs to psql, which cancels its query with it.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.call([program, dsn, *arguments], env={**os.environ, "PGAPPNAME": "pgorch psql"})
    finally:
        signal.signal(signal.SIGINT, before)
