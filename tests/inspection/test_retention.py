"""Finished runs go after a time, and the history of their week with them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, Fails, Step, chain, definition
from tests.support.races import Rival, open_connection

WEEK = timedelta(days=7)


@pytest.fixture
def connection(fresh_database: str) -> Iterator[Connection[DictRow]]:
    """To a database of this test alone: partitions are dropped."""
    with open_connection(fresh_database) as connection:
        yield connection


@pytest.fixture
def old(connection: Connection[DictRow]) -> "Past":
    return Past(Engine(connection))


class Past:
    """Runs that were started in earlier weeks: their ids and times are of then."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        now = datetime.now(UTC)
        self.monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
        self.graph = engine.graph(chain("a b") | {"name": "plain"})

    def week(self, ago: int) -> datetime:
        return self.monday - ago * WEEK

    def partition(self, ago: int) -> str:
        """Made as maintain() would have made it then."""
        name = self.name(ago)
        start = self.week(ago)
        bounds = [self.engine.value("select pgorch._first_id_of(%s)", at) for at in (start, start + WEEK)]
        self.engine.connection.execute(
            f"create table pgorch.{name} partition of pgorch.history"
            f" for values from ('{bounds[0]}') to ('{bounds[1]}')".encode()
        )
        return name

    def name(self, ago: int) -> str:
        return self.week(ago).strftime("_history_%Gw%V")

    def run(
        self,
        ago: int,
        *,
        graph: str | None = None,
        finish: bool = True,
        key: str | None = None,
        hours: int = 1,
    ) -> UUID:
        engine = self.engine
        at = self.week(ago) + timedelta(hours=hours)
        first = engine.value("select pgorch._first_id_of(%s)", at)
        run_id = UUID(bytes=first.bytes[:6] + b"\x70" + uuid4().bytes[7:15] + b"\0")
        engine.value(
            "select pgorch._start(0, pgorch.find_graph(%s), array[%s], array[%s::uuid], 0, null, 'me', %s)",
            graph or self.graph,
            Jsonb({}),
            run_id,
            key,
        )
        if key is not None:
            engine.connection.execute(
                "insert into pgorch._idempotency_keys (bucket, key, run_id, digest, created_at)"
                " values (0, %s, %s, '', now())",
                [key, run_id],
            )
        if finish:
            engine.run()
        engine.connection.execute(
            "update pgorch.runs set created_at = %(at)s, finished_at = case when finished_at is not null"
            " then %(at)s end where id = %(id)s",
            {"at": at, "id": run_id},
        )
        return run_id

    def maintain(self) -> int:
        total = 0
        while done := int(self.engine.value("select pgorch.maintain()")):
            total += done
        return total

    def runs(self) -> set[UUID]:
        return {row["id"] for row in self.engine.rows("select id from pgorch.runs")}

    def entries(self, run_id: UUID) -> int:
        return int(self.engine.value("select count(*) from pgorch.history where run_id = %s", run_id))

    def exists(self, table: str) -> bool:
        return self.engine.value("select to_regclass(%s)", f"pgorch.{table}") is not None


def test_finished_runs_go_after_thirty_days_with_the_partition_of_their_week(old: Past) -> None:
    for ago in (2, 6, 7):
        old.partition(ago)
    gone = [old.run(6), old.run(7), old.run(7, hours=100)]
    kept = old.run(2)
    assert [old.entries(run_id) for run_id in gone] == [3, 3, 3]
    assert old.maintain() == 3
    assert old.runs() == {kept}
    assert [old.exists(old.name(ago)) for ago in (2, 6, 7)] == [True, False, False]
    assert old.entries(kept) == 3
    assert old.engine.value("select count(*) from pgorch.history") == 3


def test_the_clock_alone_lets_runs_go_and_the_partitions_to_come_stay(old: Past) -> None:
    run_id = old.engine.start("plain")
    old.engine.run()
    assert old.maintain() == 0
    old.engine.jump("31 days")
    assert old.maintain() == 1
    assert run_id not in old.runs()
    assert old.exists(old.name(0))
    assert old.exists(old.name(-1))


