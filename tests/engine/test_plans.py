"""The hot statements find their rows by index, whatever the statistics say."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row

from tests.support.databases import direct
from tests.support.engine import Engine, chain, definition

HOT = "('runs', 'steps', 'history', '_history_rest', 'approvals', '_writes')"
READ = f"""
    select coalesce(sum(t.seq_tup_read), 0)::bigint as by_scanning,
           coalesce(sum(t.idx_tup_fetch), 0)::bigint as by_index
    from pg_stat_user_tables t
    where t.schemaname = 'pgorch' and (t.relname in {HOT} or t.relname like '\\_history\\_%%')
"""


@pytest.fixture
def engine(fresh_database: str) -> Iterator[Engine]:
    """Statistics are the point here, so nobody else has used the database."""
    with psycopg.connect(direct(fresh_database), autocommit=True, row_factory=dict_row) as connection:
        yield Engine(connection)


def rows_read(connection: psycopg.Connection[DictRow]) -> tuple[int, int]:
    connection.execute("select pg_stat_force_next_flush()")
    connection.execute("select pg_stat_clear_snapshot()")
    row = connection.execute(READ.encode()).fetchone()
    assert row is not None
    return row["by_scanning"], row["by_index"]


def finished_runs(engine: Engine, graph: str, count: int) -> None:
    """As if so many runs of the graph had run: in `runs` and `history` only."""
    engine.connection.execute(
        """
        insert into pgorch.runs
            (bucket, id, graph_id, initiator, created_at, input, status, finished_at, live, seq)
        select 0, pgorch.new_run_id(0), %s, 'x', now(), '{}', 'completed', now(), 0, 2
        from generate_series(1, %s)
        """,
        [graph, count],
    )
    engine.connection.execute(
        """
        insert into pgorch.history (bucket, run_id, seq, kind, at, node, attempt, output)
        select 0, r.id, e.seq, e.kind::pgorch.event_kind, now(), e.node, e.attempt, e.output
        from pgorch.runs r
        cross join (values (1, 'step_completed', 'a', 1, '{}'::jsonb), (2, 'run_completed', null, null, null))
            e(seq, kind, node, attempt, output)
        where r.finished_at is not null
        """
    )


def work(engine: Engine, plain: list[str], with_approval: str) -> list[UUID]:
    """Runs of every kind, a hundred steps and more, one result a call."""
    runs = [engine.start(graph, {"n": 0}, bucket=0) for graph in plain * 8]
    waiting = [engine.start(with_approval, bucket=0) for _ in range(8)]
    engine.run({"b": {"b": 1}})
    for run_id in waiting:
        engine.approve(run_id)
    engine.run()
    for _ in range(20):
        engine.worker.beat(0)
    return runs + waiting


@pytest.mark.parametrize("before", ["never analysed", "analysed when empty", "after 50,000 runs"])
def test_no_call_of_a_worker_scans_a_hot_table(engine: Engine, before: str) -> None:
    plain = engine.graph(chain("a b c d e f"))
    with_approval = engine.graph(definition(["a", {"id": "ok", "type": "approval"}, "b"], ["a>ok", "ok>b"]))
    graphs = [
        plain,
        engine.graph(definition("a b c d", ["a>b", "a>c", "b>d", "c>d"])),
        engine.graph(definition("a b c", [("a>b", {"condition": "$nodes.a.visits < 3"}), "a>c", "b>a"])),
    ]
    if before == "analysed when empty":
        engine.connection.execute("vacuum analyze")
    elif before == "after 50,000 runs":
        finished_runs(engine, plain, 50_000)
        engine.connection.execute("vacuum analyze")
    scanned_before, fetched_before = rows_read(engine.connection)
    runs = work(engine, graphs, with_approval)
    scanned, fetched = rows_read(engine.connection)
    assert fetched - fetched_before > 500, "the counters do not count"
    assert scanned - scanned_before == 0
    assert {engine.status(r) for r in runs} == {"completed"}


def entries_read(connection: psycopg.Connection[DictRow], index: str) -> int:
    connection.execute("select pg_stat_force_next_flush()")
    connection.execute("select pg_stat_clear_snapshot()")
    query = "select idx_tup_read from pg_stat_user_indexes where schemaname = 'pgorch' and indexrelname = %s"
    row = connection.execute(query, [index]).fetchone()
    assert row is not None
    return int(row["idx_tup_read"])


@pytest.mark.parametrize("fast", [True, False])
def test_a_result_is_found_by_its_step_and_not_among_all_that_its_worker_leases(
    engine: Engine, fast: bool
) -> None:
    graph = engine.graph(chain("a b c"))
    if not fast:
        engine.without_fast_path()
    engine.value("select pgorch.start_many(%s, array_fill('{}'::jsonb, array[300]), p_bucket => 0)", graph)
    steps = engine.worker.claim(300)
    before = entries_read(engine.connection, "steps_leased")
    for step in steps[:20]:
        [_] = engine.worker.succeed(step, {}, want=1)
    assert entries_read(engine.connection, "steps_leased") - before == 0


def test_under_a_pinned_vacuum_horizon_a_claim_does_not_read_what_was_claimed_before(
    engine: Engine, fresh_database: str
) -> None:
    graph = engine.graph(definition("a"))
    engine.worker.enlist()
    with psycopg.connect(fresh_database) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select from pgorch.settings")
        read: list[int] = []
        cursor = None
        for _ in range(12):
            engine.value(
                "select pgorch.start_many(%s, array_fill('{}'::jsonb, array[200]), p_bucket => 0)", graph
            )
            before = entries_read(engine.connection, "steps_claimable")
            rows = engine.rows(
                "select * from pgorch.advance(0, %s, '{}', '{}', '{}', '{}', 200, p_cursor => %s)",
                engine.worker.id,
                cursor if len(read) % 4 else None,
            )
            cursor = next((r["message"] for r in rows if r["kind"] == "looked"), cursor)
            assert sum(r["kind"] == "step" for r in rows) == 200
            read.append(entries_read(engine.connection, "steps_claimable") - before)
            # Further than any margin of the cursor, once in a while.
            engine.jump("4 seconds" if len(read) % 4 == 0 else "0.2 seconds")
    full = [count for at, count in enumerate(read) if at % 4 == 0]
    behind_the_cursor = [count for at, count in enumerate(read) if at % 4]
    assert full[-1] > 1600, "nothing was left in the index: the horizon was not pinned"
    assert max(behind_the_cursor) < 900


def indexes_read(connection: psycopg.Connection[DictRow]) -> dict[str, int]:
    indexes = ("steps_pkey", "steps_leased", "steps_claimable", "steps_of_run", "steps_suspect")
    return {index: entries_read(connection, index) for index in indexes}


def test_under_a_pinned_vacuum_horizon_heartbeats_and_looks_read_nothing_of_what_is_over(
    engine: Engine, fresh_database: str
) -> None:
    graph = engine.graph(definition("a"))
    engine.worker.enlist()
    gone = engine.new_worker(name="gone")
    with psycopg.connect(fresh_database) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select from pgorch.settings")
        for worker in (engine.worker, gone):
            for _ in range(4):
                engine.value(
                    "select pgorch.start_many(%s, array_fill('{}'::jsonb, array[500]), p_bucket => 0)", graph
                )
                steps = worker.claim(500)
                assert len(steps) == 500
                worker.advance([(step, "success", {}) for step in steps])
        gone.leave()
        # Now the table is said to be empty, and its indexes to be large.
        engine.connection.execute("vacuum pgorch.steps")
        cursor = "select array[n, n, n + interval '1 minute', 'infinity', n]::text from pgorch.clock_now() n"
        look = (
            "select * from pgorch.advance(0, %s, '{}', '{}', '{}', '{}', 5, p_asleep => true, p_cursor => %s)"
        )
        engine.jump("3 seconds")
        engine.worker.beat(0)
        engine.value(
            "update pgorch._worker_leases set lanes_due_at = pgorch.clock_now() + '30 s' returning 1"
        )
        engine.jump("6 seconds")
        before = indexes_read(engine.connection)
        for _ in range(5):
            engine.worker.beat(0)
            engine.rows(look, engine.worker.id, engine.value(cursor))
            engine.jump("1 second")
        after = indexes_read(engine.connection)
    read = {index: after[index] - before[index] for index in after}
    # Of the one that left its steps are looked for, ever more seldom.
    assert read.pop("steps_leased") <= 3 * 2000
    assert sum(read.values()) < 50, read
