"""`pgorch demo`: the demos of the checkout, or those that the wheel has brought along."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import pgorch
from pgorch.errors import ConfigError


def demo(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which to run; without any, they are listed.", metavar="NAME")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Decide the approvals without asking.")] = False,
) -> None:
    """Run a demo on an embedded PostgreSQL of its own, which checks every claim that it makes."""
    arguments = [*(names or ["--list"]), *(["--yes"] if yes else [])]
    sys.stdout.flush()
    # It takes this process's place, so that signals and the exit code are its own.
    os.execv(sys.executable, [sys.executable, str(_program()), "--here", *arguments])


def _program() -> Path:
    package = Path(pgorch.__file__).resolve().parent
    for place in (package / "examples", package.parent):
        program = place / "demos" / "run.py"
        if program.is_file():
            return program
    raise ConfigError(
        f"The demos are neither in {package / 'examples'} nor in {package.parent}.",
        hint="The installation is incomplete: install pgorch anew.",
    )
