"""The five endpoints of the mission, from the first request to the end of a run."""

import uuid
from typing import Any

import httpx

from tests.api.driving import ASK, asking, assert_problem, plain
from tests.support.engine import Engine, definition

NOWHERE = "01a20a30-7fc9-7a00-a57c-bbf704f52800"


async def test_a_graph_is_created_run_approved_and_read_as_the_mission_says(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.register("extract", "load")
    engine.worker.enlist()

    tools = (await client.get("/tools")).json()["tools"]
    assert [tool["name"] for tool in tools] == ["extract", "load"]
    assert tools[0]["parameters"] == {"type": "object"}
    assert "description" in tools[0]

    created = await client.post(
        "/graph/create",
        json={
            "nodes": [
                {"id": "one", "function": "extract"},
                {"id": "ask", "type": "approval"},
                {"id": "two", "function": "load"},
            ],
            "edges": [{"source": "one", "target": "ask"}, {"source": "ask", "target": "two"}],
            "start_node": "one",
        },
    )
    assert created.status_code == 200, created.text
    graph_id = created.json()["graph_id"]

    started = await client.post("/graph/run", json={"graph_id": graph_id, "initial_state": {"path": "a.csv"}})
    assert started.status_code == 200
    run_id = started.json()["run_id"]
    # The answer came after the commit: another session sees the run with its first step.
    assert [step["node"] for step in engine.live(uuid.UUID(run_id))] == ["one"]

    engine.run({"extract": {"rows": 3}})
    waiting = (await client.get(f"/graph/state/{run_id}")).json()
    assert waiting["status"] == "awaiting_approval"
    assert waiting["state"] == {"path": "a.csv", "rows": 3}
    assert [node["node"] for node in waiting["current_nodes"]] == ["ask"]
    assert [approval["node"] for approval in waiting["approvals"]] == ["ask"]

    resumed = await client.post(f"/graph/resume/{run_id}")
    assert resumed.status_code == 200
    assert resumed.json() == {
        "run_id": run_id,
        "approval_id": waiting["approvals"][0]["approval_id"],
        "decision": "approved",
        "status": "approved",
        "missing": 0,
    }

    engine.run({"load": {"loaded": True}})
    done = (await client.get(f"/graph/state/{run_id}")).json()
    assert done["status"] == "completed"
    assert done["state"]["loaded"] is True
    assert done["current_nodes"] == done["approvals"] == []
    assert [(entry["seq"], entry["kind"], entry.get("node")) for entry in done["history"]] == [
        (1, "step_completed", "one"),
        (2, "approval_requested", "ask"),
        (3, "approval_decided", "ask"),
        (4, "step_completed", "two"),
        (5, "run_completed", None),
    ]
    assert done["history"][0]["attempt"] == 1
    assert done["history"][0]["started_at"] <= done["history"][0]["at"]
    assert done["history"][2]["actor"] == "ada"


async def test_only_tools_that_a_living_worker_serves_are_shown(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.register("served", "forgotten")
    engine.new_worker(["served"])

    served = (await client.get("/tools")).json()["tools"]
    everything = (await client.get("/v1/tools")).json()["tools"]

    assert [(tool["name"], tool["workers"]) for tool in served] == [("served", 1)]
    assert [(tool["name"], tool["workers"]) for tool in everything] == [("forgotten", 0), ("served", 1)]


async def test_a_rejection_with_data_and_comment_goes_the_rejected_way(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(asking())
    engine.run()

    response = await client.post(
        f"/graph/resume/{run_id}",
        json={"decision": "rejected", "data": {"reason": "too dear"}, "comment": "no"},
    )
    assert response.status_code == 200, response.text
    engine.run()

    assert engine.order(run_id).split()[-1] == "undo"
    [decided] = [entry["output"] for entry in engine.history(run_id) if entry["kind"] == "approval_decided"]
    assert decided["decision"] == "rejected"
    assert decided["data"] == {"reason": "too dear"}
    assert decided["comment"] == "no"
    assert decided["by"] == "ada"


async def test_a_body_that_does_not_say_the_decision_is_refused(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(asking())
    engine.run()
    path = f"/graph/resume/{run_id}"

    wrong: list[dict[str, Any]] = [
        {},
        {"decision": "approve"},
        {"decision": "yes"},
        {"decision": True},
        {"decision": None},
    ]
    for body in wrong:
        problem = assert_problem(await client.post(path, json=body), 422, "invalid-value")
        assert problem["errors"][0]["pointer"] == "/decision"
    for member in ({"data": 3}, {"approval_id": "x"}, {"comment": 1}, {"coment": ""}):
        body = {"decision": "approved", **member}
        assert_problem(await client.post(path, json=body), 422, "invalid-value")
    headers = {"content-type": "application/json"}
    for text in (b"null", b'"approved"', b"[]"):
        assert_problem(await client.post(path, content=text, headers=headers), 422, "invalid-value")
    # Not even white space passes for "no body".
    assert_problem(await client.post(path, content=b" ", headers=headers), 400, "not-json")
    assert engine.status(run_id) == "awaiting_approval"


async def test_approving_twice_says_who_decided(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(asking())
    engine.run()
    await client.post(f"/graph/resume/{run_id}")

    problem = assert_problem(await client.post(f"/graph/resume/{run_id}"), 409, "wrong-state")

    assert "approved by ada" in problem["detail"]


async def test_approving_a_run_that_does_not_wait_is_refused(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(plain())

    problem = assert_problem(await client.post(f"/graph/resume/{run_id}"), 409, "wrong-state")

    assert "running" in problem["detail"]


async def test_with_several_open_approvals_one_must_be_named(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(
        definition(["a", {**ASK, "id": "left"}, {**ASK, "id": "right"}], ["a>left", "a>right"])
    )
    engine.run()
    approvals = {approval["node"]: str(approval["id"]) for approval in engine.approvals(run_id)}

    problem = assert_problem(await client.post(f"/graph/resume/{run_id}"), 409, "wrong-state")
    assert all(approval_id in problem["detail"] for approval_id in approvals.values())

    named = await client.post(
        f"/graph/resume/{run_id}", json={"decision": "approved", "approval_id": approvals["right"]}
    )
    assert named.status_code == 200, named.text
    assert named.json()["approval_id"] == approvals["right"]
    assert (await client.post(f"/graph/resume/{run_id}")).json()["approval_id"] == approvals["left"]
    assert engine.status(run_id) == "completed"


async def test_runs_that_do_not_exist_are_not_found(client: httpx.AsyncClient) -> None:
    for run_id in (NOWHERE, "7", "not-a-run", "%00", NOWHERE + "0", "00000000-0000-0000-0000-000000000000"):
        assert_problem(await client.get(f"/graph/state/{run_id}"), 404, "not-found")
        assert_problem(await client.get(f"/graph/state/{run_id}?wait=5"), 404, "not-found")
        assert_problem(await client.post(f"/graph/resume/{run_id}"), 404, "not-found")
        assert_problem(await client.get(f"/v1/runs/{run_id}/events"), 404, "not-found")
        assert_problem(await client.get(f"/v1/runs/{run_id}/state"), 404, "not-found")
        assert_problem(await client.post(f"/v1/runs/{run_id}/cancel"), 404, "not-found")
