import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tests.engine.conftest import database, engine, fresh_database, shared_database
from tests.support.engine import Engine
from tests.support.races import open_connection

__all__ = ["database", "engine", "fresh_database", "shared_database"]

_OF_APPROVALS = {"form", "assignees", "quorum", "exclude_initiator", "deadline", "remind"}
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@pytest.fixture(scope="session")
def schemas(shared_database: str) -> Iterator[Connection[DictRow]]:
    """A connection for functions that read and write no table."""
    with open_connection(shared_database) as connection:
        yield connection


class People:
    """Graphs that ask people, and database users who answer."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._suffix = uuid4().hex[:8]
        self._roles: list[str] = []

    def graph(self, definition: Mapping[str, Any]) -> str:
        """Creates a graph whose approvals may have a form, assignees, quorum, deadline and reminder."""
        nodes = [{k: v for k, v in n.items() if k not in _OF_APPROVALS} for n in definition["nodes"]]
        edges = [e | {"on": "error"} if e.get("on") == "expired" else e for e in definition["edges"]]
        graph_id = self.engine.graph({**definition, "nodes": nodes, "edges": edges})
        for node in definition["nodes"]:
            self._set_fields(graph_id, node)
        for edge in definition["edges"]:
            if edge.get("on") == "expired":
                self.engine.connection.execute(
                    "update pgorch.edges set on_outcome = 'expired'"
                    " where graph_id = %s and source = %s and on_outcome = 'error'",
                    [graph_id, edge["source"]],
                )
        return graph_id

    def _set_fields(self, graph_id: str, node: Mapping[str, Any]) -> None:
        remind = node.get("remind")
        if remind is not None:
            number, unit = re.fullmatch(r"(\d+) (\w+?)s?", remind["after"]).groups()  # type: ignore[union-attr]
            remind = {"seconds": int(number) * _SECONDS[unit], "to": remind.get("to", [])}
        self.engine.connection.execute(
            "update pgorch.nodes set form = %s, assignees = %s, quorum = %s, exclude_initiator = %s,"
            " deadline = %s::interval, remind = %s where graph_id = %s and id = %s",
            [
                node.get("form") and Jsonb(node["form"]),
                node.get("assignees"),
                node.get("quorum", 1),
                node.get("exclude_initiator", False),
                node.get("deadline"),
                remind and Jsonb(remind),
                graph_id,
                node["id"],
            ],
        )

    def fire_timers(self) -> None:
        """What tick() does with the timers of approvals that are due."""
        for timer in self.engine.rows(
            "delete from pgorch.timers where due_at <= pgorch.clock_now()"
            " returning *, pgorch.clock_now() as now"
        ):
            function = {"deadline": "_expire_approval", "remind": "_remind"}[timer["kind"]]
            self.engine.value(
                f"select pgorch.{function}(%s, pgorch._locked_run(%s), %s, %s)",
                timer["bucket"],
                timer["run_id"],
                UUID(timer["data"]["approval_id"]),
                timer["now"],
            )

    def ask(self, definition: Mapping[str, Any], input: Any = None, **options: Any) -> UUID:
        """Starts a run, which comes to its approval; its id."""
        run_id = self.engine.start(self.graph(definition), input, **options)
        self.engine.run()
        assert self.engine.status(run_id) == "awaiting_approval"
        return run_id

    def open(self, run_id: UUID) -> UUID:
        """The only open approval of a run."""
        (approval,) = [a for a in self.engine.approvals(run_id) if a["status"] == "open"]
        assert isinstance(approval["id"], UUID)
        return approval["id"]

    def show(self, approval_id: UUID) -> Any:
        return self.engine.value("select pgorch.approval_document(%s)", approval_id)

    def actions(self, run_id: UUID) -> list[tuple[str, str]]:
        """Who did what with a run, as the audit has it."""
        rows = self.engine.rows(
            "select actor, action from pgorch.audit where run_id = %s order by id", run_id
        )
        return [(row["actor"], row["action"]) for row in rows]

    # Database users -------------------------------------------------------------------------------

    def role(self, name: str, *groups: str) -> str:
        """A new database role that may use pgorch, and is a member of `groups`; its whole name."""
        full = self.add_role(f"{name}_{self._suffix}")
        self._do(f"grant usage on schema pgorch to {full}")
        self._do(f"grant select, insert, update, delete on all tables in schema pgorch to {full}")
        for group in groups:
            self._do(f"grant {group} to {full}")
        return full

    def add_role(self, name: str) -> str:
        """A database role for the time of the test."""
        self._roles.append(name)
        self._do(f"create role {name}")
        return name

    @contextmanager
    def session_of(self, role: str) -> Iterator[None]:
        """The test's connection is meanwhile one of this user."""
        self._do(f"set session authorization {role}")
        try:
            yield
        finally:
            self._do("reset session authorization")

    def drop_roles(self) -> None:
        for role in reversed(self._roles):
            self._do(f"drop owned by {role}")
            self._do(f"drop role {role}")

    def _do(self, statement: str) -> None:
        self.engine.connection.execute(statement.encode())


@pytest.fixture
def people(engine: Engine) -> Iterator[People]:
    people = People(engine)
    yield people
    people.drop_roles()
