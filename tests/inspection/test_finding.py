"""Runs are found by what is in their state and by labels, with an index that the user adds."""

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pgorch.database.run_filters import run_conditions
from pgorch.errors import InvalidValue
from tests.support.engine import Engine, chain

ODD = ("%s", '"', "\\", "'", "{a,b}", "ü", "a b", "%%", "a=b", "1")


def found(
    engine: Engine, states: list[tuple[str, str]], labels: list[tuple[str, str]] | None = None
) -> list[object]:
    query = sql.SQL("select r.run_id from pgorch.run_list r where r.bucket = 0 and %(yes)s {} order by 1")
    rows = engine.connection.execute(query.format(run_conditions(states, labels or [])), {"yes": True})
    return [row["run_id"] for row in rows]


def test_a_field_of_the_state_is_compared_as_text(engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    inputs = [
        {"customer": {"id": 42}, "tags": ["x", "y"], "done": True},
        {"customer": {"id": "42"}, "tags": []},
        {"customer": 42},
    ]
    one, two, three = (engine.start(graph, input, bucket=0) for input in inputs)
    assert found(engine, [("customer.id", "42")]) == [one, two]
    assert found(engine, [("customer.id", "42"), ("tags.1", "y")]) == [one]
    assert found(engine, [("customer", "42")]) == [three]
    assert found(engine, [("done", "true")]) == [one]
    engine.run({"a": {"customer": {"id": 7}}})
    assert found(engine, [("customer.id", "7")]) == [one, two, three]


def test_labels_are_compared_and_join_other_filters(engine: Engine) -> None:
    graph = engine.graph(chain("a"))
    one, two = (engine.start(graph, {"n": 1}, bucket=0) for _ in range(2))
    engine.value("select pgorch.set_labels(%s, %s)", one, Jsonb({"team": "billing"}))
    assert found(engine, [], [("team", "billing")]) == [one]
    assert found(engine, [("n", "1")], [("team", "billing")]) == [one]
    assert found(engine, [("n", "2")], [("team", "billing")]) == []
    assert found(engine, [("n", "1")]) == [one, two]


@pytest.mark.parametrize("odd", ODD)
def test_whatever_a_key_or_value_is_called(engine: Engine, odd: str) -> None:
    run_id = engine.start(chain("a"), {odd: {odd: odd}}, bucket=0)
    engine.start(chain("a"), {"x": 1}, bucket=0)
    assert found(engine, [(f"{odd}.{odd}", odd)]) == [run_id]
    engine.value("select pgorch.set_labels(%s, %s)", run_id, Jsonb({odd: odd}))
    assert found(engine, [], [(odd, odd)]) == [run_id]


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a\0"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidValue):
        run_conditions([(path, "x")], [])


def test_too_many_filters_are_refused() -> None:
    with pytest.raises(InvalidValue):
        run_conditions([("a", "1")] * 6, [("b", "2")] * 5)


@pytest.mark.parametrize(
    ("name", "index", "states", "labels"),
    [
        ("by_customer", "state #>> '{customer,id}'", [("customer.id", "42")], []),
        ("by_team", "labels ->> 'team'", [], [("team", "billing")]),
    ],
)
def test_an_index_of_the_user_s_serves_the_filter(
    fresh_database: str,
    name: str,
    index: str,
    states: list[tuple[str, str]],
    labels: list[tuple[str, str]],
) -> None:
    """The expressions are those that TECHNICAL_DOCS.md gives."""
    expression = index.replace("state", "pgorch._state(input, snapshot, delta)")
    with psycopg.connect(fresh_database, autocommit=True, row_factory=dict_row) as connection:
        connection.execute(f"create index {name} on pgorch.runs (bucket, ({expression}), id)".encode())
        connection.execute("set enable_seqscan = off")
        query = sql.SQL(
            "explain (costs off) select x.run_id from generate_series(0, 1) b(bucket) cross join lateral ("
            " select r.run_id from pgorch.run_list r where r.bucket = b.bucket"
            "  and r.run_id < coalesce(%(before)s::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff') {}"
            " order by r.run_id desc limit 10) x"
        ).format(run_conditions(states, labels))
        for generic in ("force_generic_plan", "force_custom_plan"):
            connection.execute(f"set plan_cache_mode = {generic}".encode())
            plan = "\n".join(
                row["QUERY PLAN"] for row in connection.execute(query, {"before": None}, prepare=True)
            )
            assert f"using {name}" in plan, plan
            condition = next(line for line in plan.splitlines() if "Index Cond" in line)
            assert "42" in condition or "billing" in condition
