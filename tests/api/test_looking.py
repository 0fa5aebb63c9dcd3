"""Looking at runs and graphs over HTTP."""

from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest
from starlette.applications import Starlette

from tests.api.driving import asking, assert_problem, client_of, make_key, plain
from tests.support.engine import Engine, chain, definition

NOWHERE = "01a20a30-7fc9-7a00-a57c-bbf704f52800"
CHECKED = definition(
    "a b c", [("a>b", {"condition": "$.x > 1"}), ("a>c", {"label": 'otherwise "'})], name="team/checked"
)


async def got(client: httpx.AsyncClient, template: str, path: str, **options: Any) -> Any:
    """The JSON of an answer with status 200, which is as the description of the API says."""
    method = options.pop("method", "GET")
    response = await client.request(method, path, **options)
    assert response.status_code == 200, response.text
    document = (await client.get("/openapi.json")).json()
    answers = document["paths"][template][method.lower()]["responses"]["200"]["content"]
    schema = answers[response.headers["content-type"].partition(";")[0]]["schema"]
    validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
    shown = response.json() if "json" in response.headers["content-type"] else response.text
    validator.validate(shown)
    return shown


async def test_the_state_at_an_entry_and_the_difference_of_two(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(plain(), {"n": 1})
    engine.run({"a": {"x": None}, "b": {"n": 2}})
    at = f"/v1/runs/{run_id}/state"
    template = "/v1/runs/{run_id}/state"
    assert await got(client, template, at, params={"at": 0}) == {"n": 1}
    assert await got(client, template, at, params={"at": 1}) == {"n": 1, "x": None}
    assert await got(client, template, at) == {"n": 2, "x": None}
    template, path = "/v1/runs/{run_id}/diff", f"/v1/runs/{run_id}/diff"
    assert await got(client, template, path) == {
        "from": 0,
        "to": 3,
        "changes": [{"key": "n", "before": 1, "after": 2}, {"key": "x", "after": None}],
    }
    changed = await got(client, template, path, params={"from": 2, "to": 0})
    assert changed["changes"] == [{"key": "n", "before": 2, "after": 1}, {"key": "x", "before": None}]
    assert_problem(await client.get(at, params={"at": 4}), 422, "invalid-value")
    assert_problem(await client.get(path, params={"from": 9}), 422, "invalid-value")


async def test_a_node_of_a_run_is_explained(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(CHECKED)
    engine.run({"a": {"x": 1}})
    template = "/v1/runs/{run_id}/explain/{node}"
    told = await got(client, template, f"/v1/runs/{run_id}/explain/a")
    assert told["node"] == "a"
    assert [(e["target"], e["taken"], e["holds"], e["found"]) for e in told["edges"]] == [
        ("b", False, False, {"$.x": 1}),
        ("c", True, None, None),
    ]
    missing = await client.get(f"/v1/runs/{run_id}/explain/nothing")
    assert "nothing" in assert_problem(missing, 404, "not-found")["detail"]


async def test_a_graph_is_explained_for_any_state(client: httpx.AsyncClient, engine: Engine) -> None:
    engine.graph(CHECKED)
    template, path = "/v1/graphs/{graph}/explain", "/v1/graphs/team/checked/explain"
    told = await got(client, template, path, method="POST", json={"node": "a", "state": {"x": 5}})
    assert [e["target"] for e in told["edges"] if e["taken"]] == ["b"]
    for body, kind, status in (
        ({"node": "x"}, "not-found", 404),
        ({"node": "a", "outcome": "good"}, "invalid-value", 422),
        ({}, "invalid-value", 422),
    ):
        assert_problem(await client.post(path, json=body), status, kind)


async def test_a_timeline_a_tree_and_an_export(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(asking())
    engine.run()
    lines = (await got(client, "/v1/runs/{run_id}/timeline", f"/v1/runs/{run_id}/timeline"))["timeline"]
    assert [line["what"] for line in lines[1:]] == [
        "begin completed",
        "ask asks for a decision",
        "ask waits for a decision",
    ]
    assert lines[1]["took_seconds"] >= 0
    tree = await got(client, "/v1/runs/{run_id}/tree", f"/v1/runs/{run_id}/tree")
    assert [(run["run_id"], run["depth"]) for run in tree["runs"]] == [(str(run_id), 0)]
    document = await got(client, "/v1/runs/{run_id}/export", f"/v1/runs/{run_id}/export")
    assert document["run"]["run_id"] == str(run_id)


async def test_graphs_and_runs_are_drawn(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(CHECKED)
    engine.run({"a": {"x": 1}})
    graph = await got(client, "/v1/graphs/{graph}/mermaid", "/v1/graphs/team/checked/mermaid")
    assert graph.startswith('flowchart TD\n    n0["a"]\n')
    assert 'n0 --> |"otherwise #34;"| n2' in graph
    assert "classDef" not in graph
    run = await got(client, "/v1/runs/{run_id}/mermaid", f"/v1/runs/{run_id}/mermaid")
    assert "    class n0,n2 done\n" in run


async def test_labels_are_set_and_runs_found_by_them_and_by_their_state(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    graph: Any = engine.graph(chain("a"))
    one, two = (engine.start(graph, {"customer": {"id": n}}) for n in (1, 2))
    path = f"/v1/runs/{one}/labels"
    set_ = await got(
        client, "/v1/runs/{run_id}/labels", path, method="PUT", json={"team": "billing", "ü%": "a b"}
    )
    assert set_ == {"run_id": str(one), "labels": {"team": "billing", "ü%": "a b"}}

    async def found(**filters: str) -> list[str]:
        page = await got(client, "/v1/runs", "/v1/runs", params=filters)
        return [run["run_id"] for run in page["runs"]]

    assert await found(**{"label.team": "billing"}) == [str(one)]
    assert await found(**{"label.ü%": "a b"}) == [str(one)]
    assert await found(**{"label.team": "sales"}) == []
    assert await found(**{"state.customer.id": "2"}) == [str(two)]
    assert await found(**{"state.customer.id": "2", "status": "running"}) == [str(two)]
    assert await found(**{"state.customer.id": "2", "label.team": "billing"}) == []
    assert len(await found()) == 2
    body: dict[str, Any] = {"graph_id": graph, "labels": {"team": "sales"}}
    started = (await client.post("/v1/runs", json=body)).json()["run_id"]
    assert await found(**{"label.team": "sales"}) == [started]
    body["labels"] = {"team": 1}
    assert_problem(await client.post("/v1/runs", json=body), 422, "invalid-value")
    for name in ("state.", "state.a..b", "stat.x", "label"):
        assert_problem(await client.get("/v1/runs", params={name: "x"}), 422, "invalid-value")
    assert_problem(await client.put(path, json={"team": 1}), 422, "invalid-value")
    assert_problem(await client.put(path, json=[]), 422, "invalid-value")


async def test_retention_is_shown_and_set(client: httpx.AsyncClient) -> None:
    day = 86400.0
    path = "/v1/retention"
    assert await got(client, path, path) == {"keep_seconds": 30 * day}
    assert await got(client, path, path, method="PUT", json={"keep": "1 week"}) == {"keep_seconds": 7 * day}
    assert await got(client, path, path, method="PUT", json={"keep": None}) == {"keep_seconds": None}
    for body in ({"keep": "a while"}, {"keep": "1 second"}, {"keep": 5}, {}):
        assert_problem(await client.put(path, json=body), 422, "invalid-value")
    assert await got(client, path, path) == {"keep_seconds": None}


@pytest.mark.parametrize("what", ["diff", "explain/a", "timeline", "tree", "export", "mermaid", "state?at=0"])
async def test_a_run_that_is_not_there_is_not_found(client: httpx.AsyncClient, what: str) -> None:
    assert_problem(await client.get(f"/v1/runs/{NOWHERE}/{what}"), 404, "not-found")
    assert_problem(await client.get(f"/v1/runs/nowhere/{what}"), 404, "not-found")


async def test_operators_and_administrators_see_the_audit(
    app: Starlette, database: str, engine: Engine
) -> None:
    run_id = engine.start(plain())
    engine.cancel(run_id, "mistake")
    engine.start(plain())
    for role, status in (("operator", 200), ("admin", 200), ("viewer", 403), ("approver", 403)):
        async with client_of(app, make_key(database, role)) as client:
            answer = await client.get(f"/v1/audit?run_id={run_id}")
            assert answer.status_code == status
            if status == 200:
                [entry] = answer.json()["entries"]
                assert (entry["action"], entry["run_id"], entry["comment"]) == (
                    "cancel", str(run_id), "mistake",
                )  # fmt: skip
    async with client_of(app, make_key(database)) as client:
        page = (await client.get("/v1/audit?limit=2")).json()
        assert [entry["action"] for entry in page["entries"]] == ["create_key"] * 2
        rest = (await client.get(f"/v1/audit?cursor={page['next_cursor']}")).json()
        assert rest["next_cursor"] is None
        assert "cancel" in [entry["action"] for entry in rest["entries"]]
        assert (await client.get("/v1/audit?action=cancel&actor=nobody")).json()["entries"] == []
        for query in ("cursor=x", "run_id=x", "who=x"):
            assert (await client.get(f"/v1/audit?{query}")).status_code == 422


async def test_runs_are_found_by_who_started_them_and_when(client: httpx.AsyncClient, engine: Engine) -> None:
    name = engine.graph(plain())
    old = engine.start(name, actor="ann")
    engine.jump("2 hours")
    new = engine.start(name, actor="ann")
    engine.start(name, actor="bob")
    hour_ago = engine.value("select pgorch.clock_now() - interval '1 hour'").isoformat()

    async def found(**query: str) -> list[str]:
        answer = await client.get("/v1/runs", params=query)
        assert answer.status_code == 200, answer.text
        return [run["run_id"] for run in answer.json()["runs"]]

    assert await found(initiator="ann") == [str(new), str(old)]
    assert await found(initiator="ann", created_after=hour_ago) == [str(new)]
    assert await found(created_before=hour_ago) == [str(old)]
    for time in ("yesterday", "2026-01-01T00:00:00"):
        assert (await client.get("/v1/runs", params={"created_after": time})).status_code == 422


async def test_a_worker_is_asked_to_drain(client: httpx.AsyncClient, engine: Engine) -> None:
    worker = engine.new_worker(name="anna")
    answer = await client.post("/v1/workers/anna/drain")
    assert (answer.status_code, answer.json()) == (202, {"worker_ids": [str(worker.id)]})
    assert engine.value("select b.to_drain from pgorch.beat(0, %s, 10) b", worker.id)
    assert (await client.post("/v1/workers/bert/drain")).status_code == 404
