"""`pgorch graphs`: list, show, create, validate, explain, diff and delete."""

from typing import Annotated, Any

import typer
from psycopg.types.json import Jsonb

from pgorch import strict_json
from pgorch.cli.failures import FAILED
from pgorch.cli.looking import EDGE_COLUMNS
from pgorch.cli.options import Dsn, Output, json_value, text_of, wants_json
from pgorch.cli.output import print_fields, print_json, print_rows, to_json
from pgorch.cli.pictures import Shape, Shown, drawn_graph
from pgorch.cli.positions import position_of
from pgorch.cli.session import Session, session
from pgorch.drawing import described, differences

app = typer.Typer(help="Graphs and their versions.", no_args_is_help=True)

File = Annotated[str, typer.Argument(help="A file with the graph in JSON, or - for stdin.")]
Name = Annotated[str, typer.Argument(help="A graph's name, name@version, or id.")]


@app.command("list")
def list_graphs(
    all_versions: Annotated[bool, typer.Option("--all", help="All versions, not the latest alone.")] = False,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """List graphs, the newest first."""
    with session(dsn) as db:
        rows = db.rows(
            "select g.graph_id, g.name, g.version, g.start_node, g.created_at, g.created_by"
            " from pgorch.graph_list g"
            " where %(all)s or not exists (select from pgorch.graph_list l"
            "                              where l.name = g.name and l.version > g.version)"
            " order by g.created_at desc, g.name, g.version desc",
            {"all": all_versions},
        )
    print_rows(
        rows,
        ["name", "version", "graph_id", "start_node", "created_at", "created_by"],
        as_json=wants_json(output),
        empty="No graphs yet. Create one with: pgorch graphs create FILE",
    )


@app.command("show")
def show_graph(graph: Name, shape: Shown = None, dsn: Dsn = None, output: Output = None) -> None:
    """Show a graph with its definition, or a picture of it."""
    with session(dsn) as db:
        row = db.row("select * from pgorch.graph_list where graph_id = pgorch.find_graph(%s)", [graph])
    if shape in (Shape.text, Shape.mermaid):
        typer.echo(drawn_graph(row, shape))
        return
    if wants_json(output) or shape is Shape.json:
        print_json(row)
        return
    print_fields(row, ["name", "version", "graph_id", "created_at", "created_by"])
    typer.echo(to_json(row["definition"]))


@app.command("create")
def create_graph(file: File, dsn: Dsn = None, output: Output = None) -> None:
    """Create a graph, or its next version. The same content again is the same version."""
    with session(dsn) as db:
        created = create_from(db, file)
    if wants_json(output):
        print_json(created)
        return
    what = "created" if created["created"] else "was there already"
    typer.echo(f"{created['name']}@{created['version']} {what}: {created['graph_id']}")


@app.command("validate")
def validate_graph(file: File, dsn: Dsn = None, output: Output = None) -> None:
    """Say everything that is wrong with a graph, without creating it. Exit code 1 if anything is."""
    definition, text, name = read_graph(file)
    with session(dsn) as db:
        errors = db.value("select pgorch.validate_graph(%s)", [Jsonb(definition)])
    if wants_json(output):
        print_json([placed(error, text) for error in errors])
    elif errors:
        typer.echo("\n".join(sentence(error, text, name) for error in errors))
    else:
        typer.echo(f"{name} is valid.")
    if errors:
        raise typer.Exit(FAILED)


@app.command("explain")
def explain_graph(
    graph: Name,
    node: Annotated[str, typer.Argument(help="A node of the graph.")],
    state: Annotated[str, typer.Option("--state", help="The state, as JSON, @file or @-.")] = "{}",
    outcome: Annotated[
        str, typer.Option("--outcome", help="How the node ends: success, rejected, expired or error.")
    ] = "success",
    variables: Annotated[
        str, typer.Option("--vars", help='What $input and so on are: {"input": {...}}, @file or @-.')
    ] = "{}",
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Show which edges would be taken if a node ended with this state, and why."""
    with session(dsn) as db:
        rows = db.rows(
            "select * from pgorch.explain_graph(%s, %s, %s, %s, %s)",
            [
                graph,
                node,
                Jsonb(json_value(state, what="The state")),
                outcome,
                Jsonb(json_value(variables, what="The variables")),
            ],
        )
    print_rows(rows, EDGE_COLUMNS, as_json=wants_json(output), empty="No edge leads on from this node.")


@app.command("diff")
def diff_graphs(
    one: Annotated[str, typer.Argument(help="A graph's name, name@version or id, or a .json file.")],
    other: Annotated[str, typer.Argument(help="Another version, graph or file.")],
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Show what differs between two graphs or versions. Exit code 1 if anything does."""
    with session(dsn) as db:
        changes = differences(_definition(db, one), _definition(db, other))
    if wants_json(output):
        print_json([change._asdict() for change in changes])
    else:
        typer.echo("\n".join(described(change) for change in changes) or "They are the same.")
    if changes:
        raise typer.Exit(FAILED)


@app.command("delete")
def delete_graph(
    graph: Name,
    actor: Annotated[
        str | None, typer.Option("--actor", help="Who does it, if not the database user.")
    ] = None,
    dsn: Dsn = None,
    output: Output = None,
) -> None:
    """Delete a version of a graph that no run and no other graph uses."""
    with session(dsn) as db:
        gone = db.queries.delete_graph(graph, actor=actor)
    if wants_json(output):
        print_json(gone._asdict())
        return
    typer.echo(f"deleted: {gone.name}@{gone.version}")
    for table in gone.watched:
        typer.echo(f"Its trigger on {table} can be dropped by the owner of the table alone.", err=True)


def _definition(db: Session, graph: str) -> Any:
    """The definition of a graph, or the one in a file."""
    if graph == "-" or graph.endswith(".json"):
        return read_graph(graph)[0]
    return db.value(
        "select definition from pgorch.graph_list where graph_id = pgorch.find_graph(%s)", [graph]
    )


def read_graph(file: str) -> tuple[Any, str, str]:
    """The graph in a file, its text, and the file's name. Raises InvalidValue with line and column."""
    text, name = text_of(file, what="The graph")
    return strict_json.loads(text, what=name), text, name


def create_from(db: Session, file: str) -> dict[str, Any]:
    """Create the graph in a file; an invalid one ends the command with all errors and their places."""
    from pgorch.errors import InvalidGraph

    definition, text, name = read_graph(file)
    try:
        return db.row("select * from pgorch.create_graph(%s)", [Jsonb(definition)])
    except InvalidGraph as error:
        typer.echo(f"pgorch: {name} is not a valid graph (OR004)", err=True)
        for each in error.errors:
            typer.echo(f"  {sentence(each, text, name)}", err=True)
        typer.echo(f"  next: correct the file, then: pgorch graphs create {file}", err=True)
        raise typer.Exit(FAILED) from error


def placed(error: dict[str, Any], text: str) -> dict[str, Any]:
    """The error with the line and column of what it is about."""
    line, column = position_of(str(error.get("path") or ""), text)
    return {**error, "line": line, "column": column}


def sentence(error: dict[str, Any], text: str, name: str) -> str:
    """`file:line:column: what is wrong (code). What to do.`"""
    line, column = position_of(str(error.get("path") or ""), text)
    hint = f" {error['hint']}" if error.get("hint") else ""
    return f"{name}:{line}:{column}: {error.get('message')} ({error.get('code')}){hint}"
