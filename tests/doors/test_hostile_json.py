"""The same strict JSON at every door: what may not come in is refused with its place, and nothing is stored.

Tools' results are a door, too: a step whose result is no JSON fails, and says why.
"""

import gzip
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from psycopg import Connection
from psycopg.rows import DictRow

from pgorch import strict_json
from pgorch.api.app import create_app
from pgorch.cli.failures import UsageError
from pgorch.cli.options import json_value
from pgorch.client import Client
from pgorch.errors import InvalidValue
from pgorch.worker import outcomes
from tests.api.driving import client_of, make_key
from tests.doors.hostile import ALLOWED, EDGE, HOSTILE, WHOLE, as_doubles
from tests.doors.readable import read_everything
from tests.doors.tools import ODD
from tests.support.engine import Engine, Step, definition

# No JSON, too deep, out of range, or what pgorch itself raises.
BY_POSTGRES = ("22", "54", "OR")
JSON = {"content-type": "application/json"}
SECONDS = 20.0


class Doors:
    """A run that waits for a signal and one that waits for a person, and what has been stored of them."""

    def __init__(self, dsn: str, engine: Engine) -> None:
        self.dsn, self.engine = dsn, engine
        waiting = {"id": "wait", "type": "wait", "signal": "go", "into": "said"}
        asked = {"id": "ask", "type": "approval", "into": "said"}
        self.graph = engine.graph(definition(["a"], name="plain"))
        self.signalled = engine.start(definition([waiting]))
        self.asked = engine.start(definition([asked]))
        engine.run()
        self.before = self.stored()

    def stored(self) -> Any:
        tables = ("runs", "graphs", "signals", "history")
        return {t: self.engine.value(f"select count(*) from pgorch.{t}") for t in tables}

    def over_http(self) -> list[tuple[str, bytes]]:
        """Where JSON goes in, with VALUE for the value."""
        graph = self.graph.encode()
        return [
            ("/graph/run", b'{"graph_id": "%b", "initial_state": {"x": VALUE}}' % graph),
            ("/v1/runs", b'{"graph_id": "%b", "initial_states": [{}, {"x": VALUE}]}' % graph),
            (f"/v1/runs/{self.signalled}/signals", b'{"name": "go", "payload": VALUE}'),
            (f"/graph/resume/{self.asked}", b'{"decision": "approved", "data": {"x": VALUE}}'),
            ("/graph/create", b'{"name": "x", "nodes": [{"id": "a", "function": "a", "data": VALUE}],'
                              b' "edges": [], "start_node": "a"}'),
        ]  # fmt: skip


@pytest.fixture
def doors(database: str, engine: Engine) -> Iterator[Doors]:
    doors = Doors(database, engine)
    yield doors
    reading = read_everything(database)
    assert reading.problems == []
    assert reading.rows > 50


@pytest.fixture
async def client(database: str) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(database)
    async with app.router.lifespan_context(app), client_of(app, make_key(database)) as client:
        yield client


async def test_http(doors: Doors, client: httpx.AsyncClient) -> None:
    for what, (value, pointer) in HOSTILE.items():
        for path, around in doors.over_http():
            began = time.monotonic()
            response = await client.post(path, content=around.replace(b"VALUE", value), headers=JSON)
            assert time.monotonic() - began < SECONDS
            assert response.status_code in (400, 422), (what, path, response.text)
            [fault, *_] = response.json()["errors"]
            assert fault["message"]
            # Of what is no text at all, the reader does not say where it began.
            if pointer:
                assert pointer[:20] in fault["pointer"], (what, path, fault)
    for what, body in WHOLE.items():
        for path, _ in doors.over_http():
            # Without a body an approval is approved: that is no value that could be hostile.
            if what == "nothing" and "resume" in path:
                continue
            response = await client.post(path, content=body, headers=JSON)
            assert response.status_code == 400, (what, path, response.text)
    bomb = {**JSON, "content-encoding": "gzip"}
    for path, _ in doors.over_http():
        response = await client.post(path, content=gzip.compress(b" " * 50_000_000), headers=bomb)
        assert response.status_code == 415
    assert doors.stored() == doors.before


def test_sql(doors: Doors, connection: Connection[DictRow]) -> None:
    calls = (
        "select pgorch.start('plain', jsonb_build_object('x', %s::jsonb))",
        f"select pgorch.signal('{doors.signalled}', 'go', %s::jsonb)",
        f"select pgorch.decide('{doors.asked}', 'approved', jsonb_build_object('x', %s::jsonb))",
        "select pgorch.create_graph(%s::jsonb)",
    )
    # PostgreSQL reads jsonb itself: of two members with one name it keeps the last, and numbers beyond a
    # double are numbers to it. The first is not seen any more, the second is refused.
    theirs = {"twice the same key", "twice, written differently"}
    for what, (value, _) in HOSTILE.items():
        if what in theirs:
            continue
        for call in calls:
            # A text that is no UTF-8 is not even sent.
            with pytest.raises((psycopg.DatabaseError, UnicodeEncodeError)) as caught:
                connection.execute(call.encode(), [value.decode("utf-8", "surrogateescape")])
            if isinstance(caught.value, psycopg.DatabaseError):
                assert (caught.value.sqlstate or "")[:2] in BY_POSTGRES, (what, call)
    assert doors.stored() == doors.before


