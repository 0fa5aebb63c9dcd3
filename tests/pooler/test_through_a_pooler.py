"""Through PgBouncer in transaction mode: everything works, and nothing is left behind in its sessions."""

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow

from pgorch import Context
from pgorch.api.app import create_app
from pgorch.client import AsyncClient, Client
from pgorch.database.connection import connect, connect_sync
from pgorch.database.pooling import is_lent, settle, settle_sync
from pgorch.doctor import Finding, Limits, examine
from pgorch.errors import ConfigError
from pgorch.worker.identity import Timing
from tests.api.driving import client_of, make_key
from tests.cli.conftest import Cli, nowhere  # noqa: F401
from tests.client.conftest import ASKING
from tests.support.databases import Databases
from tests.support.pooler import Pooler
from tests.support.proxy import sessions
from tests.worker.conftest import Place, place  # noqa: F401


@pytest.fixture
def pooled(direct: str, pooler: Pooler) -> str:
    """The address of the test's database through the pooler."""
    return pooler.dsn_of(direct)


@pytest.fixture
def direct(databases: Databases, connection: Connection[DictRow]) -> str:
    """Its address without."""
    return databases.direct_dsn(str(connection.info.dbname))


def left_behind(pooled: str) -> list[Any]:
    """What differs in any session of the pooler from a fresh one."""
    found, holders = [], []
    try:
        for _ in range(12):
            # Open transactions, so that each is in another session.
            holder = psycopg.connect(pooled, prepare_threshold=None)
            holders.append(holder)
            row = holder.execute(
                "select (select array_agg(c) from pg_listening_channels() c),"
                " (select array_agg(p.name) from pg_prepared_statements p where p.name <> 'pgorch_sql_step'),"
                " (select count(*) from pg_locks l where l.pid = pg_backend_pid()"
                "  and l.locktype = 'advisory'),"
                " (select array_agg(s.name) from pg_settings s where s.source = 'session'"
                "  and s.name not in ('application_name', 'client_encoding', 'TimeZone')),"
                " current_setting('timezone') = reset_val from pg_settings where name = 'TimeZone'"
            ).fetchone()
            found.append(row)
    finally:
        for holder in holders:
            holder.close()
    return [row for row in found if row != (None, None, 0, None, True)]


async def test_a_worker_does_all_it_does(pooled: str, place: Place) -> None:  # noqa: F811
    @place.tool
    async def price(n: int) -> dict[str, int]:
        return {"n": n + 1}

    @place.tool(transactional=True)
    def book(n: int, ctx: Context) -> dict[str, int]:
        for _ in range(8):
            ctx.connection.execute("insert into bookings values (%s)", [n])
        return {"n": n + 1}

    @place.tool(transactional=True)
    async def book_async(n: int, ctx: Context) -> dict[str, int]:
        await ctx.connection.execute("insert into bookings values (%s)", [n])
        return {"n": n + 1}

    place.connection.execute("create table bookings (n int)")
    graph = place.graph(
        [
            {"id": "price", "function": "price"},
            {"id": "book", "function": "book"},
            {"id": "book_async", "function": "book_async"},
            {"id": "count", "sql": "select count(*) as bookings from bookings"},
            {"id": "rest", "type": "wait", "for": "10 ms"},
        ],
        ["price>book", "book>book_async", "book_async>count", "count>rest"],
    )
    await place.work(dsn=pooled, slots=5)
    runs = place.start_many(graph, [{"n": n} for n in range(12)])
    await place.all_ended()
    assert {place.run(run)["status"] for run in runs} == {"completed"}
    assert [place.run(run)["state"]["n"] for run in runs] == [n + 3 for n in range(12)]
    assert place.value("select count(*) from bookings") == 12 * 9
    # No session is the worker's own: there is no marker, and nobody listens.
    assert place.value("select count(*) from pgorch._worker_leases where marker is not null") == 0
    assert left_behind(pooled) == []


