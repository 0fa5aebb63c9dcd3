"""Graphs, approvals, tools, workers and queues."""

from uuid import UUID

import httpx

from tests.api.driving import ASK, asking, assert_problem, plain
from tests.support.engine import Engine, chain, definition


async def test_the_same_graph_again_is_the_same_version(client: httpx.AsyncClient, engine: Engine) -> None:
    engine.register("a", "b")
    graph = {**chain("a b"), "name": "daily"}

    first = await client.post("/v1/graphs", json=graph)
    again = await client.post("/graph/create", json=graph)
    other = await client.post("/graph/create", json={**chain("b a"), "name": "daily"})

    assert first.status_code == 201
    assert again.status_code == 200
    assert first.json() | {"created": False} == again.json()
    assert (first.json()["version"], first.json()["created"]) == (1, True)
    assert (other.json()["version"], other.json()["created"]) == (2, True)
    shown = (await client.get("/v1/graphs/daily")).json()
    assert (shown["version"], shown["created_by"]) == (2, "ada")
    assert (await client.get("/v1/graphs/daily@1")).json()["definition"] == graph
    assert (await client.get(f"/v1/graphs/{first.json()['graph_id']}")).json()["version"] == 1


async def test_everything_that_is_wrong_with_a_graph_is_told_at_once(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.register("extract")
    graph = {
        "nodes": [{"id": "a", "function": "extrakt"}, {"id": "b", "function": "extract"}],
        "edges": [{"source": "a", "target": "b"}, {"source": "b", "target": "c"}],
        "start_node": "a",
    }

    problem = assert_problem(await client.post("/graph/create", json=graph), 422, "invalid-graph")

    by_pointer = {error["pointer"]: error for error in problem["errors"]}
    assert set(by_pointer) == {"/nodes/0/function", "/edges/1/target"}
    assert "extract" in by_pointer["/nodes/0/function"]["hint"]
    assert all(error["code"] and error["message"] for error in problem["errors"])
    assert (await client.get("/v1/graphs")).json()["graphs"] == []

    checked = await client.post("/v1/graphs/validate", json=graph)
    assert checked.json() == {"valid": False, "errors": problem["errors"]}


async def test_a_valid_graph_is_checked_without_being_created(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.register("a", "b")

    assert (await client.post("/v1/graphs/validate", json=plain())).json() == {"valid": True, "errors": []}

    assert (await client.get("/v1/graphs")).json() == {"graphs": [], "next_cursor": None}


async def test_a_graph_is_an_object(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/json"}
    for body in (b"[]", b"3", b'"x"', b"null", b"true"):
        response = await client.post("/graph/create", content=body, headers=headers)
        assert_problem(response, 422, "invalid-value")
        checked = await client.post("/v1/graphs/validate", content=body, headers=headers)
        assert checked.json()["valid"] is False


async def test_a_graph_of_100_000_nodes_is_refused(client: httpx.AsyncClient, engine: Engine) -> None:
    engine.register("f")
    graph = {
        "nodes": [{"id": f"n{n}", "function": "f"} for n in range(100_000)],
        "edges": [],
        "start_node": "n0",
    }
    assert_problem(await client.post("/graph/create", json=graph), 422, "invalid-graph")


async def test_graphs_are_listed_newest_first(client: httpx.AsyncClient, engine: Engine) -> None:
    for number in range(5):
        engine.graph({**chain("a b"), "name": f"graph {number % 2}", "description": str(number)})

    page = (await client.get("/v1/graphs?limit=3")).json()
    rest = (await client.get(f"/v1/graphs?limit=3&cursor={page['next_cursor']}")).json()

    listed = [(graph["name"], graph["version"]) for graph in page["graphs"] + rest["graphs"]]
    assert listed == [("graph 0", 3), ("graph 1", 2), ("graph 0", 2), ("graph 1", 1), ("graph 0", 1)]
    assert rest["next_cursor"] is None
    named = (await client.get("/v1/graphs", params={"name": "graph 1"})).json()["graphs"]
    assert [graph["version"] for graph in named] == [2, 1]


async def test_names_with_slashes_are_found(client: httpx.AsyncClient, engine: Engine) -> None:
    engine.graph({**plain(), "name": "team/daily"})
    assert (await client.get("/v1/graphs/team%2Fdaily")).json()["name"] == "team/daily"


async def test_unknown_graphs_are_not_found(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/v1/graphs/nowhere"), 404, "not-found")
    assert_problem(await client.get("/v1/graphs/%00"), 422, "invalid-value")


async def test_open_approvals_are_listed_oldest_first_and_decided(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    graph = engine.graph({**asking(), "name": "asking"})
    runs = [engine.start(graph) for _ in range(3)]
    engine.run()
    other = engine.start({**definition([{**ASK, "show": {"cost": "$.cost"}}]), "name": "other"}, {"cost": 5})

    page = (await client.get("/v1/approvals?limit=2")).json()
    rest = (await client.get(f"/v1/approvals?limit=2&cursor={page['next_cursor']}")).json()

    inbox = page["approvals"] + rest["approvals"]
    assert {UUID(approval["run_id"]) for approval in inbox} == {*runs, other}
    assert rest["next_cursor"] is None
    assert [approval["requested_at"] for approval in inbox] == sorted(a["requested_at"] for a in inbox)
    assert inbox[-1]["graph"] == "other"
    assert (inbox[-1]["title"], inbox[-1]["initiator"]) == ("Go on?", "postgres")
    only = (await client.get("/v1/approvals?graph=other")).json()["approvals"]
    assert only == inbox[-1:]

    chosen = inbox[1]
    path = f"/v1/approvals/{chosen['approval_id']}/decide"
    decided = await client.post(path, json={"decision": "approved", "data": {"by_whom": "me"}})
    assert decided.json() == {
        "run_id": chosen["run_id"],
        "approval_id": chosen["approval_id"],
        "decision": "approved",
        "status": "approved",
        "missing": 0,
    }
    assert_problem(await client.post(path, json={"decision": "rejected"}), 409, "wrong-state")
    left = (await client.get("/v1/approvals")).json()["approvals"]
    assert left == [approval for approval in inbox if approval is not chosen]


async def test_an_approval_needs_a_decision_and_must_exist(client: httpx.AsyncClient, engine: Engine) -> None:
    engine.start(definition([ASK]))
    approval = (await client.get("/v1/approvals")).json()["approvals"][0]["approval_id"]
    unknown = "01a20a30-7fc9-7a00-a57c-bbf704f52800"

    assert_problem(await client.post(f"/v1/approvals/{approval}/decide"), 400, "not-json")
    assert_problem(await client.post(f"/v1/approvals/{approval}/decide", json={}), 422, "invalid-value")
    body = {"decision": "approved"}
    assert_problem(await client.post(f"/v1/approvals/{unknown}/decide", json=body), 404, "not-found")
    assert_problem(await client.post("/v1/approvals/x/decide", json=body), 404, "not-found")


async def test_workers_and_queues_are_shown(client: httpx.AsyncClient, engine: Engine) -> None:
    graph = engine.graph(plain())
    for _ in range(3):
        engine.start(graph, queue="fast")
    engine.new_worker(queues=["fast", "default"], name="w1", slots=4)

    [worker] = (await client.get("/v1/workers")).json()["workers"]
    [queue] = (await client.get("/v1/queues")).json()["queues"]

    assert (worker["name"], worker["status"], worker["slots"]) == ("w1", "alive", 4)
    assert worker["queues"] == ["fast", "default"]
    assert (worker["tools"], worker["running_steps"]) == (["a", "b"], 0)
    assert (queue["queue"], queue["tool"], queue["ready"], queue["workers"]) == ("fast", "a", 3, 1)
    assert queue["oldest_age_seconds"] >= 0


async def test_a_step_that_nobody_can_run_is_visible(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(plain())
    [step] = (await client.get(f"/graph/state/{run_id}")).json()["current_nodes"]
    assert (step["node"], step["status"]) == ("a", "ready")
    assert "no living worker" in step["problem"]
