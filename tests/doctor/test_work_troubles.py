"""Troubles of the schema and of the work: each is made, named, mended as the doctor says, and gone."""

import psycopg
import pytest
from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from pgorch.database.sql_files import sql_files
from pgorch.doctor import Limits
from pgorch.doctor.finding import Ask
from pgorch.doctor.schema import made_indexes, schema
from tests.doctor.conftest import Examine, bad, mend, serve, sound
from tests.support.engine import Engine, chain, definition


def test_the_indexes_read_from_the_migrations_are_those_that_they_make(
    connection: Connection[DictRow],
) -> None:
    made = made_indexes(sql_files().migrations)
    rows = connection.execute(
        "select c.relname as name from pg_index i join pg_class c on c.oid = i.indexrelid"
        " join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'pgorch'"
    ).fetchall()
    books = {"migrations_pkey", "migrations_name_key", "function_files_pkey"}
    assert set(made) == {row["name"] for row in rows if not row["name"].startswith("_history_")} - books


@pytest.mark.parametrize("name", ["runs_unfinished", "steps_claimable", "signals_by_key"])
def test_a_missing_index_is_named_with_the_statement_that_makes_it(
    look: Examine, connection: Connection[DictRow], name: str
) -> None:
    query = "select pg_get_indexdef(to_regclass(%s)::oid) as made"
    before = connection.execute(query, [f"pgorch.{name}"]).fetchone()
    assert sound(look("indexes"))
    connection.execute(f"drop index pgorch.{name}".encode())
    mend(connection, bad(look("indexes"), name, "missing"))
    assert sound(look("indexes"))
    assert connection.execute(query, [f"pgorch.{name}"]).fetchone() == before


def test_a_missing_primary_key_is_named(look: Examine, connection: Connection[DictRow]) -> None:
    connection.execute("alter table pgorch.timers drop constraint timers_pkey")
    mend(connection, bad(look("indexes"), "timers_pkey"))
    assert sound(look("indexes"))


def test_an_invalid_index_is_named(look: Examine, connection: Connection[DictRow]) -> None:
    # What is left when building one concurrently fails.
    connection.execute(
        "update pg_index set indisvalid = false where indexrelid = 'pgorch.runs_children'::regclass"
    )
    mend(connection, bad(look("indexes"), "runs_children is invalid"))
    assert sound(look("indexes"))


def test_a_schema_of_another_version_is_named(
    look: Examine, connection: Connection[DictRow], database: str
) -> None:
    connection.execute("insert into pgorch.migrations values (9999, '9999_future', '')")
    assert "newer" in bad(look("schema")).found
    connection.execute("delete from pgorch.migrations where number = 9999")
    with psycopg.connect(database) as other:
        other.execute("update pgorch.function_files set digest = 'another', version = '0.0.1'")
        found = schema(Ask(other, Limits()))
        other.rollback()
    assert "older" in found.found
    assert found.next == "Run: pgorch migrate"
    assert sound(look("schema"))


def test_missing_partitions_of_the_history_are_named(look: Examine, connection: Connection[DictRow]) -> None:
    assert sound(look("history"))
    row = connection.execute(
        "select '_history_' || to_char(now() at time zone 'UTC', 'IYYY\"w\"IW') as name"
    ).fetchone()
    assert row
    connection.execute(f"drop table pgorch.{row['name']}".encode())
    mend(connection, bad(look("history"), row["name"], "missing"))
    assert sound(look("history"))


def test_rows_outside_of_all_partitions_are_named(look: Examine, connection: Connection[DictRow]) -> None:
    connection.execute(
        "insert into pgorch._history_rest (bucket, run_id, seq, kind, at)"
        " values (0, '00000000-0000-7000-8000-000000000000', 1, 'run_paused', now())"
    )
    mend(connection, bad(look("history"), "_history_rest"))
    assert sound(look("history"))


def test_dead_rows_that_vacuum_does_not_remove_are_named(
    look: Examine, connection: Connection[DictRow]
) -> None:
    assert sound(look("dead rows"))
    connection.execute("alter table pgorch.hooks set (autovacuum_enabled = off)")
    connection.execute(
        "insert into pgorch.hooks select gen_random_uuid(), n::text, '', '{}', null, false, now(), ''"
        " from generate_series(1, 200) n"
    )
    connection.execute("delete from pgorch.hooks")
    connection.execute("select pg_stat_force_next_flush()")
    mend(connection, bad(look("dead rows", dead_rows=100), "hooks has 200 dead rows"))
    connection.execute("select pg_stat_force_next_flush()")
    assert sound(look("dead rows", dead_rows=100))
    connection.execute("alter table pgorch.hooks reset (autovacuum_enabled)")


def test_a_clock_that_was_set_back_is_named(look: Examine, engine: Engine) -> None:
    engine.worker.enlist()
    engine.connection.execute("select pgorch.set_clock('1 hour')")
    engine.start(chain("a"))
    mend(engine.connection, bad(look("clock"), "set_clock() is for tests"))
    finding = bad(look("clock"), "the newest run was started 60 min in the future")
    assert "set back" in finding.found
    engine.connection.execute("delete from pgorch.runs")
    assert sound(look("clock"))


