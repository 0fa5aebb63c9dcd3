"""The proxy does to connections what it says, and counts it."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.support.proxy import Proxy


@pytest.fixture
def proxy(empty_database: str) -> Iterator[Proxy]:
    with psycopg.connect(empty_database) as connection:
        connection.execute("create table t (x int)")
    with Proxy(empty_database, seed=1) as proxy:
        yield proxy


def connect(proxy: Proxy) -> psycopg.Connection:
    return psycopg.connect(proxy.dsn, autocommit=True, connect_timeout=5)


def rows(database: str) -> int:
    with psycopg.connect(database) as connection:
        return len(connection.execute("select from t").fetchall())


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("lost", ["eat_reply", "eat_request"])
def test_outside_of_a_transaction_a_statement_commits(
    proxy: Proxy, empty_database: str, lost: str, prepared: bool
) -> None:
    with connect(proxy) as connection:
        if prepared:
            connection.execute("insert into t values (%s)", [1], prepare=True)
        proxy.set(**{lost: 1.0})
        with pytest.raises(psycopg.OperationalError):
            connection.execute("insert into t values (%s)", [2], prepare=prepared)
    assert rows(empty_database) == prepared + (lost == "eat_reply")
    assert proxy.happened == {"reply eaten" if lost == "eat_reply" else "request eaten": 1}


@pytest.mark.parametrize("lost", ["eat_reply", "eat_request"])
def test_in_a_transaction_it_is_the_commit(proxy: Proxy, empty_database: str, lost: str) -> None:
    with connect(proxy) as connection:
        proxy.set(**{lost: 1.0})
        connection.execute("begin")
        connection.execute("insert into t values (1)")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("commit")
    assert rows(empty_database) == (lost == "eat_reply")


def test_a_share_is_lost(proxy: Proxy, empty_database: str) -> None:
    proxy.set(eat_reply=0.3)
    lost = 0
    for _ in range(60):
        with connect(proxy) as connection:
            try:
                connection.execute("insert into t values (1)")
            except psycopg.OperationalError:
                lost += 1
    assert proxy.happened["reply eaten"] == lost
    assert 5 < lost < 35
    assert rows(empty_database) == 60


def test_a_hole_swallows_everything_and_connections_made_after_it_work(proxy: Proxy) -> None:
    with contextlib.closing(connect(proxy)) as connection:
        proxy.set(hole=True)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(proxy.dsn, connect_timeout=2)
        connection.pgconn.send_query(b"insert into t values (1)")
        connection.pgconn.flush()
        proxy.clear()
        with connect(proxy) as new:
            assert new.execute("select count(*) from t").fetchone() == (0,)
        time.sleep(0.1)
        connection.pgconn.consume_input()
        assert connection.pgconn.is_busy(), "it was told"
    assert proxy.happened["swallowed"] >= 2


def test_the_server_is_not_told_of_a_client_that_ends_in_a_hole(proxy: Proxy, empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as watcher:
        connection = connect(proxy)
        pid = connection.info.backend_pid
        proxy.set(hole=True)
        connection.close()
        time.sleep(0.2)
        there = "select count(*) from pg_stat_activity where pid = %s"
        assert watcher.execute(there, [pid]).fetchone() == (1,)
        proxy.clear()
        deadline = time.monotonic() + 5
        while watcher.execute(there, [pid]).fetchone() == (1,):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_line_can_be_slow_and_narrow(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        connection.execute("select 1")
        proxy.set(delay=0.1)
        began = time.monotonic()
        connection.execute("select 1")
        assert time.monotonic() - began >= 0.2
        proxy.set(delay=0.0, bytes_per_second=100_000.0)
        began = time.monotonic()
        connection.execute("select repeat('x', 50000)")
        assert 0.5 <= time.monotonic() - began < 3


def test_a_reset_is_one(proxy: Proxy) -> None:
    with connect(proxy) as connection:
        connection.execute("select 1")
        assert proxy.reset() == 1
        with pytest.raises(psycopg.OperationalError, match=r"reset by peer|terminat|closed"):
            connection.execute("select 1")
    assert proxy.happened == {"reset": 1}


def test_the_line_is_held_and_flows_on(proxy: Proxy) -> None:
    with connect(proxy) as connection, ThreadPoolExecutor(1) as pool:
        proxy.hold()
        asked = pool.submit(lambda: connection.execute("select 1").fetchone())
        with pytest.raises(TimeoutError):
            asked.result(0.2)
        proxy.flow()
        assert asked.result(5) == (1,)