def test_what_has_not_ended_stays_and_so_does_its_history(old: Past) -> None:
    name = old.partition(8)
    asks = definition(["a", {"id": "ok", "type": "approval"}], ["a>ok"], name="asks")
    waiting = old.run(8, graph=old.engine.graph(asks))
    gone = [old.run(8) for _ in range(3)]
    old.maintain()
    assert old.runs() == {waiting}
    assert old.exists(name)
    assert old.entries(waiting) == 2
    assert [old.entries(run_id) for run_id in gone] == [0, 0, 0]
    old.engine.approve(waiting)
    assert old.engine.status(waiting) == "completed"
    old.engine.jump("31 days")
    old.maintain()
    assert old.runs() == set()
    assert not old.exists(name)


def test_a_run_that_ended_lately_stays_however_old_it_is(old: Past) -> None:
    run_id = old.run(9, finish=False)
    old.engine.run()
    assert old.maintain() == 0
    assert old.runs() == {run_id}


def test_what_a_child_or_a_fork_is_needed_for_keeps_it(old: Past) -> None:
    for ago in (8, 9, 10):
        old.partition(ago)
    ancestor = old.run(10)
    asks = definition([{"id": "ok", "type": "approval"}], name="asks")
    fork = old.run(9, graph=old.engine.graph(asks))
    child = old.run(8)
    with old.engine.connection.transaction():
        old.engine.connection.execute(
            "update pgorch.runs set forked_from = %s, forked_at = 1 where id = %s", [ancestor, fork]
        )
        old.engine.connection.execute(
            "update pgorch.runs set parent_run_id = %s where id = %s", [fork, child]
        )
    assert old.maintain() == 0
    assert old.runs() == {ancestor, fork, child}
    assert old.entries(ancestor) == 3
    old.engine.cancel(fork)
    old.engine.jump("31 days")
    old.maintain()
    assert old.runs() == set()
    assert not any(old.exists(old.name(ago)) for ago in (8, 9, 10))


def test_all_that_is_a_run_s_goes_with_it(old: Past) -> None:
    asks = definition(["a", {"id": "ok", "type": "approval"}], ["a>ok"], name="asks")
    run_id = old.run(8, graph=old.engine.graph(asks), key="k")
    old.engine.approve(run_id)
    old.engine.connection.execute(
        "insert into pgorch.signals (bucket, id, run_id, name, payload, sent_at, sent_by)"
        " values (0, %s, %s, 'n', '{}', now(), 'me')",
        [uuid4(), run_id],
    )
    old.engine.jump("31 days")
    old.maintain()
    tables = ("runs", "history", "approvals", "signals", "_idempotency_keys", "steps", "timers", "_writes")
    assert {t: old.engine.value(f"select count(*) from pgorch.{t}") for t in tables} == dict.fromkeys(
        tables, 0
    )
    again = old.engine.start("plain", idempotency_key="k")
    assert again != run_id


def test_null_keeps_runs_for_ever_and_another_time_is_obeyed(old: Past) -> None:
    old.run(8)
    middle, young = old.run(3), old.run(0, hours=0)
    assert old.engine.value("select pgorch.retention()") == timedelta(days=30)
    old.engine.value("select pgorch.set_retention(null)")
    assert old.engine.value("select pgorch.retention()") is None
    assert old.maintain() == 0
    old.engine.value("select pgorch.set_retention('40 days')")
    assert old.engine.value("select value from pgorch.settings where name = 'retention'") == "40 days"
    old.maintain()
    assert old.runs() == {middle, young}
    with pytest.raises(psycopg.Error) as caught:
        old.engine.value("select pgorch.set_retention('59 minutes')")
    assert caught.value.sqlstate == "OR006"


