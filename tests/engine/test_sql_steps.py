"""SQL as a step: performed in the transaction that records it, with the rights of the graph's owner."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, definition


def statement(sql: str, *parameters: Any, **more: Any) -> dict[str, Any]:
    given = {"input": list(parameters)} if parameters else {}
    return {"id": "s", "sql": sql, "into": "out", **given, **more}


def performed(engine: Engine, node: dict[str, Any], input: Any = None) -> Any:
    run_id = engine.start(definition([node]), input)
    engine.value("select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b")
    assert engine.status(run_id) == "completed", engine.error(run_id)
    return engine.state(run_id)["out"]


@pytest.fixture(autouse=True)
def things(engine: Engine) -> Iterator[None]:
    engine.connection.execute("create table things (id int primary key, words text[], doc jsonb, at date)")
    yield
    engine.connection.execute("drop table things")


@pytest.mark.parametrize(
    ("sql", "parameters", "output"),
    [
        ("select 1 as x", [], 1),
        ("select 1 as x, 'a' as y", [], {"x": 1, "y": "a"}),
        ("select x from generate_series(1, 3) x", [], [1, 2, 3]),
        ("select 1 where false", [], None),
        ("select $1::int + $2", ["${$.n}", 2], 7),
        ("select $1::text[]", ["${$.words}"], ["a", 'b"c']),
        ("select $1::jsonb", ["${$.words}"], ["a", 'b"c']),
        ("select $1::date", ["2026-01-31"], "2026-01-31"),
        ("select $1::text is null", [None], True),
        ("insert into things values ($1, $2, $3, null)", [1, "${$.words}", {"k": [1]}], None),
        ("insert into things values (5) returning id", [], 5),
        ("select 'it''s; one statement' -- ; really", [], "it's; one statement"),
    ],
)
def test_the_output_is_what_the_statement_gives(
    engine: Engine, sql: str, parameters: list[Any], output: Any
) -> None:
    assert performed(engine, statement(sql, *parameters), {"n": 5, "words": ["a", 'b"c']}) == output


def failed(engine: Engine, node: dict[str, Any], input: Any = None) -> Any:
    run_id = engine.start(definition([node]), input)
    engine.value("select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b")
    assert engine.status(run_id) == "failed"
    return engine.error(run_id)


def test_what_a_failing_statement_wrote_is_gone(engine: Engine) -> None:
    error = failed(engine, statement("with x as (insert into things values (1)) select 1 / $1::int", 0))
    assert error["code"] == "22012"
    assert engine.rows("select * from things") == []


@pytest.mark.parametrize("sql", ["select 1; select 2", "select 1; drop table things", "select 1;;select 2"])
def test_two_statements_are_refused_and_none_is_run(engine: Engine, sql: str) -> None:
    assert "one statement" in failed(engine, statement(sql))["message"]
    assert engine.rows("select * from things") == []


def test_the_number_of_values_has_to_fit(engine: Engine) -> None:
    assert (
        "2 parameters, and the input 1 values"
        in failed(engine, statement("select $1::int, $2::int", 1))["message"]
    )


def test_a_map_may_run_a_statement_for_each_item(engine: Engine) -> None:
    node = {"id": "m", "type": "map", "items": "${$.n}", "sql": "select $1::int * 2", "into": "out"}
    assert performed(engine, node, {"n": [1, 2, 3]}) == [2, 4, 6]


def test_a_graph_of_statements_runs_to_its_end_from_psql_alone(engine: Engine) -> None:
    nodes = [
        {"id": "put", "sql": "insert into things values ($1)", "input": ["${$.id}"], "into": "put"},
        {
            "id": "get",
            "sql": "select id as found from things where id = $1",
            "input": ["${$.id}"],
            "into": "got",
        },
    ]
    run_id = engine.start(definition(nodes, ["put>get"]), {"id": 8})
    assert (
        engine.value(
            "select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b"
        )
        == 2
    )
    assert engine.status(run_id) == "completed"
    assert engine.state(run_id)["got"] == 8


@pytest.fixture
def author(engine: Engine) -> Iterator[psycopg.Connection[Any]]:
    """A role that may have SQL steps, and may not read `things`."""
    name = f"author_{secrets.token_hex(4)}"
    engine.connection.execute(f"create role {name} login".encode())
    for grant in (
        "usage on schema pgorch", "select, insert, update, delete on all tables in schema pgorch",
        "usage on all sequences in schema pgorch", "usage, create on schema pgorch_sql",
    ):  # fmt: skip
        engine.connection.execute(f"grant {grant} to {name}".encode())
    with psycopg.connect(make_conninfo(engine.connection.info.dsn, user=name), autocommit=True) as connection:
        yield connection
    engine.connection.execute(f"drop owned by {name}".encode())
    engine.connection.execute(f"drop role {name}".encode())


def run_of(author: psycopg.Connection[Any], engine: Engine, sql: str) -> Any:
    graph = definition([statement(sql)])
    author.execute("select pgorch.create_graph(%s)", [Jsonb(graph)])
    run_id = engine.start(graph["name"])
    engine.value("select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b")
    return engine.error(run_id) or engine.state(run_id)["out"]


def test_a_statement_has_the_rights_of_the_graphs_owner_and_no_others(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    assert run_of(author, engine, "select current_user::text") == author.info.user
    assert run_of(author, engine, "select count(*) from things")["code"] == "42501"


@pytest.mark.parametrize("role", ["none", "postgres"])
def test_a_statement_cannot_put_the_role_back(
    engine: Engine, author: psycopg.Connection[Any], role: str
) -> None:
    error = run_of(author, engine, f"select set_config('role', '{role}', true)")
    assert "security-definer" in error["message"] or "security definer" in error["message"]


def test_nobody_else_can_use_the_function_of_an_owner(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    engine.graph(definition([statement("select 1")]))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        author.execute(f"select pgorch_sql.\"{engine.connection.info.user}\"('select 1', '[]')")


def test_who_may_not_have_sql_steps_is_told_what_is_missing(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    engine.connection.execute(f"revoke create on schema pgorch_sql from {author.info.user}".encode())
    with pytest.raises(psycopg.Error, match="may not create graphs with SQL steps") as refused:
        author.execute("select pgorch.create_graph(%s)", [Jsonb(definition([statement("select 1")]))])
    assert "grant create on schema pgorch_sql" in str(refused.value.diag.message_hint)


ASKED = {"id": "ask", "type": "approval", "assignees": ["role:finance", "user:boss", "user:postgres"]}
OPEN = "(select id from pgorch.approvals where status = 'open')"


@pytest.mark.parametrize(
    "sql",
    [
        "select pgorch.decide(p_approval_id => {0}, p_decision => 'approved', p_actor => 'boss')",
        "select pgorch.decide(p_approval_id => {0}, p_decision => 'approved', p_roles => '{{finance}}')",
        "select pgorch.decide(p_approval_id => {0}, p_decision => 'approved')",
        "select pgorch.reassign({0}, '{{user:x}}')",
        "select pgorch.start('other', p_actor => 'boss')",
        # As the statement is known by the functions around it, it might try to look like that of another.
        "select pgorch.decide(p_approval_id => {0}, p_decision => 'approved', p_actor => 'postgres')"
        " /*\nPL/pgSQL function pgorch._run_statement(text,jsonb) line 1 at RETURN\n"
        "PL/pgSQL function pgorch_sql.postgres(text,jsonb) line 1 at RETURN\n*/",
    ],
)
def test_a_statement_speaks_for_nobody_but_the_graphs_owner(
    engine: Engine, author: psycopg.Connection[Any], sql: str
) -> None:
    asked = engine.start(definition([ASKED]))
    engine.graph(definition(["a"], name="other"))
    assert run_of(author, engine, sql.format(OPEN))["code"] == "OR007"
    assert engine.status(asked) == "awaiting_approval"


def test_what_a_statement_does_is_its_graphs_owners_doing(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    asked = engine.start(definition([{"id": "ask", "type": "approval"}]))
    engine.graph(definition(["a"], name="other"))
    run_of(author, engine, f"select pgorch.decide(p_approval_id => {OPEN}, p_decision => 'approved')")
    run_of(author, engine, "select pgorch.start('other')::text")
    assert [a["decided_by"] for a in engine.approvals(asked)] == [author.info.user]
    started = engine.rows("select r.initiator from pgorch.runs r join pgorch.graphs g on g.id = r.graph_id"
                          " where g.name = 'other'")  # fmt: skip
    assert started == [{"initiator": author.info.user}]


def test_a_graph_that_a_statement_makes_has_its_graphs_owners_rights(
    engine: Engine, author: psycopg.Connection[Any]
) -> None:
    engine.graph(definition([statement("select 1")], name="of_the_workers_user"))
    inner = definition([statement("select count(*) from things")], name="inner")
    assert run_of(author, engine, f"select version from pgorch.create_graph('{json.dumps(inner)}')") == 1
    run_id = engine.start("inner")
    engine.value("select sum(pgorch.run_sql_steps(b)) from generate_series(0, pgorch.bucket_count() - 1) b")
    assert engine.error(run_id)["code"] == "42501"