async def test_a_transaction_leaves_nothing_in_a_session_that_is_lent(pooled: str, place: Place) -> None:  # noqa: F811
    leaves = (
        "perform set_config('work_mem', '1MB', false), pg_advisory_lock(7);"
        " listen nothing; prepare x as select 1;"
    )
    place.connection.execute(
        f"create function leave() returns int language plpgsql as $$ begin {leaves} return 1; end $$".encode()
    )

    @place.tool(transactional=True)
    def book(ctx: Context) -> None:
        ctx.connection.execute("set work_mem = '1MB'")
        ctx.connection.execute("select pg_advisory_lock(8)")
        ctx.connection.execute("create temporary table left_behind ()")

    graph = place.graph(
        [{"id": "book", "function": "book"}, {"id": "leave", "sql": "select leave()"}], ["book>leave"]
    )
    await place.work(dsn=pooled)
    runs = place.start_many(graph, [{}] * 6)
    await place.all_ended()
    assert {place.run(run)["status"] for run in runs} == {"completed"}
    assert left_behind(pooled) == []
    assert place.value("select count(*) from pg_class where relname = 'left_behind'") == 0


async def test_with_a_direct_dsn_a_worker_is_notified_and_its_death_is_seen_at_once(
    pooled: str,
    direct: str,
    place: Place,  # noqa: F811
) -> None:
    @place.tool
    async def a(n: int) -> dict[str, int]:
        return {"n": n + 1}

    graph = place.graph([{"id": "a", "function": "a"}])
    await place.work(dsn=pooled, direct_dsn=direct, timing=Timing(beat=5, poll=60, stall_exit=None))
    assert place.value("select count(*) from pgorch._worker_leases where marker is null") == 0
    await place.until(lambda: sessions(place.connection, "listener"))
    await place.until_asleep()
    run_id = place.start(graph, {"n": 0})
    await place.until(lambda: place.run(run_id)["finished_at"] is not None, seconds=4.5)
    assert left_behind(pooled) == []


@pytest.mark.parametrize("wrong", ["another database", "the pooler"])
async def test_a_direct_dsn_that_leads_elsewhere_is_refused_at_the_start(
    pooled: str,
    direct: str,
    place: Place,  # noqa: F811
    wrong: str,
) -> None:
    elsewhere = make_conninfo(direct, dbname="postgres") if wrong == "another database" else pooled
    with pytest.raises(ConfigError, match=r"another database|through a pooler, too"):
        await place.work(dsn=pooled, direct_dsn=make_conninfo(elsewhere, application_name="x"))
    place._workers.clear()
    finding = look(pooled, "pooler", make_conninfo(elsewhere, application_name="x"))
    assert finding.level == "problem"
    assert "workers refuse to start" in finding.found


def test_a_pooler_in_statement_mode_is_refused(server: str, direct: str, pooler: Pooler) -> None:
    with Pooler(server, mode="statement") as other:
        connection = connect_sync(other.dsn_of(direct), application_name="test")
        with pytest.raises(ConfigError, match="no transactions of several statements"):
            settle_sync(connection, {})
        connection.close()


