"""Waits on rows of users' own tables: the change itself wakes the run, and none is missed."""

import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import DictRow

from tests.support.engine import Engine, definition
from tests.support.races import open_connection

PAID = '$.status == "paid"'
PAY = "update shop.orders set status = 'paid' where id = 7"


@pytest.fixture
def shop(engine: Engine) -> Iterator[Engine]:
    """An engine beside tables of a shop."""
    engine.connection.execute("create schema shop")
    engine.connection.execute("create table shop.orders (id integer primary key, status text, note text)")
    engine.connection.execute("create table shop.lines (order_id text, line integer, status text)")
    engine.connection.execute("insert into shop.orders select n, 'open' from generate_series(1, 20) n")
    yield engine
    engine.connection.execute("drop schema shop cascade")


@pytest.fixture
def other(shop: Engine, database: str) -> Iterator[Connection[DictRow]]:
    """A session of somebody who changes rows; not in autocommit."""
    with open_connection(database, autocommit=False) as connection:
        yield connection
        connection.rollback()


def paid(
    key: Any = "${$.order}", condition: str = PAID, table: str = "shop.orders", **more: Any
) -> dict[str, Any]:
    row = {"table": table, "key": key, "condition": condition, **more.pop("row", {})}
    return definition(
        ["a", {"id": "w", "type": "wait", "row": row, "into": "row", **more}, "b", "late"],
        ["a>w", "w>b", *([("w>late", {"on": "expired"})] if "deadline" in more else [])],
    ) | ({} if "deadline" in more else {"nodes": [
        {"id": "a", "function": "a"}, {"id": "w", "type": "wait", "row": row, "into": "row", **more},
        {"id": "b", "function": "b"}]})  # fmt: skip


def asleep(shop: Engine, order: Any = 7, **more: Any) -> UUID:
    """A run that waits for an order to be paid; its second look is yet to come."""
    run_id = shop.start(paid(**more), {"order": order})
    shop.run()
    assert shop.status(run_id) == "waiting"
    return run_id


def looked(shop: Engine, order: Any = 7, **more: Any) -> UUID:
    """A run that waits for an order to be paid, and has looked for the second time."""
    run_id = asleep(shop, order, **more)
    shop.jump("1 second")
    assert tick(shop) == 1
    assert shop.status(run_id) == "waiting"
    assert shop.rows("select from pgorch.timers where kind = 'recheck'") == []
    return run_id


def tick(shop: Engine) -> int:
    return sum(shop.value("select pgorch.tick(%s)", b) for b in shop.buckets)


def tick_until(shop: Engine, run_id: UUID, status: str) -> None:
    """Timers of a look-again are due within 200 ms."""
    deadline = time.monotonic() + 20
    while shop.status(run_id) != status:
        assert time.monotonic() < deadline, shop.rows("select * from pgorch.timers")
        tick(shop)
        time.sleep(0.02)


def test_the_transaction_that_changes_the_row_wakes_the_run(shop: Engine, other: Connection[DictRow]) -> None:
    run_id = asleep(shop)
    other.execute("update shop.orders set status = 'sent' where id = 7")
    other.execute("update shop.orders set status = 'paid' where id = 8")
    other.commit()
    assert shop.status(run_id) == "waiting"
    other.execute(PAY)
    assert shop.status(run_id) == "waiting", "not before the commit"
    other.commit()
    assert shop.status(run_id) == "running"
    shop.run()
    assert shop.state(run_id)["row"] == {"id": 7, "status": "paid", "note": None}
    assert shop.rows("select * from pgorch._row_waits") == []
    assert shop.rows("select * from pgorch._row_changes") == []


def test_a_rollback_leaves_the_run_asleep(shop: Engine, other: Connection[DictRow]) -> None:
    run_id = looked(shop)
    other.execute(PAY)
    other.rollback()
    assert (shop.status(run_id), tick(shop)) == ("waiting", 0)
    shop.connection.execute(PAY)
    assert shop.status(run_id) == "running"


def test_a_row_that_is_so_already_is_not_waited_for(shop: Engine) -> None:
    shop.connection.execute(PAY)
    run_id = shop.start(paid(), {"order": 7})
    shop.run()
    assert shop.status(run_id) == "completed"
    assert "wait_started" not in shop.kinds(run_id)


