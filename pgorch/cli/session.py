"""A connection for one command."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import Connection, sql
from psycopg.rows import dict_row

from pgorch.cli.options import direct_dsn, required_dsn

if TYPE_CHECKING:
    from pgorch.database.queries import SyncQueries


class Session:
    """Asks the database; rows are dicts, errors are those of `pgorch.errors`."""

    def __init__(self, connection: Connection[Any], direct_dsn: str | None = None) -> None:
        self.connection = connection
        self.direct_dsn = direct_dsn

    @property
    def queries(self) -> "SyncQueries":
        """One method for each SQL function. What was jsonb comes parsed."""
        from pgorch.database.queries import SyncQueries

        return SyncQueries(self.connection)

    def rows(
        self, query: LiteralString | sql.Composed, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[dict[str, Any]]:
        from pgorch.database.translation import translated

        with translated(), self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters or None).fetchall()

    def row(self, query: LiteralString, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> dict[str, Any]:
        return self.rows(query, parameters)[0]

    def value(self, query: LiteralString, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Any:
        """The only column of the only row."""
        (value,) = self.row(query, parameters).values()
        return value


@contextmanager
def session(dsn: str | None, *, check: bool = True) -> Iterator[Session]:
    """A session on the database of the options or the environment.

    `check`: refuse a schema that does not fit this version, before anything is asked. Raises NoDatabase,
    DatabaseUnavailable, SchemaMismatch.
    """
    from pgorch.database.connection import OWN, connect_sync
    from pgorch.database.migrations import check_schema
    from pgorch.database.pooling import settle_sync

    connection = connect_sync(required_dsn(dsn), application_name="pgorch cli")
    with connection:
        settle_sync(connection, {}, own=OWN)
        if check:
            check_schema(connection)
        yield Session(connection, direct_dsn(None, dsn))