def test_settings_travel_with_each_statement(pooled: str, direct: str) -> None:
    settings = {"statement_timeout": "200", "lock_timeout": "100", "timezone": "Asia/Tokyo"}
    with connect_sync(pooled, application_name="test") as connection:
        assert settle_sync(connection, settings) is False
        assert is_lent(connection)
        query = "select current_setting('lock_timeout'), current_setting('timezone'), %s::int"
        for n in range(8):
            assert connection.execute(query, [n]).fetchone() == ("100ms", "Asia/Tokyo", n)
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("select pg_sleep(5)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("select 1 / 0")
        assert connection.execute("select 1").fetchone() == (1,)
    assert left_behind(pooled) == []
    with connect_sync(direct, application_name="test") as connection:
        assert settle_sync(connection, settings) is True
        assert connection.execute("show timezone").fetchone() == ("Asia/Tokyo",)


async def test_settings_travel_with_each_statement_of_an_async_connection(pooled: str) -> None:
    connection = await connect(pooled, application_name="test")

    async def ask(number: int) -> Any:
        query = "select current_setting('statement_timeout'), %s::int"
        return await (await connection.execute(query, [number])).fetchone()

    async with connection:
        assert await settle(connection, {"statement_timeout": "200"}) is False
        # Tasks may share a connection.
        answers = await asyncio.gather(*(ask(number) for number in range(20)))
        assert answers == [("200ms", number) for number in range(20)]
        async with connection.cursor() as cursor:
            await cursor.execute("select current_setting('statement_timeout'), %s::int", [7])
            assert await cursor.fetchall() == [("200ms", 7)]
        with pytest.raises(psycopg.errors.QueryCanceled):
            await connection.execute("select pg_sleep(5)")
    assert left_behind(pooled) == []


@pytest.fixture
def asking(direct: str) -> str:
    with Client(direct) as client:
        client.create_graph(ASKING)
    return "asking"


async def test_the_api_serves_and_waits(pooled: str, asking: str) -> None:
    app = create_app(pooled, connection_wait_seconds=20)
    async with app.router.lifespan_context(app), client_of(app, make_key(pooled)) as client:
        for _ in range(12):
            started = await client.post("/graph/run", json={"graph": asking, "initial_state": {}})
            assert started.status_code < 300, started.text
            run_id = started.json()["run_id"]
            decided = await client.post(f"/graph/resume/{run_id}")
            assert decided.status_code == 200, decided.text
            shown = await client.get(f"/v1/runs/{run_id}")
            assert shown.json()["status"] == "completed"
            assert shown.json()["created_at"].endswith(("Z", "+00:00"))
    assert left_behind(pooled) == []


async def test_clients_start_decide_and_wait(pooled: str, asking: str) -> None:
    def in_turn() -> None:
        with Client(pooled) as client:
            for _ in range(8):
                run_id = client.start(asking)
                assert client.wait(run_id, timeout=20).status == "awaiting_approval"
                client.decide(run_id, "approved")
                assert client.wait(run_id, timeout=20).status == "completed"

    await asyncio.to_thread(in_turn)
    async with AsyncClient(pooled) as client:
        run_id = await client.start(asking)
        waits = asyncio.create_task(client.wait(run_id, timeout=20, through_approvals=True))
        await asyncio.sleep(0.1)
        await client.decide(run_id, "approved")
        assert (await waits).status == "completed"
    assert left_behind(pooled) == []


def test_the_command_line_works(
    nowhere: Cli,  # noqa: F811
    pooled: str,
    asking: str,
) -> None:
    said = nowhere("run", asking, "--dsn", pooled, "--wait", "--timeout", "0.5", "-o", "json")
    assert said.code == 4, said
    run_id = nowhere("runs", "list", "--dsn", pooled, "-o", "json").json[0]["run_id"]
    assert nowhere("approvals", "approve", run_id, "--dsn", pooled).code == 0
    assert nowhere("runs", "watch", run_id, "--dsn", pooled).code == 0
    assert nowhere("migrate", "--dsn", pooled).code == 0
    refused = nowhere("bench", "--dsn", pooled)
    assert refused.code == 1
    assert "A pooler stands between" in refused.err
    assert left_behind(pooled) == []


def look(dsn: str, check: str, direct_dsn: str | None = None) -> Finding:
    (finding,) = examine(dsn, direct_dsn=direct_dsn, only=[check], limits=Limits(notify_seconds=0.5))
    return finding


def test_the_doctor_names_the_pooler_and_what_to_set(pooled: str, direct: str) -> None:
    assert look(direct, "pooler").level == "ok"
    finding = look(pooled, "pooler")
    assert (finding.level, "PGORCH_DIRECT_DSN" in finding.next) == ("warning", True)
    assert look(pooled, "notifications").level == "warning"
    assert look(pooled, "pooler", direct).level == "ok"
    assert look(pooled, "notifications", direct).level == "ok"
    assert left_behind(pooled) == []


def test_the_doctor_sees_as_much_through_a_pooler(pooled: str, direct: str) -> None:
    def levels(dsn: str) -> dict[str, str]:
        findings = examine(dsn, direct_dsn=direct, limits=Limits(notify_seconds=0.5))
        return {finding.check: finding.level for finding in findings}

    assert levels(pooled) == levels(direct)