def test_a_row_that_is_yet_to_come_is_waited_for(shop: Engine) -> None:
    run_id = asleep(shop, order=100)
    shop.connection.execute("insert into shop.orders values (99, 'paid'), (100, 'open')")
    assert shop.status(run_id) == "waiting"
    shop.connection.execute(
        "insert into shop.orders values (100, 'paid') on conflict (id) do update set status = 'paid'"
    )
    assert shop.status(run_id) == "running"


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize("change", [PAY, "insert into shop.orders values (100, 'paid')"])
def test_a_change_under_way_when_the_wait_begins_is_not_missed(
    shop: Engine, other: Connection[DictRow], level: str, change: str
) -> None:
    other.execute(f"set session characteristics as transaction isolation level {level}".encode())
    other.commit()
    shop.graph(paid() | {"name": "first"})
    other.execute(change.encode())
    run_id = asleep(shop, order=7 if change == PAY else 100)
    other.commit()
    tick_until(shop, run_id, "running")


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_a_wait_that_is_being_registered_is_found_by_a_change(
    shop: Engine, other: Connection[DictRow], database: str, level: str
) -> None:
    run_id = shop.start(paid(), {"order": 7})
    step = shop.worker.claim_one()
    with open_connection(database, autocommit=False) as registering:
        worker = shop.worker
        worker.connection = registering
        worker.succeed(step)
        other.execute(f"set transaction isolation level {level}".encode())
        started = time.monotonic()
        other.execute(PAY)
        assert time.monotonic() - started < 5, "it does not wait for the worker"
        other.commit()
        tick(shop)
        assert shop.status(run_id) == "running", "the wait cannot be seen yet, and looks again"
        registering.commit()
        worker.connection = shop.connection
    tick_until(shop, run_id, "running")
    assert shop.rows("select * from pgorch._row_changes") == []


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_an_old_snapshot_does_not_keep_the_run_asleep(
    shop: Engine, other: Connection[DictRow], level: str
) -> None:
    shop.graph(paid() | {"name": "first"})
    other.execute(f"set transaction isolation level {level}".encode())
    other.execute("select * from shop.orders")
    run_id = looked(shop)
    other.execute("update shop.orders set status = 'sent' where id = 8")
    other.execute(PAY)
    other.commit()
    assert len(shop.rows("select * from pgorch._row_changes")) == len(shop.buckets), "only what fits is noted"
    assert shop.value("select pgorch._next_due(%s, pgorch.clock_now())", run_id.bytes[15]) <= 0.05
    assert tick(shop) >= 1
    assert shop.status(run_id) == "running"
    assert shop.rows("select * from pgorch._row_changes") == []


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_an_old_snapshot_does_not_fail_for_what_workers_do(
    shop: Engine, other: Connection[DictRow], level: str
) -> None:
    run_id = asleep(shop)
    other.execute(f"set transaction isolation level {level}".encode())
    other.execute("select * from shop.orders")
    shop.value("select pgorch.signal(%s, 'x')", run_id)
    other.execute(PAY)
    other.commit()
    tick(shop)
    assert shop.status(run_id) == "running"


def test_a_change_before_the_wait_began_is_no_news_to_it(shop: Engine, other: Connection[DictRow]) -> None:
    shop.graph(paid() | {"name": "first"})
    other.execute("set transaction isolation level repeatable read")
    other.execute(PAY)
    other.commit()
    shop.connection.execute("update shop.orders set status = 'returned' where id = 7")
    run_id = asleep(shop)
    assert tick(shop) >= 1
    assert shop.status(run_id) == "waiting"


def test_a_wait_begun_with_an_old_snapshot_looks_again(
    shop: Engine, other: Connection[DictRow], database: str
) -> None:
    run_id = shop.start(paid(), {"order": 7})
    step = shop.worker.claim_one()
    other.execute("set transaction isolation level repeatable read")
    other.execute("select * from shop.orders")
    shop.connection.execute(PAY)
    worker = shop.worker
    worker.connection = other
    worker.succeed(step)
    other.commit()
    worker.connection = shop.connection
    assert shop.status(run_id) == "waiting"
    tick_until(shop, run_id, "running")


def test_all_who_wait_for_a_row_are_woken(shop: Engine) -> None:
    runs = [asleep(shop) for _ in range(30)]
    beside = asleep(shop, order=8)
    shop.connection.execute(PAY)
    assert {shop.status(r) for r in runs} == {"running"}
    assert shop.status(beside) == "waiting"


