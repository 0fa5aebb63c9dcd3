"""What Python writes, and what Postgres makes of it: the same values, the same limits, valid graphs."""

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from pgorch import strict_json
from pgorch.errors import InvalidValue
from pgorch.graph import Graph
from pgorch.tool import Registry

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
documents = st.dictionaries(texts, scalars | st.lists(scalars, max_size=3), max_size=4)
quickly = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def in_postgres(connection: Connection[DictRow], text: str) -> str:
    row = connection.execute("select %s::jsonb::text as value", [text]).fetchone()
    assert row is not None
    return str(row["value"])


@quickly
@given(value=documents)
def test_a_result_comes_back_from_postgres_and_can_be_a_result_again(
    connection: Connection[DictRow], value: dict[str, Any]
) -> None:
    try:
        text = strict_json.dumps(value)
    except InvalidValue:
        return
    back = strict_json.loads(in_postgres(connection, text))
    assert as_doubles(back) == as_doubles(value)
    assert as_doubles(strict_json.loads(strict_json.dumps(back))) == as_doubles(value)


def as_doubles(value: Any) -> Any:
    """The value as a client sees it that has no numbers but doubles."""
    if isinstance(value, dict):
        return {key: as_doubles(member) for key, member in value.items()}
    if isinstance(value, list):
        return [as_doubles(item) for item in value]
    return float(value) if type(value) is int else value


@quickly
@given(number=st.integers(-(2**60), 2**60) | st.integers(-(10**400), 10**400))
def test_python_and_sql_draw_the_line_between_exact_and_inexact_integers_alike(
    connection: Connection[DictRow], number: int
) -> None:
    query = "select pgorch._checked_json(%s::jsonb, 'it', 100000)"
    if strict_json.is_exact(number):
        connection.execute(query, [f"[{number}]"])
    else:
        with pytest.raises(psycopg.Error, match="cannot read exactly"):
            connection.execute(query, [f"[{number}]"])


@pytest.mark.parametrize("inner", ["1", '""', ""])
@pytest.mark.parametrize("depth", [64, 65])
def test_python_and_sql_draw_the_line_of_depth_alike(
    connection: Connection[DictRow], depth: int, inner: str
) -> None:
    text = "[" * depth + inner + "]" * depth
    assert strict_json.MAX_DEPTH == 64
    query = "select pgorch._checked_json(%s::jsonb, 'it', 100000)"
    if depth <= 64:
        strict_json.loads(text)
        connection.execute(query, [text])
    else:
        with pytest.raises(InvalidValue):
            strict_json.loads(text)
        with pytest.raises(psycopg.Error, match="deeper than 64"):
            connection.execute(query, [text])


def test_what_the_builder_and_the_decorator_write_is_accepted(connection: Connection[DictRow]) -> None:
    registry = Registry()

    @registry.tool(retry={"max_attempts": 5, "initial_interval": 0.5, "jitter": True}, timeout="1 minute")
    def profile(rows: int = 0) -> dict[str, float]:
        """Look at them."""
        return {"quality": 1.0}

    @registry.tool(transactional=True)
    def clean(rows: int) -> None:
        """Mend them."""

    connection.execute("select pgorch.register_tools(%s)", [Jsonb(registry.definitions())])
    known = connection.execute(
        "select name, description, timeout, transactional from pgorch.tool_list order by 1"
    )
    assert [
        (row["name"], row["description"], str(row["timeout"]), row["transactional"]) for row in known
    ] == [
        ("clean", "Mend them.", "None", True),
        ("profile", "Look at them.", "0:01:00", False),
    ]

    g = Graph("every_kind", retry={"max_attempts": 2, "max_interval": 30})
    g.task("profile", profile, timeout=90, position={"x": 1})
    g.task(
        "clean",
        clean,
        input={"rows": "${$.rows}"},
        into="cleaned",
        queue="slow",
        retry={"non_retryable": [KeyError]},
    )
    g.approval("sign_off", title="Publish ${$.rows}?", show={"rows": "${$.rows}"})
    g.passing("done")
    g.fail("refused", error="Refused", message="No.")
    g.edge("profile", "clean", condition="$.quality < 0.95", limit=3).edge("profile", "sign_off")
    g.edge("clean", "profile").edge("sign_off", "done", on="approved").edge(
        "sign_off", "refused", on="rejected"
    )
    row = connection.execute(
        "select name, version from pgorch.create_graph(%s)", [Jsonb(g.to_json())]
    ).fetchone()
    assert row == {"name": "every_kind", "version": 1}
    stored = connection.execute("select definition from pgorch.graph_list").fetchone()
    assert stored is not None
    assert Graph.from_json(stored["definition"]) == g
