"""Pictures of graphs and runs for the command line."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer

from pgorch.cli.session import Session
from pgorch.drawing import Picture, as_mermaid, as_text, marks_of, picture_of


class Shape(StrEnum):
    json = "json"
    mermaid = "mermaid"
    text = "text"


Shown = Annotated[
    Shape | None,
    typer.Option("--format", help="json; or a picture: text, or mermaid for Markdown.", show_default=False),
]


def drawn_graph(row: dict[str, Any], shape: Shape) -> str:
    """A row of pgorch.graph_list as a picture, without a newline at its end."""
    picture = picture_of(row["definition"], f"{row['name']}@{row['version']}")
    return (as_mermaid(picture) if shape is Shape.mermaid else as_text(picture)).rstrip("\n")


def drawn_run(db: Session, run_id: UUID, shape: Shape) -> str:
    """A run as a picture. Raises NotFound."""
    picture = picture_of_run(db, run_id)
    draw = as_mermaid if shape is Shape.mermaid else as_text
    return draw(picture, marks_of(progress(db, run_id))).rstrip("\n")


def picture_of_run(db: Session, run_id: UUID) -> Picture:
    """The graph of a run; its title has the run's status. Raises NotFound."""
    db.value("select pgorch.run_state(%s::uuid)", [run_id])
    row = db.row(
        "select g.definition, format('%%s@%%s, run %%s: %%s', g.name, g.version, r.id, r.status) as title"
        " from pgorch.runs r join pgorch.graphs g on g.id = r.graph_id"
        " where r.bucket = pgorch.bucket_of(%(id)s) and r.id = %(id)s",
        {"id": run_id},
    )
    return picture_of(row["definition"], row["title"])


def progress(db: Session, run_id: UUID) -> list[tuple[str, str, int]]:
    rows = db.rows("select * from pgorch.run_progress(%s::uuid)", [run_id])
    return [(row["node"], row["state"], row["visits"]) for row in rows]
