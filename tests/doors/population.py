"""A database that has one of everything: so that what is asked for at random is often there."""

from typing import Any

from psycopg import Connection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tests.doors.tools import registry
from tests.support.engine import Engine, Fails, Step, definition

ASK: dict[str, Any] = {
    "id": "ask",
    "type": "approval",
    "title": "Go on with ${$.value}?",
    "into": "answer",
    "form": {"type": "object", "properties": {"note": {"type": "string"}, "amount": {"type": "number"}}},
}
GRAPHS: dict[str, dict[str, Any]] = {
    "plain": definition(["begin", {"id": "echo", "function": "echo"}], ["begin>echo"]),
    "asking": definition(
        ["begin", ASK, "echo"], ["begin>ask", "ask>echo", ("ask>begin", {"on": "rejected", "limit": 2})]
    ),
    "failing": definition(["begin", "breaks"], ["begin>breaks"]),
    "choosing": definition(
        ["echo", "begin", {"id": "no", "type": "fail", "message": "${$.value}"}],
        [
            ("echo>begin", {"condition": "$.value == 1"}),
            ("echo>no", {"condition": {"value": 2}}),
            ("begin>echo", {"limit": 3}),
        ],
    ),
    "forking": definition(
        [
            "begin",
            {"id": "a", "function": "echo", "into": "a"},
            {"id": "b", "function": "echo", "into": "b"},
            "echo",
        ],
        ["begin>a", "begin>b", "a>echo", "b>echo"],
    ),
    "waiting": definition(
        ["begin", {"id": "wait", "type": "wait", "signal": "go", "deadline": "2 days"}, "echo"],
        ["begin>wait", "wait>echo"],
    ),
    "mapping": definition(
        [
            "begin",
            {
                "id": "each",
                "type": "map",
                "items": "${$.items}",
                "function": "echo",
                "input": {"value": "${$item}"},
                "into": "out",
            },
        ],
        ["begin>each"],
    ),
    "parent": definition(["begin", {"id": "child", "type": "graph", "graph": "asking"}], ["begin>child"]),
    "in_sql": definition(
        ["begin", {"id": "sql", "sql": "select $1::jsonb as said", "input": ["${$}"]}], ["begin>sql"]
    ),
    "limited": definition(
        ["begin", {"id": "echo", "function": "echo", "concurrency_key": "${$.value}", "concurrency": 2}],
        ["begin>echo"],
    ),
    "undoing": definition(
        ["begin", {"id": "echo", "function": "echo", "compensate": "begin"}, "breaks"],
        ["begin>echo", "echo>breaks"],
    ),
}
INPUTS: dict[str, list[dict[str, Any]]] = {
    "mapping": [{"items": [1, "two", None, [3], {"four": 4}]}, {"items": []}],
    "limited": [{"value": "one"}, {"value": 2}, {"value": True}],
    "choosing": [{"value": 1}, {"value": 2}, {"value": "neither"}],
}


def populate(connection: Connection[DictRow]) -> None:
    """Creates the graphs, starts runs of each and performs their steps, as far as they go by themselves."""
    engine = Engine(connection)
    engine.register(*registry.definitions())
    tools = {"breaks": _broken}
    for name, graph in GRAPHS.items():
        engine.graph({**graph, "name": name})
        for number, given in enumerate(INPUTS.get(name, [{"value": 1}, {"value": "größer"}])):
            key = f"{name}-{number}"
            engine.start(name, given, idempotency_key=key, labels=Jsonb({"kind": name}))
    engine.run(tools)
    # And some that nobody performs, in a queue that nobody serves.
    for name in GRAPHS:
        engine.start(name, INPUTS.get(name, [{"value": 0}])[0], queue="nobody")
    [first, *_] = engine.rows("select run_id from pgorch.run_list where status = 'awaiting_approval'")
    engine.connection.execute("select pgorch.pause(%s)", [first["run_id"]])
    engine.connection.execute(
        "select pgorch.create_schedule('nightly', 'plain', '0 3 * * *'),"
        " pgorch.create_schedule('noon', 'asking', '0 12 * * 1-5', p_time_zone => 'Europe/Berlin'),"
        " pgorch.create_hook('shop', 'https://127.0.0.1:9/hook', '{run_completed,run_failed}',"
        " 'whsec_' || encode(repeat('k', 32)::bytea, 'base64')),"
        " pgorch.set_limit('queue', 'mail', p_concurrency => 3)"
    )
    engine.worker.leave()


def _broken(step: Step) -> Any:
    raise Fails()
