"""What the clients do with runs that are there."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from pgorch.client import AsyncClient, BulkRun, Client, DeletedGraph
from pgorch.errors import IdempotencyConflict, InvalidValue, NotFound, WrongState
from tests.support.engine import Engine, Fails, Step, definition

Connection = psycopg.Connection[dict[str, Any]]
ASK = {"id": "ask", "type": "approval"}
WAIT = {"id": "wait", "type": "wait", "signal": "paid"}


def breaks(step: Step) -> None:
    raise Fails("Broken", "it broke")


@pytest.fixture
def engine(connection: Connection) -> Engine:
    engine = Engine(connection)
    into = {"id": "a", "function": "a", "into": "given"}
    engine.graph(definition([into, ASK], ["a>ask"], name="working"))
    engine.graph(definition([WAIT, ASK], ["wait>ask"], name="waiting"))
    return engine


def test_a_run_is_steered(client: Client, engine: Engine) -> None:
    run_id = client.start("working")
    assert client.pause(run_id, actor="postgres") == "paused"
    assert client.resume(str(run_id)) == "running"
    engine.run({"a": breaks})
    assert client.retry(run_id, "a", input={"x": 1}) == "running"
    engine.run({"a": lambda step: step.argument})
    assert client.get_run(run_id).state == {"given": {"x": 1}}
    fork_id = client.fork(run_id, seq=0, state={"n": 1}, labels={"why": "test"})
    engine.run({"a": breaks})
    assert client.skip(fork_id, output=None) == "awaiting_approval"
    assert client.get_run(fork_id).state == {"n": 1, "given": None}
    other = client.fork(fork_id, node="a")
    engine.run({"a": breaks})
    assert client.skip(other) == "awaiting_approval"
    assert client.get_run(other).state == {"n": 1, "given": {}}
    assert client.cancel(run_id, compensate=True, reason="enough") == "cancelled"
    for verb in (client.pause, client.resume, client.retry, client.skip):
        with pytest.raises(WrongState, match="cancelled"):
            verb(run_id)
    with pytest.raises(InvalidValue):
        client.fork(run_id)
    with pytest.raises(InvalidValue):
        client.skip(other, output={"x": float("nan")})


def test_a_signal_counts_once_for_its_key(client: Client, engine: Engine) -> None:
    run_id = client.start("waiting")
    first = client.signal(run_id, "paid", {"amount": 5}, idempotency_key="k")
    assert client.signal(str(run_id), "paid", {"amount": 5}, idempotency_key="k") == first
    assert client.get_run(run_id).state == {"amount": 5}
    with pytest.raises(IdempotencyConflict):
        client.signal(run_id, "paid", idempotency_key="k")
    client.signal(run_id, "more", None)
    payloads = engine.rows("select payload from pgorch.signals where name = 'more'")
    assert payloads == [{"payload": None}]


def test_a_run_moves_to_another_version(client: Client, engine: Engine) -> None:
    run_id = client.start("waiting")
    second = client.create_graph(definition([WAIT, ASK], ["wait>ask"], name="waiting", timeout="1 day"))
    third = client.create_graph(definition([ASK], name="waiting"))
    assert client.check_move(run_id, second.graph_id) == []
    assert client.check_move(run_id, "waiting") == ["it is at wait, which version 3 has not"]
    with pytest.raises(WrongState, match="version 3 has not"):
        client.move(run_id, third.graph_id)
    assert client.move(run_id, "waiting@2") == second.graph_id
    assert client.get_run(run_id).version == 2
    assert client.delete_graph("waiting") == DeletedGraph(third.graph_id, "waiting", 3, [])
    with pytest.raises(WrongState, match="has runs"):
        client.delete_graph(second.graph_id)


def test_many_runs_are_steered(client: Client) -> None:
    runs = sorted(client.start_many("asking", [{"n": n} for n in range(3)]))
    assert sorted(client.bulk("cancel", {"graph": "asking"})) == [
        BulkRun(run_id, "awaiting_approval", None) for run_id in runs
    ]
    done = client.bulk("cancel", {"state": {"n": 1}}, {"reason": "odd"}, dry_run=False, actor="postgres")
    assert [(run.status, run.problem) for run in done] == [("cancelled", None)]
    assert len(client.bulk("pause", {"graph": "asking"}, dry_run=False, limit=1)) == 1
    with pytest.raises(InvalidValue, match="grahp"):
        client.bulk("cancel", {"grahp": "asking"}, dry_run=False)
    with pytest.raises(NotFound):
        client.bulk("cancel", {"graph": "askin"}, dry_run=False)


async def test_the_async_client_does_the_same(async_client: AsyncClient, engine: Engine) -> None:
    run_id = await async_client.start("waiting")
    await async_client.pause(run_id)
    await async_client.resume(run_id)
    await async_client.signal(run_id, "paid", {"amount": 5})
    assert (await async_client.get_run(run_id)).state == {"amount": 5}
    fork_id = await async_client.fork(run_id, node="wait")
    assert await async_client.skip(fork_id, "wait") == "awaiting_approval"
    working = await async_client.start("working")
    engine.run({"a": breaks})
    assert await async_client.retry(working) == "running"
    second = await async_client.create_graph(
        definition([WAIT, ASK | {"title": "Go on?"}], ["wait>ask"], name="waiting")
    )
    assert await async_client.check_move(run_id, "waiting@2") == []
    assert await async_client.move(run_id, "waiting") == second.graph_id
    done = await async_client.bulk("cancel", {}, dry_run=False)
    assert {run.run_id for run in done} == {run_id, fork_id, working}
    created = await async_client.create_graph(definition([ASK], name="alone"))
    assert (await async_client.delete_graph("alone")).graph_id == created.graph_id


def test_in_ones_own_transaction_all_of_it_commits_or_nothing(
    client: Client, engine: Engine, connection: Connection
) -> None:
    run_id = client.start("waiting")
    joined = Client(connection=connection)
    with connection.transaction(force_rollback=True):
        joined.signal(run_id, "paid", {"amount": 5})
        joined.pause(run_id)
        fork_id = joined.fork(run_id, seq=0)
        assert {run.status for run in joined.bulk("cancel", {}, dry_run=False)} == {"cancelled"}
    assert client.get_run(run_id).status == "waiting"
    assert client.get_run(run_id).history[0]["kind"] == "wait_started"
    with pytest.raises(NotFound):
        client.get_run(fork_id)


async def test_what_operators_do_beside_runs(
    client: Client, async_client: AsyncClient, engine: Engine
) -> None:
    run_id = client.start("waiting")
    client.cancel(run_id, reason="mistake")
    [entry] = client.list_audit(run_id=run_id)
    assert (entry.action, entry.comment, entry.run_id) == ("cancel", "mistake", run_id)
    assert await async_client.list_audit(run_id=str(run_id), actor=entry.actor) == [entry]
    assert client.list_audit(before=entry.id, action="cancel") == []
    worker = engine.new_worker(name="anna")
    assert client.drain_worker("anna") == await async_client.drain_worker(str(worker.id)) == [worker.id]
    with pytest.raises(NotFound):
        client.drain_worker("bert")
    for delivery in (UUID(int=0), str(UUID(int=0))):
        with pytest.raises(NotFound):
            client.resend_delivery(delivery)
        with pytest.raises(NotFound):
            await async_client.resend_delivery(delivery)
