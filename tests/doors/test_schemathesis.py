"""A short round of schemathesis, in this process and always with the same seed.

The long one, on a server with stateful phases, is `python -m tests.doors.schemathesis`.
"""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.rows import DictRow

from pgorch.api.app import create_app
from tests.api.driving import client_of, make_key
from tests.doors.population import GRAPHS, populate
from tests.doors.readable import read_everything


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_the_api_does_what_its_description_says(
    database: str, connection: Connection[DictRow], loop: asyncio.Runner
) -> None:
    """Each operation with data that fits its description and data that does not."""
    schemathesis = pytest.importorskip("schemathesis")
    populate(connection)
    key = make_key(database, "admin", "finance")
    app = create_app(database)
    lifespan = app.router.lifespan_context(app)
    loop.run(lifespan.__aenter__())
    # In one loop, so that the connections of the application can be used again.
    there = {
        "run_id": [str(row["run_id"]) for row in connection.execute("select run_id from pgorch.run_list")],
        "graph": list(GRAPHS),
    }
    tried = 0

    async def ask(method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        async with client_of(app, key) as client:
            return await client.request(method, path, **options)

    try:
        document = loop.run(ask("GET", "/openapi.json", {})).json()
        schema = schemathesis.openapi.from_dict(document)
        for result in schema.get_all_operations():
            operation = result.ok()
            # A stream of events may have no end, and these are asked for elsewhere.
            if operation.path.endswith("/events"):
                continue
            modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
            strategies = [operation.as_strategy(generation_mode=mode) for mode in modes]

            @settings(
                max_examples=2, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=st.one_of(strategies), chance=st.randoms(use_true_random=False))
            def try_it(case: Any, chance: random.Random) -> None:
                nonlocal tried
                for name in case.path_parameters or {}:
                    if name in there and chance.random() < 0.7:
                        case.path_parameters[name] = chance.choice(there[name])
                if isinstance(case.query, dict):
                    case.query.pop("wait", None)
                (case.headers or {}).pop("Prefer", None)
                sent = case.as_transport_kwargs(base_url="http://localhost")
                options = {k: sent[k] for k in ("params", "json", "data") if sent.get(k) is not None}
                if "data" in options:
                    options["content"] = options.pop("data")
                options["headers"] = {k: str(v).encode() for k, v in (sent.get("headers") or {}).items()}
                options["headers"].pop("Authorization", None)
                response = loop.run(ask(case.method, sent["url"], options))
                tried += 1
                assert response.status_code < 500, (case.method, sent["url"], response.text)
                described = document["paths"][case.operation.path][case.method.lower()]["responses"]
                assert str(response.status_code) in described, (case.method, sent["url"], response.text)

            try_it()
    finally:
        loop.run(lifespan.__aexit__(None, None, None))
    assert tried > 100
    assert read_everything(database).problems == []
