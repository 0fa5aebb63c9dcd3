"""Starting, finding and cancelling runs."""

import uuid
from typing import Any
from uuid import UUID

import httpx

from tests.api.driving import asking, assert_problem, plain
from tests.support.engine import Engine, chain


async def test_a_run_is_created_with_everything_that_was_asked_for(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    graph = engine.graph(plain())

    response = await client.post(
        "/v1/runs",
        json={
            "graph_id": graph,
            "initial_state": {"x": [1, 2.5, "z", None, True]},
            "priority": 7,
            "queue": "fast",
            "idempotency_key": "k-1",
        },
    )

    assert response.status_code == 201
    run = (await client.get(f"/v1/runs/{response.json()['run_id']}")).json()
    assert run["state"] == run["input"] == {"x": [1, 2.5, "z", None, True]}
    assert (run["priority"], run["queue"], run["idempotency_key"]) == (7, "fast", "k-1")
    assert run["initiator"] == "ada"
    state = await client.get(f"/v1/runs/{run['run_id']}/state")
    assert state.json() == run["state"]


async def test_a_graph_goes_by_id_name_or_version(client: httpx.AsyncClient, engine: Engine) -> None:
    first = engine.graph({**chain("a"), "name": "daily"})
    second = engine.graph({**chain("a b"), "name": "daily"})

    async def graph_run(**named: str) -> Any:
        run_id = (await client.post("/graph/run", json=named)).json()["run_id"]
        return (await client.get(f"/graph/state/{run_id}")).json()["graph_id"]

    assert await graph_run(graph="daily") == second
    assert await graph_run(graph="daily@1") == first
    assert await graph_run(graph_id=first) == first
    assert await graph_run(graph_id="daily@2") == second


async def test_an_unknown_graph_is_not_found_and_a_near_name_is_told(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.graph({**chain("a"), "name": "billing"})

    problem = assert_problem(await client.post("/graph/run", json={"graph": "biling"}), 404, "not-found")

    assert "billing" in problem["hint"]
    assert_problem(await client.post("/graph/run", json={"graph_id": str(uuid.uuid4())}), 404, "not-found")


async def test_the_same_request_with_the_same_key_is_the_same_run(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    graph = engine.graph(plain())
    request = {"graph_id": graph, "initial_state": {"order": 1}}
    key = {"Idempotency-Key": "order-1"}

    first = await client.post("/graph/run", json=request, headers=key)
    again = await client.post("/graph/run", json=request, headers=key)
    in_body = await client.post("/graph/run", json={**request, "idempotency_key": "order-1"})
    other = await client.post("/graph/run", json={**request, "initial_state": {"order": 2}}, headers=key)

    assert first.json() == again.json() == in_body.json()
    problem = assert_problem(other, 409, "idempotency-conflict")
    assert first.json()["run_id"] in problem["detail"]
    assert engine.value("select count(*) from pgorch.runs") == 1


async def test_header_and_body_must_not_name_different_keys(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    body = {"graph_id": engine.graph(plain()), "idempotency_key": "a"}
    response = await client.post("/graph/run", json=body, headers={"Idempotency-Key": "b"})
    assert_problem(response, 422, "invalid-value")


async def test_a_key_is_visible_ascii(client: httpx.AsyncClient, engine: Engine) -> None:
    body = {"graph_id": engine.graph(plain())}
    for key in (b"", b"x" * 201, b"a b", "schlüssel".encode()):
        response = await client.post("/graph/run", json=body, headers={b"Idempotency-Key": key})
        assert_problem(response, 422, "invalid-value")


async def test_many_runs_are_started_at_once_in_the_order_of_their_states(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    graph = engine.graph(plain())
    states = [{"number": number} for number in range(2_000)]

    response = await client.post("/graph/run", json={"graph_id": graph, "initial_states": states})

    run_ids = [UUID(text) for text in response.json()["run_ids"]]
    found = engine.rows("select id, input from pgorch.runs")
    assert {row["id"]: row["input"] for row in found} == dict(zip(run_ids, states, strict=True))


async def test_many_runs_are_all_or_none(client: httpx.AsyncClient, engine: Engine) -> None:
    graph = engine.graph(plain())

    wrong: list[Any] = [[{}, 3], [{}, None], [], [{}] * 10_001, {"x": 1}]
    for states in wrong:
        response = await client.post("/graph/run", json={"graph_id": graph, "initial_states": states})
        assert_problem(response, 422, "invalid-value")
    many = {"graph_id": graph, "initial_states": [{}]}
    assert_problem(await client.post("/graph/run", json={**many, "initial_state": {}}), 422, "invalid-value")
    assert_problem(
        await client.post("/graph/run", json={**many, "idempotency_key": "k"}), 422, "invalid-value"
    )
    with_header = await client.post("/graph/run", json=many, headers={"Idempotency-Key": "k"})
    assert_problem(with_header, 422, "invalid-value")
    assert engine.value("select count(*) from pgorch.runs") == 0


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"initial_state": [1]}, "/initial_state"),
    ({"initial_state": "x"}, "/initial_state"),
    ({"priority": "5"}, "/priority"),
    ({"priority": 1001}, "/priority"),
    ({"priority": True}, "/priority"),
    ({"priority": 1.5}, "/priority"),
    ({"queue": ""}, "/queue"),
    ({"queue": 3}, "/queue"),
    ({"queue": "x" * 101}, "/queue"),
    ({"idempotency_key": ""}, "/idempotency_key"),
    ({"inital_state": {}}, "/inital_state"),
    ({"graph": "another"}, ""),
    ({"graph_id": None}, ""),
    ({"graph_id": 7}, "/graph_id"),
]


async def test_what_does_not_fit_is_refused_with_a_pointer(client: httpx.AsyncClient, engine: Engine) -> None:
    graph = engine.graph(plain())

    for wrong, pointer in WRONG:
        response = await client.post("/graph/run", json={"graph_id": graph, **wrong})
        problem = assert_problem(response, 422, "invalid-value")
        assert [error["pointer"] for error in problem["errors"]] == [pointer]
        assert all(error["message"] and error["code"] for error in problem["errors"])
    assert engine.value("select count(*) from pgorch.runs") == 0


async def test_what_sql_refuses_is_refused(client: httpx.AsyncClient, engine: Engine) -> None:
    response = await client.post("/graph/run", json={"graph_id": engine.graph(plain()), "queue": "!x"})
    problem = assert_problem(response, 422, "invalid-value")
    assert "queue" in problem["detail"]


async def test_a_run_is_cancelled_once(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(asking())

    response = await client.post(f"/v1/runs/{run_id}/cancel", json={"reason": "not needed"})

    assert response.json() == {"run_id": str(run_id), "status": "cancelled"}
    last = engine.history(run_id)[-1]
    assert (last["kind"], last["actor"], last["error"]["message"]) == ("run_cancelled", "ada", "not needed")
    problem = assert_problem(await client.post(f"/v1/runs/{run_id}/cancel"), 409, "wrong-state")
    assert "cancelled" in problem["detail"]
    assert_problem(await client.post(f"/graph/resume/{run_id}"), 409, "wrong-state")


async def test_pages_show_every_run_once_newest_first(client: httpx.AsyncClient, engine: Engine) -> None:
    graph = engine.graph(plain())
    runs = [str(engine.start(graph)) for _ in range(7)]

    seen: list[str] = []
    cursor = ""
    while True:
        page = (await client.get(f"/v1/runs?limit=3{cursor}")).json()
        assert len(page["runs"]) <= 3
        seen += [run["run_id"] for run in page["runs"]]
        if page["next_cursor"] is None:
            break
        # What comes in the meantime does not move the pages.
        engine.start(graph)
        cursor = f"&cursor={page['next_cursor']}"

    assert seen == sorted(runs, reverse=True)


async def test_runs_are_found_by_status_and_graph(client: httpx.AsyncClient, engine: Engine) -> None:
    done = engine.start({**plain(), "name": "one"})
    engine.run()
    waits = engine.start({**asking(), "name": "two"})
    engine.run()
    runs = engine.start(engine.graph({**chain("a b c"), "name": "one"}))

    async def found(query: str) -> set[str]:
        response = await client.get(f"/v1/runs?{query}")
        assert response.status_code == 200, response.text
        return {run["run_id"] for run in response.json()["runs"]}

    assert await found("status=completed") == {str(done)}
    assert await found("status=awaiting_approval&status=running") == {str(waits), str(runs)}
    assert await found("status=awaiting_approval&status=completed") == {str(waits), str(done)}
    assert await found("graph=one") == {str(done), str(runs)}
    assert await found("graph=one@1") == {str(done)}
    assert await found("graph=one&status=running") == {str(runs)}
    assert await found("graph=two&status=failed") == set()


async def test_a_filter_that_does_not_fit_is_refused(client: httpx.AsyncClient) -> None:
    for query in (
        "status=done",
        "status=",
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=x",
        "limit=1&limit=2",
        "graph=%00",
    ):
        assert_problem(await client.get(f"/v1/runs?{query}"), 422, "invalid-value")
    problem = assert_problem(await client.get("/v1/runs?stauts=running"), 422, "invalid-value")
    assert "status" in problem["hint"]
    assert_problem(await client.get("/v1/runs?graph=nowhere"), 404, "not-found")
