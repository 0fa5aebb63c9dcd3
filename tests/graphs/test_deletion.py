"""delete_graph: a version that nothing depends on goes, and no other."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.graphs.graphs import Graphs, tasks
from tests.support.engine import definition
from tests.support.races import Rival, open_connection


def refused(graphs: Graphs, graph: str) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as raised, graphs.connection.transaction():
        graphs.value("select pgorch.delete_graph(%s)", graph)
    return raised.value


def test_a_version_without_runs_is_deleted_with_all_that_belongs_to_it(graphs: Graphs) -> None:
    graphs.create(tasks("a b", ["a>b"], name="g"))
    graph_id = graphs.create(tasks("a", name="g"))["graph_id"]
    (deleted,) = graphs.rows("select * from pgorch.delete_graph('g')")
    assert deleted == {"graph_id": graph_id, "name": "g", "version": 2, "watched": []}
    assert graphs.value("select array_agg(version) from pgorch.graphs") == [1]
    assert graphs.value("select count(*) from pgorch.nodes where graph_id = %s", graph_id) == 0
    noted = graphs.rows("select actor, action, before ->> 'id' as graph_id from pgorch.audit")
    user = graphs.value("select session_user")
    assert noted == [{"actor": user, "action": "delete_graph", "graph_id": str(graph_id)}]


def test_a_version_with_runs_stays_also_after_they_have_ended(graphs: Graphs) -> None:
    graphs.create(tasks("a", name="g"))
    run_id = graphs.value("select pgorch.start('g')")
    problem = refused(graphs, "g")
    assert (problem.sqlstate, problem.diag.message_primary) == ("OR002", "g@1 has runs")
    graphs.value("select pgorch.cancel(%s)", run_id)
    assert refused(graphs, "g").sqlstate == "OR002"


def test_runs_in_any_bucket_count(graphs: Graphs) -> None:
    graphs.create(tasks("a", name="g"))
    graphs.value("select pgorch.start('g', p_bucket => 255)")
    assert refused(graphs, "g").sqlstate == "OR002"


def test_a_child_stays_as_long_as_a_parent_names_it(graphs: Graphs) -> None:
    graphs.create(tasks("a", name="child"))
    graphs.create(definition([{"id": "c", "type": "graph", "graph": "child"}], name="parent"))
    problem = refused(graphs, "child")
    assert problem.sqlstate == "OR002"
    assert problem.diag.message_primary == "child@1 is run by the graph parent@1"
    graphs.value("select pgorch.delete_graph('parent')")
    graphs.value("select pgorch.delete_graph('child')")
    assert graphs.value("select count(*) from pgorch.graphs") == 0


def test_what_is_not_there_cannot_be_deleted(graphs: Graphs) -> None:
    graphs.create(tasks("a", name="g"))
    assert refused(graphs, "gg@3").sqlstate == "OR003"
    assert refused(graphs, "g@3").sqlstate == "OR003"


def test_a_run_that_is_being_started_is_waited_for(database: str) -> None:
    """Else it would be committed without its graph."""
    with open_connection(database) as starter:
        graphs = Graphs(starter)
        graphs.register("f")
        graphs.create(tasks("a", name="g"))
        with starter.transaction():
            graphs.value("select pgorch.start('g')")
            rival = Rival(database, "select * from pgorch.delete_graph('g')")
            rival.wait_until_blocked()
        with pytest.raises(psycopg.Error, match="g@1 has runs"):
            rival.rows()


def test_a_start_during_the_deletion_finds_no_graph(database: str) -> None:
    with open_connection(database) as deleter:
        graphs = Graphs(deleter)
        graphs.register("f")
        graphs.create(tasks("a", name="g"))
        with deleter.transaction():
            graphs.value("select pgorch.delete_graph('g')")
            start = Rival(database, "select pgorch.start('g')")
            start.wait_until_blocked()
            parent = definition([{"id": "c", "type": "graph", "graph": "g"}], name="parent")
            create = Rival(database, "select * from pgorch.create_graph(%s)", Jsonb(parent))
            create.wait_until_blocked()
        for rival in (start, create):
            with pytest.raises(psycopg.Error) as raised:
                rival.rows()
            assert raised.value.sqlstate in ("OR003", "OR004", "P0002")
        assert graphs.value("select count(*) from pgorch.runs") == 0


def test_a_long_transaction_is_not_waited_for(database: str) -> None:
    with open_connection(database) as reader, open_connection(database) as deleter:
        graphs = Graphs(deleter)
        graphs.register("f")
        graphs.create(tasks("a", name="g"))
        with reader.transaction():
            reader.execute("select pgorch.find_graph('g')")
            problem = refused(graphs, "g")
        assert problem.sqlstate == "OR002"
        assert "open for 5 seconds" in str(problem)
        graphs.value("select pgorch.delete_graph('g')")


def test_others_are_not_kept_waiting_for_a_long_transaction(database: str) -> None:
    with open_connection(database) as reader, open_connection(database) as starter:
        graphs = Graphs(starter)
        graphs.register("f")
        graphs.create(tasks("a", name="g"))
        graphs.create(tasks("a", name="other"))
        with reader.transaction():
            reader.execute("select pgorch.find_graph('g')")
            deletion = Rival(database, "select * from pgorch.delete_graph('g')")
            deletion.wait_until_blocked()
            starter.execute("set statement_timeout = '2s'")
            for _ in range(20):
                graphs.value("select pgorch.start('other')")
                time.sleep(0.05)
        (deleted,) = deletion.rows()
        assert deleted["name"] == "g"


@contextmanager
def looking_at_all_runs(database: str) -> Iterator[Rival]:
    """A deletion of g@1 that is at its first look at all runs."""
    with open_connection(database) as holder:
        holder.execute("alter function pgorch._has_runs(integer, uuid) rename to has_runs_really")
        holder.execute(
            "create function pgorch._has_runs(p_bucket integer, p_graph_id uuid) returns boolean"
            " language plpgsql as $$ begin perform pg_advisory_xact_lock_shared(6);"
            " return pgorch.has_runs_really(p_bucket, p_graph_id); end $$"
        )
        holder.execute("select pg_advisory_lock(6)")
        deletion = Rival(database, "select * from pgorch.delete_graph('g@1')")
        deletion.wait_until_blocked()
        # Only now is it asked for: what comes in between is what this look cannot see.
        holder.execute(
            "create or replace function pgorch.has_runs_really(p_bucket integer, p_graph_id uuid)"
            " returns boolean language plpgsql as $$ begin return false; end $$"
        )
        yield deletion
        holder.execute("select pg_advisory_unlock(6)")


@pytest.mark.parametrize("ends", [False, True])
def test_a_run_that_is_started_while_all_runs_are_looked_at_counts(database: str, ends: bool) -> None:
    with open_connection(database) as starter:
        graphs = Graphs(starter)
        graphs.register("f")
        graphs.create(tasks("a", name="g"))
        with looking_at_all_runs(database) as deletion:
            starter.execute("set statement_timeout = '5s'")
            run_id = graphs.value("select pgorch.start('g')")
            if ends:
                graphs.value("select pgorch.cancel(%s)", run_id)
        with pytest.raises(psycopg.Error, match="g@1 has runs"):
            deletion.rows()
        assert graphs.value("select count(*) from pgorch.graphs") == 1


def test_no_run_is_moved_to_a_version_while_it_is_deleted(database: str) -> None:
    with open_connection(database) as mover:
        graphs = Graphs(mover)
        graphs.register("f")
        graphs.create(tasks("a b", ["a>b"], name="g"))
        graphs.create(tasks("a", name="g"))
        run_id = graphs.value("select pgorch.start('g@2')")
        with looking_at_all_runs(database) as deletion:
            with pytest.raises(psycopg.Error, match="somebody deletes g@1 just now") as raised:
                graphs.value("select pgorch.move(%s, 'g@1')", run_id)
            assert raised.value.sqlstate == "OR002"
        assert deletion.rows()[0]["version"] == 1
        graphs.create(tasks("a b", ["a>b"], name="g"))
        with mover.transaction():
            graphs.value("select pgorch.move(%s, 'g')", run_id)
            with open_connection(database) as other:
                assert refused(Graphs(other), "g").sqlstate == "OR002"


def test_a_table_in_use_keeps_nobody_from_the_graphs_for_long(database: str) -> None:
    with open_connection(database) as writer, open_connection(database) as deleter:
        graphs = Graphs(deleter)
        deleter.execute("create table orders (id integer primary key, status text)")
        wait = {"table": "public.orders", "key": 7, "condition": '$.status == "paid"'}
        graphs.create(definition([{"id": "w", "type": "wait", "row": wait}], name="g"))
        with writer.transaction():
            writer.execute("insert into orders values (1)")
            before = time.monotonic()
            (deleted,) = graphs.rows("select * from pgorch.delete_graph('g')")
            assert time.monotonic() - before < 3
        assert deleted["watched"] == ["public.orders"]


def test_a_version_that_a_schedule_starts_stays(graphs: Graphs) -> None:
    graphs.create(tasks("a", name="g"))
    second = graphs.create(tasks("a b", ["a>b"], name="g"))["graph_id"]
    for started in ("g", "g@2", str(second)):
        graphs.value("select pgorch.create_schedule('nightly', %s, '0 2 * * *')", started)
        problem = refused(graphs, "g@2")
        assert problem.sqlstate == "OR002"
        assert problem.diag.message_primary == "g@2 is started by the schedule nightly"
    graphs.value("select pgorch.delete_graph('g@1')")
    graphs.value("select pgorch.delete_schedule('nightly')")
    graphs.value("select pgorch.delete_graph('g@2')")
    graphs.connection.execute("delete from pgorch.schedules")
