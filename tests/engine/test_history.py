"""The history's partitions."""

import psycopg
from psycopg.rows import DictRow

from tests.support.engine import Engine, chain
from tests.support.races import open_connection

PARTITIONS = """
    select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'pgorch.history'::regclass order by c.relname
"""


def partitions(connection: psycopg.Connection[DictRow]) -> list[str]:
    return [r["relname"] for r in connection.execute(PARTITIONS).fetchall()]


def test_partitions_are_made_weeks_ahead_and_once(fresh_database: str) -> None:
    with open_connection(fresh_database) as connection:
        connection.execute("select pgorch.maintain()")
        made = partitions(connection)
        assert len(made) >= 9
        connection.execute("select pgorch.maintain()")
        assert partitions(connection) == made


def test_the_history_of_a_new_run_is_in_the_partition_of_its_week(engine: Engine) -> None:
    engine.value("select pgorch.maintain() is null")
    run_id = engine.start(chain("a b"))
    engine.run()
    found = engine.rows(
        "select distinct tableoid::regclass::text as name from pgorch.history where run_id = %s", run_id
    )
    assert [f["name"] for f in found] != ["pgorch._history_rest"]
    assert len(found) == 1


def test_who_maintains_while_another_does_it_does_not_wait(fresh_database: str) -> None:
    with (
        open_connection(fresh_database, autocommit=False) as first,
        open_connection(fresh_database) as second,
    ):
        first.execute("select pgorch.maintain()")
        second.execute("set lock_timeout = '10s'")
        second.execute("select pgorch.maintain()")
        first.commit()


def test_without_partitions_made_ahead_history_is_kept_all_the_same(fresh_database: str) -> None:
    with open_connection(fresh_database) as connection:
        for name in partitions(connection):
            if name != "_history_rest":
                connection.execute(f"drop table pgorch.{name}".encode())
        engine = Engine(connection)
        run_id = engine.start(chain("a b"))
        engine.run()
        assert engine.order(run_id) == "a b"
        connection.execute("select pgorch.maintain()")
        assert engine.order(run_id) == "a b"
        another = engine.start(chain("a b"))
        engine.run()
        assert engine.order(another) == "a b"
