"""Registering tools."""

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.graphs.graphs import Graphs
from tests.support.engine import Row
from tests.support.races import Rival, open_connection, wait_until


def tool(graphs: Graphs, name: str) -> Row:
    (row,) = graphs.rows("select *, xmin::text from pgorch.tools where name = %s", name)
    return row


def test_a_tool_is_stored_with_its_schema_and_policy(graphs: Graphs) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    graphs.register(
        {
            "name": "send",
            "description": "Sends.",
            "parameters": schema,
            "retry": {"max_attempts": 2, "jitter": False, "non_retryable": ["Declined"]},
            "timeout": "2 minutes",
            "transactional": True,
        }
    )
    row = tool(graphs, "send")
    assert (row["description"], row["parameters"], row["transactional"]) == ("Sends.", schema, True)
    assert row["timeout"].total_seconds() == 120
    assert row["retry"] == {
        "max_attempts": 2,
        "initial_seconds": 1,
        "backoff_factor": 2,
        "max_seconds": 100,
        "jitter": 0,
        "non_retryable": ["Declined"],
    }


def test_a_tool_needs_no_more_than_a_name(graphs: Graphs) -> None:
    graphs.register({"name": "bare", "retry": None, "timeout": None, "parameters": None})
    row = tool(graphs, "bare")
    assert (row["parameters"], row["retry"], row["timeout"]) == ({"type": "object"}, None, None)


def test_a_timeout_may_be_given_in_seconds(graphs: Graphs) -> None:
    graphs.register({"name": "quick", "timeout": 1.5})
    assert tool(graphs, "quick")["timeout"].total_seconds() == 1.5


def test_registering_again_replaces_what_changed_and_writes_nothing_else(graphs: Graphs) -> None:
    graphs.register({"name": "one", "timeout": 60}, {"name": "two"})
    before = tool(graphs, "one"), tool(graphs, "two")
    with graphs.connection.transaction():
        graphs.register({"name": "one", "timeout": "1 minute"}, {"name": "two", "description": "New."})
    after = tool(graphs, "one"), tool(graphs, "two")
    assert after[0] == before[0]
    assert after[1]["description"] == "New."
    assert after[1]["registered_at"] > before[1]["registered_at"]


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ({}, "must be a list"),
        (None, "must be a list"),
        ([5], "tool 1: must be an object, and is a number"),
        ([{"name": "ok"}, {}], "tool 2: the name must be a string"),
        ([{"name": ""}], "1 to 200 characters"),
        ([{"name": "x" * 201}], "1 to 200 characters"),
        ([{"name": "a\nb"}], "1 to 200 characters"),
        ([{"name": "wait_for_approval"}], "makes a node an approval"),
        ([{"name": "a", "parameters": []}], "must be a JSON Schema"),
        ([{"name": "a", "description": 5}], "description"),
        ([{"name": "a", "transactional": "yes"}], "true or false"),
        ([{"name": "a", "timeout": "soon"}], 'is no interval: "soon"'),
        ([{"name": "a", "timeout": 0}], "more than 0 seconds"),
        ([{"name": "a", "timeout": 1e30}], "at most 100 years"),
        ([{"name": "a", "timeout": []}], "interval"),
        ([{"name": "a", "retry": {"max_attempts": 0}}], "max_attempts must be a whole number from 1"),
        ([{"name": "a", "retry": 3}], "a retry policy must be an object"),
        ([{"name": "a"}, {"name": "a"}], "is there twice"),
    ],
)
def test_a_tool_that_is_wrong_is_refused_and_no_other_registered(
    graphs: Graphs, tools: Any, words: str
) -> None:
    with pytest.raises(psycopg.Error) as raised, graphs.connection.transaction():
        graphs.value("select pgorch.register_tools(%s)", Jsonb(tools))
    assert raised.value.sqlstate == "OR006"
    assert words in str(raised.value)
    assert graphs.value("select count(*) from pgorch.tools") == 3


def test_workers_that_register_in_other_orders_do_not_block_each_other_for_ever(database: str) -> None:
    forth = [{"name": n} for n in "abcdefgh"]
    with open_connection(database) as holder:
        with holder.transaction():
            holder.execute("insert into pgorch.tools (name) values ('d')")
            register = "select pgorch.register_tools(%s)"
            rivals = [Rival(database, register, Jsonb(tools)) for tools in (forth, forth[::-1])]
            waiting = "select count(*) as n from pg_locks where not granted"
            wait_until(lambda: (holder.execute(waiting).fetchone() or {})["n"] == 2)
        for rival in rivals:
            rival.rows()
        count = holder.execute("select count(*) as n from pgorch.tools").fetchone()
    assert count == {"n": 8}