def test_that_no_worker_is_alive_and_which_is_silent_is_named(look: Examine, engine: Engine) -> None:
    bad(look("workers"), "none is alive")
    engine.worker.enlist()
    assert sound(look("workers"))
    engine.connection.execute("update pgorch._worker_leases set expires_at = now() - interval '1 minute'")
    findings = look("workers")
    bad(findings, "none is alive")
    bad(findings, "1 silent", "whose lease ended 60 s ago")


def test_a_tool_that_nobody_offers_is_named_with_its_queue(look: Examine, engine: Engine) -> None:
    serve(engine, "a")
    assert sound(look("tools"))
    engine.start(definition([{"id": "a", "function": "a", "queue": "gpu"}], []))
    finding = bad(look("tools"), "a on the queue gpu")
    assert finding.level == "problem"
    assert "--queue gpu" in finding.next
    serve(engine, "a", queue="gpu")
    assert sound(look("tools"))


def test_steps_that_are_leased_to_a_worker_that_is_gone_are_named(look: Examine, engine: Engine) -> None:
    worker = serve(engine, "a")
    engine.start(chain("a"))
    assert worker.claim(1)
    assert sound(look("leases"))
    engine.connection.execute("update pgorch._worker_leases set expires_at = now() - interval '1 minute'")
    bad(look("leases"), "1 steps are still leased")
    serve(engine, "a").beat_everywhere()
    assert sound(look("leases"))


def test_a_step_that_is_due_and_untouched_is_named(look: Examine, engine: Engine) -> None:
    serve(engine, "a")
    run_id = engine.start(chain("a"))
    assert sound(look("stuck runs"))
    engine.connection.execute("update pgorch.steps set ready_at = now() - interval '5 minutes'")
    bad(look("stuck runs"), str(run_id), "for the tool a since 5 min")
    serve(engine, "a").claim(1)
    engine.connection.execute("update pgorch.steps set ready_at = now()")
    assert sound(look("stuck runs"))


def test_an_old_step_is_named_also_behind_more_urgent_ones(look: Examine, engine: Engine) -> None:
    serve(engine, "a")
    graph = engine.graph(chain("a"))
    engine.start(graph, priority=5)
    old = engine.start(graph)
    # One that waits for its next attempt.
    later = engine.start(graph, priority=9)
    engine.start(graph, priority=-3)
    assert sound(look("stuck runs"))
    change = "update pgorch.steps set ready_at = now() + %s::interval where run_id = %s"
    engine.connection.execute(change, ["5 minutes", later])
    engine.connection.execute(change, ["-3 hours", old])
    bad(look("stuck runs"), str(old), "for the tool a since 3 h")


def test_a_step_that_is_held_although_its_run_is_not_paused_is_named(look: Examine, engine: Engine) -> None:
    serve(engine, "a")
    run_id = engine.start(chain("a"))
    engine.value("select pgorch.pause(%s)", engine.start(chain("a")))
    assert sound(look("stuck runs"))
    engine.connection.execute(
        "update pgorch.steps set held = 'paused', lane_queue = null, lane_tool = null where run_id = %s",
        [run_id],
    )
    finding = bad(look("stuck runs"), str(run_id), "is not paused")
    assert finding.next == f"pgorch runs pause {run_id}; pgorch runs resume {run_id}"
    engine.value("select pgorch.pause(%s)", run_id)
    engine.value("select pgorch.resume(%s)", run_id)
    assert sound(look("stuck runs"))


def test_a_run_without_any_live_step_is_named(look: Examine, engine: Engine) -> None:
    serve(engine, "a")
    run_id = engine.start(chain("a"))
    engine.connection.execute("delete from pgorch.steps")
    bad(look("stuck runs"), str(run_id), "no step of it is live")
    engine.connection.execute("delete from pgorch.runs")
    assert sound(look("stuck runs"))


def test_a_timer_that_nobody_fires_is_named(look: Examine, engine: Engine) -> None:
    run_id = engine.start(definition([{"id": "pause", "type": "wait", "for": "1 hour"}], []))
    assert sound(look("timers"))
    engine.connection.execute("update pgorch.timers set due_at = now() - interval '10 minutes'")
    bad(look("timers"), str(run_id), "10 min late")
    engine.connection.execute("select pgorch.tick(b) from generate_series(0, pgorch.bucket_count() - 1) b")
    assert sound(look("timers"))


def test_dead_deliveries_and_paused_hooks_are_named(look: Examine, connection: Connection[DictRow]) -> None:
    assert sound(look("hooks"))
    connection.execute(
        "select pgorch.create_hook(p_name => 'shop', p_url => 'https://example.com/',"
        " p_kinds => '{run_completed}', p_secret => pgorch.new_hook_secret())"
    )
    connection.execute("select pgorch.test_hook('shop')")
    connection.execute("update pgorch.hook_deliveries set status = 'dead', next_at = null, ended_at = now()")
    bad(look("hooks"), "1 deliveries to shop are dead")
    connection.execute("delete from pgorch.hook_deliveries")
    connection.execute("select pgorch.pause_hook('shop')")
    finding = bad(look("hooks"), "shop is paused")
    assert finding.next == "pgorch hooks resume shop"
    connection.execute("select pgorch.resume_hook('shop')")
    assert sound(look("hooks"))


def test_a_finding_is_json_for_those_who_write_it(look: Examine) -> None:
    finding = look("retention")[0]
    assert Jsonb(vars(finding)).obj["check"] == "retention"
    assert "30 days" in finding.found