def test_runs_go_in_batches(old: Past) -> None:
    count = 5100
    old.engine.connection.execute(
        "insert into pgorch.runs"
        " (bucket, id, graph_id, initiator, created_at, input, status, finished_at, live)"
        " select 0, overlay(overlay("
        "     pgorch._first_id_of(%(at)s)::text placing lpad(to_hex(n), 8, '0') from 25)"
        "     placing '00' from 35)::uuid, pgorch.find_graph('plain'), 'me', %(at)s, '{}',"
        "   'completed', %(at)s, 0"
        " from generate_series(1, %(count)s) n",
        {"at": old.week(9), "count": count},
    )
    assert old.engine.value("select pgorch.maintain()") == 5000
    assert len(old.runs()) == 100
    assert old.engine.value("select pgorch.maintain()") == 100
    assert old.engine.value("select pgorch.maintain()") == 0


def test_a_run_that_somebody_holds_is_passed_over(old: Past, fresh_database: str) -> None:
    held, free = old.run(8), old.run(8)
    with open_connection(fresh_database, autocommit=False) as other:
        other.execute("select from pgorch.runs where id = %s for update", [held])
        old.engine.connection.execute("set lock_timeout = '5s'")
        old.engine.value("select pgorch.maintain()")
        assert old.runs() == {held}
        assert free not in old.runs()
        other.rollback()
    old.maintain()
    assert old.runs() == set()


def test_a_partition_in_use_is_dropped_another_time_and_the_runs_go_all_the_same(
    old: Past, fresh_database: str
) -> None:
    name = old.partition(8)
    old.run(8)
    with open_connection(fresh_database, autocommit=False) as other:
        other.execute("select count(*) from pgorch.history")
        assert old.maintain() == 1
        assert old.runs() == set()
        assert old.exists(name)
        other.rollback()
    old.maintain()
    assert not old.exists(name)


def test_what_a_failed_run_had_written_goes_with_it(old: Past) -> None:
    engine = old.engine
    engine.start(definition(["s", {"id": "a", "into": "a"}, "b"], ["s>a", "s>b"]))

    def broken(step: Step) -> Any:
        raise Fails

    engine.run({"a": 1, "b": broken})
    assert engine.value("select count(*) from pgorch._writes") > 0
    engine.jump("40 days")
    old.maintain()
    assert old.runs() == set()
    assert engine.value("select count(*) from pgorch._writes") == 0


def test_nobody_is_kept_from_the_history_while_old_runs_are_deleted(old: Past, fresh_database: str) -> None:
    asks = definition([{"id": "ok", "type": "approval"}], name="asks")
    run_id = old.run(8, graph=old.engine.graph(asks))
    old.engine.approve(run_id)
    old.engine.jump("31 days")
    old.partition(9)
    old.engine.connection.execute(f"drop table pgorch.{old.name(-2)}".encode())
    with open_connection(fresh_database, autocommit=False) as other:
        other.execute("select from pgorch.approvals for update")
        maintenance = Rival(fresh_database, "select pgorch.maintain() as n")
        maintenance.wait_until_blocked()
        old.engine.connection.execute("set lock_timeout = '1s'")
        old.engine.value("select count(*) from pgorch.history")
        other.rollback()
    assert maintenance.rows() == [{"n": 1}]
    assert old.runs() == set()
    assert old.exists(old.name(-2))
    assert not old.exists(old.name(9))


def test_a_long_history_goes_in_parts(old: Past) -> None:
    name = old.partition(8)
    asks = definition([{"id": "ok", "type": "approval"}], name="asks")
    kept = old.run(8, graph=old.engine.graph(asks))
    gone = old.run(8)
    old.engine.connection.execute(
        "insert into pgorch.history (bucket, run_id, seq, kind, at)"
        " select 0, %s, n, 'run_paused', now() from generate_series(10, 30000) n",
        [gone],
    )
    assert old.engine.value("select pgorch.maintain()") == 2
    assert old.entries(gone) == 9994
    assert old.engine.value("select pgorch.maintain()") == 1
    assert old.entries(gone) == 0
    assert old.engine.value("select pgorch.maintain()") == 0
    assert old.exists(name)
    assert old.runs() == {kept}
