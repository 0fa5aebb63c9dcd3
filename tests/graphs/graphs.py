"""Graphs as tests of their creation see them: definitions, errors, and the rows that were stored."""

from collections.abc import Iterable, Mapping
from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tests.support.engine import Row, definition, value_of

Definition = dict[str, Any]


def tasks(nodes: str, edges: Iterable[Any] = (), **more: Any) -> Definition:
    """Nodes "a b" are tasks that call f; edges are "a>b" or ("a>b", {"limit": 3})."""
    return definition([{"id": n, "function": "f"} for n in nodes.split()], edges, **more)


class Graphs:
    def __init__(self, connection: Connection[DictRow]) -> None:
        self.connection = connection

    def register(self, *tools: str | Mapping[str, Any]) -> None:
        described = [{"name": t} if isinstance(t, str) else dict(t) for t in tools]
        self.value("select pgorch.register_tools(%s)", Jsonb(described))

    def errors(self, graph: Any) -> list[dict[str, str]]:
        errors = self.value("select pgorch.validate_graph(%s)", Jsonb(graph))
        assert isinstance(errors, list)
        for error in errors:
            assert set(error) == {"path", "code", "message", "hint"}
            assert error["message"]
        return errors

    def faults(self, graph: Any) -> set[tuple[str, str]]:
        """Where and what: {("/edges/0/limit", "bad_limit"), ...}."""
        return {(e["path"], e["code"]) for e in self.errors(graph)}

    def error(self, graph: Any) -> dict[str, str]:
        """The one error of a definition."""
        errors = self.errors(graph)
        assert len(errors) == 1, errors
        return errors[0]

    def create(self, graph: Any, actor: str | None = None) -> Row:
        (row,) = self.rows("select * from pgorch.create_graph(%s, %s)", Jsonb(graph), actor)
        return row

    def nodes(self, graph: Any) -> dict[str, Row]:
        created = self.create(graph)
        rows = self.rows("select * from pgorch.nodes where graph_id = %s", created["graph_id"])
        return {row["id"]: row for row in rows}

    def edges(self, graph: Any) -> list[Row]:
        """In the order of the definition."""
        created = self.create(graph)
        return self.rows("select * from pgorch.edges where graph_id = %s order by ord", created["graph_id"])

    def reach(self, graph: Any, via_back: bool = False) -> dict[str, set[str]]:
        """For each join the nodes from which it can be reached."""
        created = self.create(graph)
        ways: dict[str, set[str]] = {}
        for row in self.rows("select * from pgorch._reach where graph_id = %s", created["graph_id"]):
            if row["via_back"] == via_back:
                ways.setdefault(row["target"], set()).add(row["source"])
        return ways

    def stored(self, graph: Any) -> Row:
        created = self.create(graph)
        (row,) = self.rows("select * from pgorch.graphs where id = %s", created["graph_id"])
        return row

    def value(self, query: str, *parameters: Any) -> Any:
        return value_of(self.connection, query, *parameters)

    def rows(self, query: str, *parameters: Any) -> list[Row]:
        return self.connection.execute(query.encode(), parameters).fetchall()
