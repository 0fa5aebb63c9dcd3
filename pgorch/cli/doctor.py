"""`pgorch doctor`: looks at a database and says what is wrong."""

from dataclasses import asdict

import typer

from pgorch.cli.failures import FAILED
from pgorch.cli.options import DirectDsn, Dsn, Output, direct_dsn, required_dsn, wants_json
from pgorch.cli.output import print_json


def doctor(
    dsn: Dsn = None,
    direct: DirectDsn = None,
    output: Output = None,
) -> None:
    """Look at server, pooler, vacuum, disk, schema and stuck work, and say what to type next. Exit code 1 if
    something is a problem."""
    from pgorch.database.translation import translated
    from pgorch.doctor import examine

    with translated():
        findings = examine(required_dsn(dsn), direct_dsn=direct_dsn(direct, dsn))
    if wants_json(output):
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            typer.echo(f"{finding.level:<9}{finding.check:<14}{finding.found}")
            if finding.next:
                typer.echo(f"{'':<9}{'':<14}next: {finding.next}")
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(FAILED)