def test_a_run_that_somebody_works_on_does_not_hold_up_the_change(
    shop: Engine, other: Connection[DictRow]
) -> None:
    run_id = looked(shop)
    other.execute("select from pgorch.runs where id = %s for update", [run_id])
    shop.connection.execute("set statement_timeout = '5s'")
    shop.connection.execute(PAY)
    # That the row has changed again meanwhile makes no difference.
    shop.connection.execute("update shop.orders set status = 'returned' where id = 7")
    other.rollback()
    assert shop.status(run_id) == "waiting"
    assert tick(shop) == 1
    shop.run()
    assert shop.state(run_id)["row"]["status"] == "paid"
    shop.connection.execute("reset statement_timeout")


def test_a_run_that_cannot_go_on_does_not_fail_the_change(shop: Engine) -> None:
    run_id = asleep(shop)
    well = asleep(shop)
    # As if routing had a fault for this run.
    shop.connection.execute(
        "alter table pgorch.history add constraint fault"
        f" check (kind <> 'step_completed' or run_id <> '{run_id}') not valid"
    )
    shop.connection.execute(PAY)
    assert shop.value("select status from shop.orders where id = 7") == "paid"
    assert (shop.status(run_id), shop.status(well)) == ("waiting", "running")
    tick(shop)
    assert shop.status(run_id) == "waiting"
    shop.connection.execute("alter table pgorch.history drop constraint fault")
    shop.jump("1 minute")
    assert tick(shop) == 1
    assert shop.status(run_id) == "running"


def test_a_wait_expires(shop: Engine) -> None:
    run_id = looked(shop, deadline="1 day")
    shop.jump("1 day")
    assert tick(shop) == 1
    shop.worker.enlist()
    shop.run()
    assert shop.order(run_id) == "a w late"
    assert shop.rows("select * from pgorch._row_waits") == []
    shop.connection.execute(PAY)


def test_a_cancelled_run_waits_no_more(shop: Engine) -> None:
    run_id = asleep(shop)
    shop.cancel(run_id)
    assert shop.rows("select * from pgorch._row_waits") == []
    shop.connection.execute(PAY)
    assert shop.status(run_id) == "cancelled"


def test_the_trigger_goes_with_the_last_graph(shop: Engine) -> None:
    run_id = asleep(shop)
    name = shop.value("select name from pgorch.graphs")
    shop.connection.execute(PAY)
    shop.run()
    assert shop.status(run_id) == "completed"
    shop.connection.execute("delete from pgorch.history")
    shop.connection.execute("delete from pgorch.runs")
    shop.rows("select * from pgorch.delete_graph(%s)", name)
    assert shop.rows("select from pg_trigger where starts_with(tgname, 'pgorch')") == []


def test_a_user_who_wakes_one_run_and_touches_the_row_of_another_runs_into_no_deadlock(
    shop: Engine, other: Connection[DictRow], database: str
) -> None:
    woken = asleep(shop, order=7)
    second = shop.start(paid(), {"order": 8})
    step = shop.worker.claim_one()
    other.execute(PAY)
    with open_connection(database, autocommit=False) as registering:
        worker = shop.worker
        worker.connection = registering
        worker.succeed(step)
        # Who begins to wait for row 8 would need the run that the user holds next.
        other.execute("set statement_timeout = '5s'")
        other.execute("update shop.orders set status = 'paid' where id = 8")
        other.commit()
        registering.execute("select from pgorch.runs where id = %s for update", [woken])
        registering.commit()
        worker.connection = shop.connection
    assert shop.status(woken) == "running"
    tick_until(shop, second, "running")


def test_a_signal_in_the_transaction_that_changes_the_row(shop: Engine, other: Connection[DictRow]) -> None:
    row = {"table": "shop.orders", "key": 7, "condition": PAID}
    graph = definition(
        ["s", {"id": "r", "type": "wait", "row": row}, {"id": "w", "type": "wait", "signal": "go"}, "j"],
        ["s>r", "s>w", "r>j", "w>j"],
    )
    run_id = shop.start(graph)
    shop.run()
    other.execute(PAY)
    other.execute("select pgorch.signal(%s, 'go')", [run_id])
    other.commit()
    shop.run()
    assert shop.status(run_id) == "completed"


def test_the_branch_of_a_run_changes_the_row_that_another_waits_for(shop: Engine) -> None:
    row = {"table": "shop.orders", "key": 7, "condition": PAID}
    graph = definition(
        ["s", {"id": "r", "type": "wait", "row": row, "into": "r"}, "pay", "j"],
        ["s>r", "s>pay", "r>j", "pay>j"],
    )
    run_id = shop.start(graph)
    shop.worker.succeed(shop.worker.claim_one("s"))
    step = shop.worker.claim_one("pay")
    with shop.connection.transaction():
        shop.connection.execute(PAY)
        shop.worker.succeed(step)
    shop.run()
    assert shop.status(run_id) == "completed"
    assert shop.order(run_id).split()[-1] == "j"


