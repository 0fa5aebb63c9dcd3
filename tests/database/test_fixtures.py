"""What every other test stands on."""

from typing import Any

import psycopg


def test_each_test_has_a_migrated_database_of_its_own(connection: psycopg.Connection[dict[str, Any]]) -> None:
    rows = connection.execute("select count(*) as runs from pgorch.runs").fetchone()
    assert rows == {"runs": 0}
