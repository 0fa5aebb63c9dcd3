"""The tools of the data quality graph. All are transactional: what they write commits with their checkpoint.

The birds stay in a table; the state of the run holds only numbers about them.
"""

from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from demos.data_quality import rules
from pgorch import Context, tool

HERE = Path(__file__).parent
_SETUP_LOCK = 0x70656E6775696E73  # "penguins"


@tool(transactional=True)
def load_data(ctx: Context, threshold: float = 0.995, source: str = "penguins_raw.csv") -> dict[str, Any]:
    """Read the raw table into a working copy of this run.

    Args:
        threshold: The quality from which on data may be published, from 0 to 1.
        source: The name of a CSV file beside this module.
    """
    if Path(source).name != source or not (HERE / source).is_file():
        raise FileNotFoundError(f"There is no file {source} beside {Path(__file__).name}.")
    birds = rules.read(HERE / source)
    connection: Connection[Any] = ctx.connection
    # Two first runs at once must not both create the tables.
    connection.execute("select pg_advisory_xact_lock(%s)", [_SETUP_LOCK])
    connection.execute((HERE / "tables.sql").read_bytes())
    _store(connection, ctx, birds)
    return {"source": source, "threshold": threshold, "report": []}


@tool(transactional=True)
def profile_data(ctx: Context) -> dict[str, Any]:
    """Count the defects of the working copy; quality is the share of cells that are right."""
    return rules.profile(_stored(ctx.connection, ctx))


@tool(transactional=True, retry={"max_attempts": 3, "initial_interval": "1 second"})
def clean_data(worst: str, ctx: Context, report: list[dict[str, Any]]) -> dict[str, Any]:
    """Mend one kind of defect, and add what was changed to the report.

    Args:
        worst: The kind of defect: spelling, identity or gaps.
        report: What earlier rounds changed.
    """
    birds, changed = rules.clean(_stored(ctx.connection, ctx), worst)
    _store(ctx.connection, ctx, birds)
    return {"report": [*report, {"defect": worst, "changed": changed}]}


@tool(transactional=True)
def publish_data(ctx: Context) -> dict[str, Any]:
    """Replace the published birds by those of this run."""
    connection: Connection[Any] = ctx.connection
    connection.execute("lock table penguins.birds in share row exclusive mode")
    connection.execute("delete from penguins.birds")
    published = connection.execute(
        """
        insert into penguins.birds
        select bird->>'Individual ID', bird->>'studyName', bird->>'Species', bird->>'Island',
               (bird->>'Date Egg')::date, bird->>'Clutch Completion' = 'Yes',
               (bird->>'Culmen Length (mm)')::numeric, (bird->>'Culmen Depth (mm)')::numeric,
               (bird->>'Flipper Length (mm)')::integer, (bird->>'Body Mass (g)')::integer,
               lower(bird->>'Sex'),
               case when bird->>'Sex' is not null then coalesce(bird->>'Sex from', 'sample') end,
               (bird->>'Delta 15 N (o/oo)')::numeric, (bird->>'Delta 13 C (o/oo)')::numeric,
               bird->>'Comments', run_id
        from penguins.working where run_id = %s
        """,
        [ctx.run_id],
    ).rowcount
    connection.execute("delete from penguins.working where run_id = %s", [ctx.run_id])
    return {"outcome": "published", "published": published}


@tool(transactional=True)
def quarantine_data(ctx: Context, quality: float, defects: dict[str, int]) -> dict[str, Any]:
    """Put the birds of this run aside, with the reason."""
    connection: Connection[Any] = ctx.connection
    connection.execute(
        """
        insert into penguins.quarantine (run_id, quality, defects, birds)
        select %s, %s, %s, coalesce(jsonb_agg(bird order by row), '[]')
        from penguins.working where run_id = %s
        """,
        [ctx.run_id, quality, Jsonb(defects), ctx.run_id],
    )
    moved = connection.execute("delete from penguins.working where run_id = %s", [ctx.run_id]).rowcount
    return {"outcome": "quarantined", "quarantined": moved}


def _stored(connection: Connection[Any], ctx: Context) -> list[rules.Bird]:
    rows = connection.execute(
        "select bird from penguins.working where run_id = %s order by row", [ctx.run_id]
    )
    return [row["bird"] if isinstance(row, dict) else row[0] for row in rows]


def _store(connection: Connection[Any], ctx: Context, birds: list[rules.Bird]) -> None:
    connection.execute("delete from penguins.working where run_id = %s", [ctx.run_id])
    connection.execute(
        """
        insert into penguins.working (run_id, row, bird)
        select %s, n, bird from jsonb_array_elements(%s) with ordinality as b(bird, n)
        """,
        [ctx.run_id, Jsonb(birds)],
    )
