"""`pgorch serve`: the HTTP API as a process."""

from typing import Annotated

import typer

from pgorch.cli.logs import log_to_stderr
from pgorch.cli.options import Dsn, required_dsn

Host = Annotated[str, typer.Option("--host", help="Address to listen on.")]
Port = Annotated[int, typer.Option("--port", help="Port to listen on.", min=1, max=65535)]
Quiet = Annotated[bool, typer.Option("--quiet", hidden=True)]


def serve(dsn: Dsn = None, host: Host = "127.0.0.1", port: Port = 8000, quiet: Quiet = False) -> None:
    """Serve the HTTP API. It holds no state: run as many as you like. SIGTERM ends it."""
    from pgorch.api.server import serve as serve_api

    address = required_dsn(dsn)
    log_to_stderr(quiet=quiet)
    if not quiet:
        typer.echo(f"API http://{host}:{port}", err=True)
    serve_api(address, host=host, port=port)
