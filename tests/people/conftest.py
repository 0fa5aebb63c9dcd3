from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from tests.support.emptied import connection, database, engine, fresh_database
from tests.support.engine import Engine
from tests.support.races import open_connection

__all__ = ["connection", "database", "engine", "fresh_database"]


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

    def tick(self) -> None:
        """Fires the timers that are due."""
        for bucket in self.engine.buckets:
            self.engine.value("select pgorch.tick(%s)", bucket)

    def ask(self, definition: Mapping[str, Any], input: Any = None, **options: Any) -> UUID:
        """Starts a run, which comes to its approval; its id."""
        run_id = self.engine.start(definition, input, **options)
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
