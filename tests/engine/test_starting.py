"""Starting runs."""

import concurrent.futures
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.support.engine import Engine, chain, definition
from tests.support.races import open_connection


def test_a_run_and_its_first_step_exist_when_start_returns(engine: Engine) -> None:
    run_id = engine.start(chain("a b"), {"x": 1})
    assert engine.status(run_id) == "running"
    assert [s["node"] for s in engine.live(run_id)] == ["a"]
    assert engine.state(run_id) == {"x": 1}


def test_a_graph_may_be_named_by_id_name_or_version(engine: Engine) -> None:
    graph = definition("a")
    first = engine.graph(graph)
    second = engine.graph(graph | {"nodes": [{"id": "a", "function": "other"}]})
    name = graph["name"]
    for given, expected in ((first, first), (name, second), (f"{name}@1", first), (f"{name}@2", second)):
        run_id = engine.start(given)
        assert str(engine.value("select graph_id from pgorch.runs where id = %s", run_id)) == expected


@pytest.mark.parametrize(
    "name", ["no_such_graph", "no_such_graph@1", "", "01926f3a-0000-7000-8000-000000000000"]
)
def test_an_unknown_graph_is_not_found(engine: Engine, name: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        engine.start(name)
    assert caught.value.sqlstate == "OR003"


def test_a_run_that_was_started_in_a_transaction_that_rolls_back_never_existed(engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    with engine.connection.transaction(force_rollback=True):
        run_id = engine.start(graph)
    assert engine.rows("select * from pgorch.runs where id = %s", run_id) == []
    assert engine.worker.claim(9) == []


def test_the_initiator_is_the_user_of_the_session_or_whom_the_owner_names(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    own, for_ann = engine.start(graph), engine.start(graph, actor="ann")
    query = "select initiator from pgorch.runs where id = %s"
    assert engine.value(query, own) == engine.value("select session_user::text")
    assert engine.value(query, for_ann) == "ann"


def test_the_same_key_gives_the_same_run(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    first = engine.start(graph, {"x": 1, "y": 2}, idempotency_key="order 7")
    assert engine.start(graph, {"y": 2, "x": 1}, idempotency_key="order 7") == first
    engine.run()
    assert engine.start(graph, {"x": 1, "y": 2}, idempotency_key="order 7") == first
    assert engine.value("select count(*) from pgorch.runs") == 1


def test_another_key_gives_another_run(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    assert engine.start(graph, idempotency_key="one") != engine.start(graph, idempotency_key="two")


def test_the_same_key_for_another_input_or_graph_is_a_conflict(engine: Engine) -> None:
    graph, other = engine.graph(definition("a")), engine.graph(definition("b"))
    run_id = engine.start(graph, {"x": 1}, idempotency_key="k")
    for name, input in ((graph, {"x": 2}), (other, {"x": 1})):
        with pytest.raises(psycopg.Error, match=str(run_id)) as caught:
            engine.start(name, input, idempotency_key="k")
        assert caught.value.sqlstate == "OR005"


def test_a_key_whose_start_was_rolled_back_is_free(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    with engine.connection.transaction(force_rollback=True):
        first = engine.start(graph, idempotency_key="k")
    assert engine.start(graph, idempotency_key="k") != first


def test_ten_starts_at_once_with_one_key_make_one_run(engine: Engine, database: str) -> None:
    graph = engine.graph(definition("a"))

    def start(_: int) -> UUID:
        with open_connection(database) as connection:
            return Engine(connection).start(graph, {"x": 1}, idempotency_key="k")

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        ids = set(pool.map(start, range(10)))
    assert len(ids) == 1
    assert engine.value("select count(*) from pgorch.runs") == 1


def test_a_key_lives_in_one_bucket(engine: Engine) -> None:
    graph = engine.graph(chain("a"))
    bucket = engine.value("select pgorch._key_bucket('k')")
    run_id = engine.start(graph, idempotency_key="k", bucket=bucket)
    assert engine.start(graph, idempotency_key="k") == run_id
    with pytest.raises(psycopg.Error, match=f"lives in bucket {bucket}, where the key does") as raised:
        engine.start(graph, idempotency_key="k", bucket=bucket + 1)
    assert raised.value.sqlstate == "OR006"
    assert engine.value("select count(*) from pgorch.runs") == 1


def test_a_key_that_retention_lets_go_of_just_now_starts_a_run(engine: Engine) -> None:
    graph = engine.graph(chain("a"))
    with engine.connection.transaction(force_rollback=True):
        # The first look finds the key in the way, and the second one finds it gone.
        engine.connection.execute("create sequence public.looks")
        engine.connection.execute(
            "create function public.in_the_way() returns trigger language plpgsql as"
            " $$ begin if nextval('public.looks') = 1 then return null; end if; return new; end $$"
        )
        engine.connection.execute(
            "create trigger in_the_way before insert on pgorch._idempotency_keys"
            " for each row execute function public.in_the_way()"
        )
        run_id = engine.start(graph, idempotency_key="k")
        assert engine.start(graph, idempotency_key="k") == run_id
        assert engine.value("select count(*) from pgorch.runs") == 1


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_has_1_to_200_characters(engine: Engine, key: str) -> None:
    graph = engine.graph(definition("a"))
    with pytest.raises(psycopg.Error, match="characters") as caught:
        engine.start(graph, idempotency_key=key)
    assert caught.value.sqlstate == "OR006"


@pytest.mark.parametrize("input", [[], "text", 1, True])
def test_the_input_is_an_object(engine: Engine, input: Any) -> None:
    graph = engine.graph(definition("a"))
    with pytest.raises(psycopg.Error, match="object") as caught:
        engine.start(graph, input)
    assert caught.value.sqlstate == "OR006"


@pytest.mark.parametrize("input", ["null", None])
def test_no_input_at_all_is_refused(engine: Engine, input: Any) -> None:
    graph = engine.graph(definition("a"))
    with pytest.raises(psycopg.Error, match="object") as caught:
        engine.value("select pgorch.start(%s, %s::jsonb)", graph, input)
    assert caught.value.sqlstate == "OR006"


def nested(depth: int) -> str:
    return '{"a": ' * depth + "1" + "}" * depth


@pytest.mark.parametrize("text", [nested(70), '{"n": 1e400}', '{"n": 9007199254740993}', '{"s": "\\u0000"}'])
def test_values_that_clients_cannot_read_are_refused(engine: Engine, text: str) -> None:
    graph = engine.graph(definition("a"))
    with pytest.raises(psycopg.Error) as caught:
        engine.value("select pgorch.start(%s, %s::jsonb)", graph, text)
    assert caught.value.sqlstate in ("OR006", "22P05")


@pytest.mark.parametrize(
    "text", [nested(60), '{"n": 9007199254740992}', '{"n": 1.7976931348623157e308}', '{"n": 0.1}']
)
def test_values_at_the_limits_are_taken(engine: Engine, text: str) -> None:
    graph = engine.graph(definition("a"))
    assert engine.value("select pgorch.start(%s, %s::jsonb) is not null", graph, text)


def test_an_input_that_is_too_large_is_refused(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    with pytest.raises(psycopg.Error, match="limit") as caught:
        engine.start(graph, {"x": "y" * 4_200_000})
    assert caught.value.sqlstate == "OR006"


@pytest.mark.parametrize(
    "options", [{"priority": 1001}, {"priority": None}, {"queue": ""}, {"queue": "!x"}, {"bucket": 256}]
)
def test_options_outside_their_range_are_refused(engine: Engine, options: dict[str, Any]) -> None:
    graph = engine.graph(definition("a"))
    with pytest.raises(psycopg.Error) as caught:
        engine.start(graph, **options)
    assert caught.value.sqlstate == "OR006"


def test_many_runs_are_started_in_the_order_of_their_inputs(engine: Engine) -> None:
    graph = engine.graph(chain("a b"))
    inputs = [Jsonb({"n": n}) for n in range(50)]
    ids = engine.value("select pgorch.start_many(%s, %s)", graph, inputs)
    assert [engine.state(i)["n"] for i in ids] == list(range(50))
    engine.run(batch=50)
    assert {engine.status(i) for i in ids} == {"completed"}


def test_many_runs_begin_at_nodes_that_need_routing_too(engine: Engine) -> None:
    nodes = [{"id": "p", "type": "pass"}, "a", "b"]
    graph = engine.graph(definition(nodes, [("p>a", {"condition": "$.n == 1"}), "p>b"]))
    ids = engine.value("select pgorch.start_many(%s, %s)", graph, [Jsonb({"n": n}) for n in range(3)])
    engine.run()
    assert [engine.order(i) for i in ids] == ["p b", "p a", "p b"]


def test_starting_none_starts_none(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    assert engine.value("select pgorch.start_many(%s, '{}')", graph) == []


def test_one_bad_input_of_many_starts_none(engine: Engine) -> None:
    graph = engine.graph(definition("a"))
    with pytest.raises(psycopg.Error) as caught:
        engine.value("select pgorch.start_many(%s, %s)", graph, [Jsonb({}), Jsonb([])])
    assert caught.value.sqlstate == "OR006"
    assert engine.value("select count(*) from pgorch.runs") == 0


def test_the_bucket_is_in_the_id_of_the_run(engine: Engine) -> None:
    run_id = engine.start(definition("a"), bucket=7)
    assert run_id.bytes[15] == 7
    assert engine.value("select bucket from pgorch.runs where id = %s", run_id) == 7
    assert run_id.version == 7


@pytest.mark.parametrize("more", [{"labels": Jsonb({"a": "2"})}, {"priority": 9}, {"queue": "other"}])
def test_a_key_belongs_to_its_whole_request(engine: Engine, more: dict[str, Any]) -> None:
    name = engine.graph(chain("a"))
    first = engine.start(name, idempotency_key="k", labels=Jsonb({"a": "1"}))
    assert engine.start(name, idempotency_key="k", labels=Jsonb({"a": "1"})) == first
    with pytest.raises(psycopg.Error, match="labels, priority or queue") as refused:
        engine.start(name, idempotency_key="k", **({"labels": Jsonb({"a": "1"})} | more))
    assert refused.value.diag.sqlstate == "OR005"
