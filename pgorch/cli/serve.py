"""`pgorch serve`: the HTTP API as a process."""

from typing import Annotated

import typer

from pgorch.cli.logs import log_to_stderr
from pgorch.cli.options import DirectDsn, Dsn, direct_dsn, required_dsn

Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)]
Quiet = Annotated[bool, typer.Option("--quiet", hidden=True)]


def serve(
    dsn: Dsn = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Ask for no keys; on loopback addresses only.")
    ] = False,
    direct: DirectDsn = None,
    quiet: Quiet = False,
) -> None:
    """Serve the HTTP API, to the bearers of keys. It holds no state: run many. SIGTERM ends it."""
    from pgorch.api.server import serve as serve_api

    address = required_dsn(dsn)
    log_to_stderr(quiet=quiet)
    if not quiet:
        open_to_all = ", which asks for no keys" if no_auth else ""
        typer.echo(f"API http://{host}:{port}{open_to_all}", err=True)
    serve_api(address, host=host, port=port, no_auth=no_auth, direct_dsn=direct_dsn(direct, dsn))