@pytest.mark.parametrize("what", ["a string of 300 MB", "a number of 200,000 digits"])
@pytest.mark.long
def test_sql_of_more_than_jsonb_can_hold(doors: Doors, connection: Connection[DictRow], what: str) -> None:
    value = "to_jsonb(repeat('x', 300000000))" if "MB" in what else "('1' || repeat('0', 200000))::jsonb"
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(f"select pgorch.start('plain', jsonb_build_object('x', {value}))".encode())
    assert (caught.value.sqlstate or "")[:2] in ("22", "54", "OR")
    assert doors.stored() == doors.before


def refused(call: Callable[..., Any], *by: type[Exception], **given: Any) -> bool:
    try:
        call(**given)
    except by:
        return True
    return False


def python_values() -> dict[str, Any]:
    # A result may have a megabyte, an input four.
    odd = {name: value for name, (value, _) in ODD.items() if name != "large"}
    return {**odd, "a list of itself": [odd["circle"]], "5 MB": {"text": "x" * 5_000_000}}


def test_the_python_client(doors: Doors) -> None:
    with Client(doors.dsn) as client:

        def given(value: Any) -> Iterator[Callable[[], Any]]:
            yield lambda: client.start("plain", {"x": value})
            yield lambda: client.start_many("plain", [{}, {"x": value}])
            yield lambda: client.signal(doors.signalled, "go", value)
            yield lambda: client.decide(doors.asked, "approved", data={"x": value})

        for what, value in python_values().items():
            for call in given(value):
                assert refused(call, InvalidValue), what
    assert doors.stored() == doors.before


def test_the_command_line(doors: Doors, tmp_path: Path) -> None:
    """Each file is read as the commands read it, and some go through a command."""
    for what, body in {**{name: text for name, (text, _) in HOSTILE.items()}, **WHOLE}.items():
        file = tmp_path / "value.json"
        file.write_bytes(body)
        assert refused(json_value, InvalidValue, UsageError, given=f"@{file}", what="--input"), what
    for body in (HOSTILE["NUL"][0], WHOLE["BOM"], HOSTILE["no UTF-8"][0]):
        command = [sys.executable, "-m", "pgorch", "run", "plain", "--input", "@-"]
        done = subprocess.run([*command, "--dsn", doors.dsn], input=body, capture_output=True, timeout=60)
        assert done.returncode != 0, done
        assert b"next: " in done.stderr, done
        assert b"Traceback" not in done.stderr
    assert doors.stored() == doors.before


@pytest.mark.parametrize("kind", ODD)
def test_a_tools_result(kind: str) -> None:
    """Every result goes through this. That the step then fails and says so, tests/worker shows."""
    value, why = ODD[kind]
    with pytest.raises(InvalidValue) as caught:
        strict_json.dumps(value, what="The result of odd")
    assert why in str(caught.value)
    outcome = outcomes.error("InvalidResult", str(caught.value), retryable=False)
    assert why in json.loads(str(outcome.output))["message"]


async def test_what_is_at_the_edge_comes_back_everywhere(doors: Doors, client: httpx.AsyncClient) -> None:
    """I29: what went in by HTTP is what SQL, HTTP and the next step see."""
    engine = doors.engine
    run = await client.post("/v1/runs", json={"graph": "plain", "initial_state": EDGE})
    run_id = run.json()["run_id"]
    seen: list[Any] = []

    def a(step: Step) -> Any:
        seen.append(step.state)
        return {"back": step.state}

    engine.run({"a": a})
    state = (await client.get(f"/v1/runs/{run_id}/state")).json()
    document = (await client.get(f"/v1/runs/{run_id}")).json()
    with Client(doors.dsn) as python:
        in_python = python.get_run(run_id).state
    wanted = as_doubles(EDGE)
    assert as_doubles(seen) == [wanted]
    assert as_doubles(state["back"]) == as_doubles(document["input"]) == wanted
    assert as_doubles(in_python["back"]) == wanted
    assert as_doubles(engine.value("select pgorch.run_state(%s) -> 'back'", run_id)) == wanted


@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(value=ALLOWED)
def test_whatever_is_allowed_makes_the_round(doors: Doors, value: Any) -> None:
    """By the client in, through a step, into an approval's data and out."""
    engine = doors.engine
    text = strict_json.dumps({"x": value})
    run_id = engine.value("select pgorch.start('plain', %s::jsonb)", text)
    engine.run({"a": lambda step: {"y": step.state["x"]}})
    back = strict_json.loads(engine.value("select pgorch.run_state(%s)::text", run_id))
    assert as_doubles(back) == as_doubles({"x": value, "y": value})
