"""Waits on rows: which tables may be named, what is stored, and the triggers that come and go."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from tests.graphs.graphs import Graphs, tasks
from tests.graphs.tables import make_tables
from tests.support.engine import definition
from tests.support.races import Rival, open_connection

PAID = '$.status == "paid"'


def waiting(row: Any, name: str = "g", **more: Any) -> dict[str, Any]:
    return definition([{"id": "w", "type": "wait", "row": row, **more}], name=name)


def row(table: str = "shop.orders", key: Any = "${$input.id}", condition: Any = PAID, **more: Any) -> Any:
    return {"table": table, "key": key, "condition": condition, **more}


@pytest.fixture
def shop(graphs: Graphs) -> Graphs:
    make_tables(graphs)
    return graphs


def triggers(graphs: Graphs) -> set[str]:
    found = graphs.rows(
        "select tgrelid::regclass::text as on_table from pg_trigger"
        " where starts_with(tgname, 'pgorch_row_') and tgparentid = 0"
    )
    return {trigger["on_table"] for trigger in found}


@pytest.mark.parametrize(
    ("waited", "stored"),
    [
        (row(), {"table": "shop.orders", "key_column": "id", "key": "${$input.id}"}),
        (row("SHOP.Orders"), {"table": "shop.orders"}),
        (row('shop."Odd Name"', key=5), {"table": 'shop."Odd Name"', "key": 5}),
        (row("shop.lines", key_column="order_id"), {"table": "shop.lines", "key_column": "order_id"}),
        (row(key_column="Total Price"), {"key_column": "Total Price"}),
        (row("shop.events"), {"table": "shop.events", "key_column": "id"}),
        (row("shop.events_low", condition="exists($)"), {"condition": "exists($)"}),
        (
            row(condition={"status": "paid", "a": {"b": None, 'c"': 1.5}}),
            {"condition": '$."a"."b" == null && $."a"."c\\"" == 1.5 && $."status" == "paid"'},
        ),
    ],
)
def test_what_may_be_waited_for_and_what_is_stored(shop: Graphs, waited: Any, stored: dict[str, Any]) -> None:
    assert shop.errors(waiting(waited)) == []
    kept = shop.nodes(waiting(waited))["w"]["wait_row"]
    assert set(kept) == {"table", "key", "key_column", "condition"}
    assert kept.items() >= stored.items()
    assert shop.value("select %s::jsonpath is not null", kept["condition"])
    assert kept["table"] in triggers(shop)


def test_the_predicate_of_an_object_is_true_where_the_row_contains_it(shop: Graphs) -> None:
    kept = shop.nodes(waiting(row(condition={"status": "paid", "a": {"b": None}})))["w"]["wait_row"]
    for document, holds in [
        ('{"status": "paid", "a": {"b": null}, "c": 1}', True),
        ('{"status": "paid", "a": {}}', False),
        ('{"status": "open", "a": {"b": null}}', False),
    ]:
        assert shop.value("select jsonb_path_match(%s, %s)", document, kept["condition"]) is holds


@pytest.mark.parametrize(
    ("waited", "path", "code", "words"),
    [
        ("shop.orders", "", "bad_value", "an object"),
        ({"table": "shop.orders", "condition": PAID}, "", "missing_key", '"key"'),
        ({"table": "shop.orders", "key": "1"}, "", "missing_key", '"condition"'),
        (row("orders"), "/table", "unknown_table", "with its schema"),
        (row("a.b.c"), "/table", "unknown_table", "with its schema"),
        (row('shop."'), "/table", "unknown_table", "with its schema"),
        (row("shop.nothing"), "/table", "unknown_table", "no table"),
        (row("nothing.orders"), "/table", "unknown_table", "no table"),
        (row("shop.open_orders"), "/table", "unknown_table", "no ordinary table"),
        (row("pgorch.runs"), "/table", "unknown_table", "of pgorch"),
        (row("pg_catalog.pg_class"), "/table", "unknown_table", "of the system"),
        (row(5), "/table", "bad_name", "a string"),  # type: ignore[arg-type]
        (row("shop.lines"), "", "missing_key", "no primary key of one column"),
        (row(key_column="idd"), "/key_column", "unknown_column", '"idd"'),
        (row(key=""), "/key", "bad_value", "empty"),
        (row(key=["a"]), "/key", "bad_value", "a list"),
        (row(key="${$typo}"), "/key", "unknown_root", "$typo"),
        (row(condition="$.status"), "/condition", "not_a_predicate", "neither true nor false"),
        (row(condition="$.status = 1"), "/condition", "bad_condition", "character"),
        (row(condition="$.id == $input.id"), "/condition", "unknown_root", "reads the row only"),
        (row(condition={}), "/condition", "bad_value", "empty"),
        (row(condition={"tags": ["a"]}), "/condition", "bad_condition", "a list"),
        (row(condition={"a": {}}), "/condition", "bad_condition", "empty object"),
        (row(condition=5), "/condition", "bad_value", "a number"),
        (row(colum="id"), "/colum", "unknown_key", '"colum"'),
    ],
)
def test_a_mistake_in_a_wait_on_a_row(shop: Graphs, waited: Any, path: str, code: str, words: str) -> None:
    error = shop.error(waiting(waited))
    assert (error["path"], error["code"]) == ("/nodes/0/row" + path, code)
    assert words in error["message"]


def test_near_names_of_tables_and_columns_are_in_the_hints(shop: Graphs) -> None:
    assert 'Did you mean "shop.orders"?' in shop.error(waiting(row("shop.order")))["hint"]
    assert 'Did you mean "status"?' in shop.error(waiting(row(key_column="staus")))["hint"]


def test_a_trigger_is_there_as_long_as_a_graph_needs_it(shop: Graphs) -> None:
    assert triggers(shop) == set()
    shop.create(waiting(row()))
    shop.create(waiting(row(condition="exists($)")))
    shop.create(waiting(row(), name="other"))
    shop.create(waiting(row('shop."Odd Name"', key=1), name="odd"))
    assert triggers(shop) == {"shop.orders", 'shop."Odd Name"'}
    shop.value("select pgorch.delete_graph('g')")
    shop.value("select pgorch.delete_graph('other')")
    assert "shop.orders" in triggers(shop), "version 1 of g still waits"
    (deleted,) = shop.rows("select * from pgorch.delete_graph('g@1')")
    assert (deleted["name"], deleted["version"], deleted["watched"]) == ("g", 1, [])
    assert triggers(shop) == {'shop."Odd Name"'}
    shop.value("select pgorch.delete_graph('odd')")
    assert triggers(shop) == set()


def test_each_column_by_which_rows_are_found_has_its_trigger(shop: Graphs) -> None:
    long = "Ä" * 30
    shop.connection.execute(f'alter table shop.orders add column "{long}" text'.encode())

    def names() -> set[str]:
        found = shop.rows("select tgname from pg_trigger where tgrelid = 'shop.orders'::regclass")
        return {trigger["tgname"] for trigger in found}

    shop.create(waiting(row()))
    shop.create(waiting(row(key_column="Total Price"), name="total"))
    shop.create(waiting(row(key_column=long), name="long"))
    md5 = shop.value("select md5(%s)", long)
    assert names() == {
        f"pgorch_row_{kind}_{column}" for kind in ("wait", "left") for column in ("id", "Total Price", md5)
    }
    shop.value("select pgorch.delete_graph('total')")
    shop.value("select pgorch.delete_graph('long')")
    assert names() == {"pgorch_row_wait_id", "pgorch_row_left_id"}


def test_a_table_that_is_gone_does_not_keep_its_graph(shop: Graphs) -> None:
    shop.create(waiting(row()))
    shop.connection.execute("drop table shop.orders cascade")
    (deleted,) = shop.rows("select * from pgorch.delete_graph('g')")
    assert deleted["watched"] == []


def test_a_table_that_was_made_anew_is_watched_again(shop: Graphs) -> None:
    shop.create(waiting(row()))
    shop.connection.execute("drop table shop.orders cascade")
    shop.connection.execute("create table shop.orders (id text primary key)")
    assert not shop.create(waiting(row()))["created"]
    assert triggers(shop) == {"shop.orders"}


def test_a_renamed_table_loses_its_trigger_with_the_last_graph_of_its_old_name(shop: Graphs) -> None:
    shop.create(waiting(row()))
    shop.connection.execute("alter table shop.orders rename to purchases")
    assert triggers(shop) == {"shop.purchases"}
    shop.value("select pgorch.delete_graph('g')")
    assert triggers(shop) == set()


def test_the_trigger_names_its_table_also_in_a_partition(shop: Graphs) -> None:
    shop.create(waiting(row("shop.events")))
    arguments = shop.rows(
        "select distinct tgargs from pg_trigger where tgname = 'pgorch_row_wait_id'"
        " and tgrelid in ('shop.events'::regclass, 'shop.events_low'::regclass)"
    )
    assert [bytes(a["tgargs"]) for a in arguments] == [b"id\0shop.events\0"]


def test_row_security_keeps_a_table_from_those_whom_it_binds(shop: Graphs) -> None:
    shop.connection.execute("alter table shop.orders enable row level security")
    shop.connection.execute("alter table shop.orders force row level security")
    assert shop.errors(waiting(row())) == [], "a superuser sees all rows"


@pytest.fixture
def clerk(database: str) -> Iterator[Connection[DictRow]]:
    """The session of a user who may create graphs, and nothing else at first."""
    with open_connection(database) as owner:
        graphs = Graphs(owner)
        graphs.register("f")
        make_tables(graphs)
        owner.execute("drop role if exists definitions_clerk")
        owner.execute("create role definitions_clerk login")
        owner.execute("grant usage on schema pgorch to definitions_clerk")
        owner.execute("grant all on all tables in schema pgorch to definitions_clerk")
        owner.execute("grant execute on all functions in schema pgorch to definitions_clerk")
        with psycopg.connect(
            database, user="definitions_clerk", autocommit=True, row_factory=psycopg.rows.dict_row
        ) as session:
            yield session
        owner.execute("drop owned by definitions_clerk")
        owner.execute("drop role definitions_clerk")


def test_who_may_put_triggers_on_a_table_may_wait_for_its_rows(
    database: str, clerk: Connection[DictRow]
) -> None:
    clerks = Graphs(clerk)
    with open_connection(database) as owner:
        assert clerks.error(waiting(row()))["message"] == 'there is no table "shop.orders"'
        owner.execute("grant usage on schema shop to definitions_clerk")
        for grant in ("select", "trigger"):
            error = clerks.error(waiting(row()))
            assert (error["code"], error["message"]) == (
                "unknown_table",
                "definitions_clerk may not wait for rows of shop.orders",
            )
            assert "grant select, trigger on shop.orders to definitions_clerk" in error["hint"]
            owner.execute(f"grant {grant} on shop.orders to definitions_clerk".encode())
        assert clerks.errors(waiting(row())) == []
        owner.execute("alter table shop.orders enable row level security")
        assert "row security" in clerks.error(waiting(row()))["message"]
        owner.execute("alter table shop.orders disable row level security")
        clerks.create(waiting(row()))
        assert triggers(Graphs(owner)) == {"shop.orders"}
        # Only a table's owner may drop its triggers: what stays is told.
        (deleted,) = clerks.rows("select * from pgorch.delete_graph('g')")
        assert deleted["watched"] == ["shop.orders"]
        assert triggers(Graphs(owner)) == {"shop.orders"}


def test_a_table_in_use_is_waited_for_only_so_long(database: str) -> None:
    with open_connection(database) as writer, open_connection(database) as other:
        graphs = Graphs(other)
        make_tables(graphs)
        with writer.transaction():
            writer.execute("insert into shop.orders values ('1')")
            with pytest.raises(psycopg.Error) as raised:
                graphs.create(waiting(row()))
        assert raised.value.sqlstate == "OR002"
        assert "shop.orders has been written to" in str(raised.value)
        assert graphs.create(waiting(row()))["created"]


def test_two_creators_for_one_table_make_one_trigger(database: str) -> None:
    with open_connection(database) as holder:
        graphs = Graphs(holder)
        make_tables(graphs)
        with holder.transaction():
            graphs.create(waiting(row()))
            rival = Rival(
                database,
                "select * from pgorch.create_graph(%s)",
                psycopg.types.json.Jsonb(waiting(row(), name="h")),
            )
            rival.wait_until_blocked()
        assert rival.rows()[0]["created"]
        assert triggers(graphs) == {"shop.orders"}


def test_graphs_without_such_waits_touch_no_table(shop: Graphs) -> None:
    shop.create(tasks("a"))
    assert triggers(shop) == set()