def test_changes_take_no_locks_of_their_own(shop: Engine) -> None:
    run_id = asleep(shop, order=50_000)
    with shop.connection.transaction():
        shop.connection.execute("insert into shop.orders select n, 'paid' from generate_series(100, 60000) n")
        held = shop.value(
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"
        )
        assert held == 0
    assert shop.status(run_id) == "running"


AFTERWARDS = [
    "update shop.orders set status = 'returned' where id = 7",
    "delete from shop.orders where id = 7",
    "update shop.orders set id = 1007, status = 'returned' where id = 7",
]


@pytest.mark.parametrize("again", AFTERWARDS)
@pytest.mark.parametrize("level", ["read committed", "repeatable read"])
@pytest.mark.parametrize("first", ["read committed", "repeatable read"])
def test_a_state_that_has_passed_before_the_second_look_is_not_missed(
    shop: Engine, other: Connection[DictRow], level: str, first: str, again: str
) -> None:
    shop.graph(paid() | {"name": "first"})
    other.execute(f"set transaction isolation level {first}".encode())
    other.execute(PAY)
    run_id = asleep(shop)
    other.commit()
    other.execute(f"set transaction isolation level {level}".encode())
    other.execute(again.encode())
    other.commit()
    tick(shop)
    tick_until(shop, run_id, "running")
    shop.run()
    assert shop.state(run_id)["row"]["status"] == "paid"
    assert shop.rows("select * from pgorch._row_changes") == []


def test_a_state_between_two_changes_is_not_missed_by_a_wait_begun_with_an_old_snapshot(
    shop: Engine, other: Connection[DictRow], database: str
) -> None:
    run_id = shop.start(paid(), {"order": 7})
    step = shop.worker.claim_one()
    worker = shop.worker
    with open_connection(database, autocommit=False) as registering:
        registering.execute("set transaction isolation level repeatable read")
        registering.execute("select 1")
        other.execute(PAY)
        worker.connection = registering
        worker.succeed(step)
        registering.commit()
        worker.connection = shop.connection
    other.commit()
    shop.connection.execute("update shop.orders set status = 'returned' where id = 7")
    tick_until(shop, run_id, "running")


def test_a_change_that_stays_open_for_long_is_waited_for(shop: Engine, other: Connection[DictRow]) -> None:
    shop.graph(paid() | {"name": "first"})
    other.execute(PAY)
    run_id = asleep(shop)
    for _ in range(4):
        shop.jump("10 seconds")
        assert tick(shop) == 1
    assert shop.status(run_id) == "waiting"
    other.commit()
    shop.jump("10 seconds")
    assert tick(shop) == 1
    assert shop.status(run_id) == "running"


def test_the_second_look_is_the_last_when_nobody_writes_to_the_table(
    shop: Engine, other: Connection[DictRow]
) -> None:
    # Something is under way, but elsewhere.
    other.execute("insert into shop.lines values ('x', 1, 'open')")
    run_id = asleep(shop)
    shop.jump("1 second")
    assert tick(shop) == 1
    assert shop.rows("select * from pgorch.timers where run_id = %s", run_id) == []
    assert shop.status(run_id) == "waiting"


def test_no_more_than_the_state_of_the_last_change_is_compared(shop: Engine) -> None:
    shop.connection.execute(PAY)
    shop.connection.execute("update shop.orders set status = 'returned' where id = 7")
    run_id = asleep(shop)
    shop.connection.execute("update shop.orders set note = 'x' where id = 7")
    assert shop.status(run_id) == "waiting"


@pytest.mark.parametrize("level", ["repeatable read", "read committed"])
def test_of_several_rows_with_a_key_one_suffices(
    shop: Engine, other: Connection[DictRow], level: str
) -> None:
    shop.connection.execute("insert into shop.lines values ('x', 1, 'open'), ('x', 2, 'paid')")
    graph = {"table": "shop.lines", "row": {"key_column": "order_id"}}
    run_id = shop.start(paid(**graph), {"order": "x"})  # type: ignore[arg-type]
    shop.run()
    assert shop.status(run_id) == "completed"
    assert shop.state(run_id)["row"]["line"] == 2


