from collections.abc import Callable

import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from pgorch.doctor import Finding, Limits, examine
from tests.support.engine import Engine, Worker

Examine = Callable[..., list[Finding]]


@pytest.fixture
def look(database: str) -> Examine:
    """What the doctor says of one check, in the database of the test."""

    def found(check: str, **limits: float) -> list[Finding]:
        return examine(database, limits=Limits(**limits), only=[check])  # type: ignore[arg-type]

    return found


@pytest.fixture
def engine(connection: Connection[DictRow]) -> Engine:
    """Plays the workers. The invariants are what these tests break."""
    return Engine(connection)


def bad(findings: list[Finding], *words: str) -> Finding:
    """The one finding that is bad and says all these words."""
    found = [f for f in findings if f.level != "ok" and all(word in f.found for word in words)]
    assert len(found) == 1, findings
    assert found[0].next, found
    return found[0]


def sound(findings: list[Finding]) -> bool:
    return bool(findings) and all(finding.level == "ok" for finding in findings)


def mend(connection: Connection[DictRow], finding: Finding) -> None:
    """Types what the doctor said."""
    for statement in finding.next.split(";"):
        connection.execute(statement.encode())


def serve(engine: Engine, *tools: str, queue: str = "default") -> Worker:
    """A living worker with these tools."""
    return engine.new_worker(tools, queues=[queue])