@pytest.mark.parametrize("key", ["07", " 7", "7"])
def test_a_key_is_compared_as_the_column_has_it(shop: Engine, key: str) -> None:
    run_id = asleep(shop, order=key)
    shop.connection.execute(PAY)
    assert shop.status(run_id) == "running"


def test_what_can_be_no_key_fails_the_step(shop: Engine) -> None:
    run_id = shop.start(paid(), {"order": "seven"})
    shop.run()
    assert shop.error(run_id)["type"] == "BadWait"
    assert "shop.orders has no row with the key seven" in shop.error(run_id)["message"]
    assert shop.rows("select * from pgorch._row_waits") == []


def test_a_key_is_looked_up_in_the_index(shop: Engine) -> None:
    shop.graph(paid())
    shop.connection.execute("insert into shop.orders select n, 'open' from generate_series(100, 30000) n")
    shop.connection.execute("analyze shop.orders")
    query = (
        "select * from pgorch._matching_row(current_user, 'shop.orders', 'id', '7', '$.status == \"open\"')"
    )
    before = scans(shop)
    assert shop.rows(query)[0]["output"]["id"] == 7
    after = scans(shop)
    assert (after["idx_scan"] - before["idx_scan"], after["seq_scan"] - before["seq_scan"]) == (1, 0)


def scans(shop: Engine) -> dict[str, int]:
    shop.connection.execute("select pg_stat_force_next_flush()")
    return shop.rows(
        "select coalesce(idx_scan, 0) as idx_scan, seq_scan from pg_stat_user_tables"
        " where relid = 'shop.orders'::regclass"
    )[0]


@pytest.mark.parametrize("type", ["text", "uuid", "bigint", "varchar(40)", "char(36)", "numeric"])
def test_keys_of_every_type(shop: Engine, type: str) -> None:
    key = "7" if type in ("bigint", "numeric") else "a7c1f2b0-0000-4000-8000-00000000000a"
    shop.connection.execute(f"create table shop.t (id {type} primary key, status text)".encode())
    given = key.upper() if type == "uuid" else key
    run_id = asleep(shop, order=given, table="shop.t")
    shop.connection.execute("insert into shop.t values (%s, 'open')", [key])
    assert shop.status(run_id) == "waiting"
    shop.connection.execute("update shop.t set status = 'paid'")
    assert shop.status(run_id) == "running"
    second = shop.start(paid(table="shop.t"), {"order": given})
    shop.run()
    assert shop.status(second) == "completed"


def test_a_table_that_may_not_be_read_any_more_fails_the_wait(
    shop: Engine, other: Connection[DictRow]
) -> None:
    run_id = shop.start(paid(), {"order": 7})
    other.execute("update shop.orders set note = 'x' where id = 7")
    shop.run()
    assert shop.status(run_id) == "waiting"
    other.commit()
    shop.connection.execute("alter table shop.orders rename to gone")
    tick_until(shop, run_id, "failed")
    assert shop.error(run_id)["type"] == "RowUnreadable"


def test_a_table_that_somebody_keeps_locked_fails_no_run_that_begins_to_wait(
    shop: Engine, other: Connection[DictRow]
) -> None:
    shop.connection.execute(PAY)
    graph = shop.graph(paid())
    run_id, unpaid = shop.start(graph, {"order": 7}), shop.start(graph, {"order": 8})
    other.execute("lock table shop.orders in access exclusive mode")
    shop.connection.execute("set lock_timeout = '300ms'")
    shop.run()
    assert (shop.status(run_id), shop.status(unpaid)) == ("waiting", "waiting")
    other.rollback()
    tick_until(shop, run_id, "running")
    shop.connection.execute("update shop.orders set status = 'paid' where id = 8")
    assert shop.status(unpaid) == "running"


def test_a_table_that_somebody_keeps_locked_fails_no_run_that_looks_again(
    shop: Engine, other: Connection[DictRow]
) -> None:
    run_id = asleep(shop)
    other.execute("lock table shop.orders in access exclusive mode")
    shop.connection.execute("set lock_timeout = '300ms'")
    for _ in range(3):
        shop.jump("10 seconds")
        assert tick(shop) == 1
        assert shop.status(run_id) == "waiting"
    other.rollback()
    shop.jump("10 seconds")
    assert tick(shop) == 1
    assert shop.rows("select from pgorch.timers where kind = 'recheck'") == []
    shop.connection.execute(PAY)
    assert shop.status(run_id) == "running"


@pytest.mark.parametrize("state", ["40001", "53200", "55006", "57P04"])
def test_trouble_that_passes_is_not_laid_to_the_row(shop: Engine, state: str) -> None:
    run_id = shop.start(paid(), {"order": 7})
    step = shop.worker.claim_one()
    with shop.connection.transaction(force_rollback=True):
        shop.connection.execute(
            "create or replace function pgorch._json_is_plain(p_table oid) returns boolean language plpgsql"
            f" as $$ begin raise exception using errcode = '{state}'; end $$".encode()
        )
        with pytest.raises(psycopg.errors.lookup(state)):
            shop.worker.succeed(step)
    assert shop.status(run_id) == "running"


def test_an_error_of_the_trigger_never_comes_from_a_null_key(shop: Engine) -> None:
    graph = paid(table="shop.lines", row={"key_column": "order_id"})
    shop.graph(graph)
    shop.connection.execute("insert into shop.lines values (null, 1, 'paid')")
    with pytest.raises(psycopg.errors.NotNullViolation):
        shop.connection.execute("insert into shop.orders values (null, 'paid')")


@pytest.fixture
def trap(shop: Engine) -> Engine:
    """A function of a user's that notes as whom it is run, and a table with columns that could lead to it."""
    for statement in (
        "create table shop.proof (ran_as text)",
        "create function shop.note(t text) returns boolean language plpgsql as"
        " $$ begin insert into shop.proof values (current_user); return true; end $$",
        "create function shop.as_json(m shop.mood) returns json language plpgsql as"
        " $$ begin perform shop.note('x'); return to_json(m::text); end $$",
        "create table shop.odd (id text primary key, status text, mood shop.mood)",
        "create domain shop.noted as text check (shop.note(value))",
    ):
        if "as_json" in statement:
            shop.connection.execute("create type shop.mood as enum ('good', 'bad')")
        shop.connection.execute(statement.encode())
    return shop


def ran(shop: Engine) -> list[Any]:
    return shop.rows("select * from shop.proof")


def test_a_key_column_whose_type_runs_its_makers_code_is_refused(trap: Engine) -> None:
    trap.connection.execute("alter table shop.odd alter column id type shop.noted")
    with pytest.raises(psycopg.Error) as refused:
        trap.graph(paid(table="shop.odd"))
    assert "shop.noted" in str(refused.value.diag.message_detail)
    assert ran(trap) == []


def test_a_key_column_that_came_to_have_such_a_type_is_not_asked(trap: Engine) -> None:
    name = trap.graph(paid(table="shop.odd"))
    waits = trap.start(name, {"order": "7"})
    trap.run()
    for trigger in trap.rows("select tgname from pg_trigger where tgrelid = 'shop.odd'::regclass"):
        trap.connection.execute(f"drop trigger {trigger['tgname']} on shop.odd".encode())
    trap.connection.execute("alter table shop.odd alter column id type shop.noted")
    run_id = trap.start(name, {"order": "7"})
    trap.run()
    trap.jump("1 second")
    tick(trap)
    assert trap.error(run_id)["type"] == "BadWait"
    assert trap.error(waits)["type"] == "RowUnreadable"
    assert ran(trap) == []


def test_a_cast_to_json_that_somebody_made_is_not_run(trap: Engine) -> None:
    name = trap.graph(paid(table="shop.odd"))
    waits = trap.start(name, {"order": "7"})
    trap.run()
    trap.connection.execute("create cast (shop.mood as json) with function shop.as_json(shop.mood)")
    trap.connection.execute("insert into shop.odd values ('7', 'paid', 'good')")
    trap.connection.execute("update shop.odd set mood = 'bad'")
    trap.connection.execute("delete from shop.odd")
    trap.jump("1 second")
    tick(trap)
    run_id = trap.start(name, {"order": "7"})
    trap.run()
    assert [trap.error(r)["type"] for r in (waits, run_id)] == ["RowUnreadable"] * 2
    assert ran(trap) == []
    # Other tables are as good as ever.
    assert PAID in paid()["nodes"][1]["row"]["condition"]
    other = asleep(trap)
    trap.connection.execute(PAY)
    trap.run()
    assert trap.status(other) == "completed"


def test_what_is_no_table_any_more_is_not_read(trap: Engine) -> None:
    name = trap.graph(paid(table="shop.odd"))
    trap.connection.execute(
        "drop table shop.odd; create view shop.odd as"
        " select '7'::text as id, 'paid' as status where shop.note('x')"
    )
    run_id = trap.start(name, {"order": "7"})
    trap.run()
    assert trap.error(run_id)["type"] == "RowUnreadable"
    assert ran(trap) == []
