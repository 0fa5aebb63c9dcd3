"""What operators do with runs: one, or many at once."""

import uuid
from typing import Any
from uuid import UUID

import httpx
from starlette.applications import Starlette

from tests.api.driving import ASK, asking, assert_problem, client_of, make_key, plain
from tests.support.engine import Engine, Fails, Step, chain, definition

UNKNOWN = f"{str(uuid.UUID(int=7))[:-2]}00"
VERBS = ("cancel", "pause", "resume", "retry", "skip", "fork", "move", "signals")
BODIES: dict[str, Any] = {"fork": {"seq": 0}, "move": {"graph": "g"}, "signals": {"name": "paid"}}
WAIT = {"id": "wait", "type": "wait", "signal": "paid"}


def breaks(step: Step) -> None:
    raise Fails("Broken", "it broke")


async def post(client: httpx.AsyncClient, run_id: Any, verb: str, body: Any = None, **headers: str) -> Any:
    """The answer to a verb that is not refused."""
    path = f"/v1/runs/{run_id}/{verb}"
    response = await client.post(path, json=body, headers=headers) if body else await client.post(path)
    assert response.status_code in (200, 201), response.text
    return response.json()


async def test_a_signal_is_taken_by_the_wait_for_its_name(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(definition([WAIT, "a"], ["wait>a"]))

    response = await client.post(
        f"/v1/runs/{run_id}/signals", json={"name": "paid", "payload": {"amount": 5, "note": None}}
    )

    assert response.status_code == 201
    answer = response.json()
    assert answer["run_id"] == str(run_id)
    assert engine.state(run_id) == {"amount": 5, "note": None}
    received = engine.history(run_id)[-2]
    assert (received["kind"], received["actor"]) == ("signal_received", "ada")
    assert received["output"]["signal_id"] == answer["signal_id"]


async def test_a_signal_with_a_key_counts_once(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(definition([WAIT, ASK], ["wait>ask"]))
    key = {"Idempotency-Key": "payment-1"}
    body = {"name": "paid", "payload": {"amount": 5}}

    first = await post(client, run_id, "signals", body, **key)
    again = await post(client, run_id, "signals", body, **key)
    other = await client.post(f"/v1/runs/{run_id}/signals", json={"name": "paid"}, headers=key)

    assert first == again
    assert_problem(other, 409, "idempotency-conflict")
    assert engine.kinds(run_id).count("signal_received") == 1
    bad = await client.post(f"/v1/runs/{run_id}/signals", json=body, headers={"Idempotency-Key": ""})
    assert_problem(bad, 422, "invalid-value")


async def test_a_run_is_paused_and_resumed(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start(plain())
    assert await post(client, run_id, "pause") == {"run_id": str(run_id), "status": "paused"}
    assert (await post(client, run_id, "pause"))["status"] == "paused"
    engine.run()
    assert engine.status(run_id) == "paused"
    assert (await post(client, run_id, "resume"))["status"] == "running"
    problem = assert_problem(await client.post(f"/v1/runs/{run_id}/resume"), 409, "wrong-state")
    assert "not paused" in problem["detail"]
    engine.run()
    assert engine.status(run_id) == "completed"
    actors = [(h["kind"], h["actor"]) for h in engine.history(run_id)[:2]]
    assert actors == [("run_paused", "ada"), ("run_resumed", "ada")]


async def test_a_cancelled_run_undoes_what_it_has_done_if_that_is_asked_for(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    node = {"id": "a", "function": "a", "compensate": "undo_a"}
    run_id = engine.start(definition([node, ASK], ["a>ask"]))
    engine.run()
    answer = await post(client, run_id, "cancel", {"compensate": True, "reason": "not needed"})
    assert answer["status"] == "running"
    engine.run()
    assert engine.status(run_id) == "cancelled"
    assert "step_undone" in engine.kinds(run_id)


async def test_a_failed_run_is_retried_with_other_arguments(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(plain())
    engine.run({"b": breaks})
    answer = await post(client, run_id, "retry", {"node": "b", "input": {"x": 1}})
    assert answer == {"run_id": str(run_id), "status": "running"}
    engine.run({"b": lambda step: step.argument})
    assert engine.state(run_id) == {"x": 1}
    assert_problem(await client.post(f"/v1/runs/{run_id}/retry"), 409, "wrong-state")


async def test_a_step_is_skipped_with_the_output_that_it_is_to_have_given(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    into = {"id": "a", "function": "a", "into": "given"}
    runs = [engine.start(definition([into, "b"], ["a>b"])) for _ in range(3)]
    engine.run({"a": breaks})
    for run_id, body in zip(runs, (None, {"output": None}, {"output": [1]}), strict=True):
        assert (await post(client, run_id, "skip", body))["status"] == "running"
    assert [engine.state(run_id)["given"] for run_id in runs] == [{}, None, [1]]
    problem = assert_problem(
        await client.post(f"/v1/runs/{runs[0]}/skip", json={"node": "nowhere"}), 409, "wrong-state"
    )
    assert "nowhere" in problem["detail"]


async def test_a_fork_begins_where_it_is_told_with_another_state(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(chain("a b c"), {"n": 1})
    engine.run({"a": {"a": 1}})
    answer = await client.post(
        f"/v1/runs/{run_id}/fork", json={"node": "b", "state": {"n": 2}, "labels": {"why": "a test"}}
    )
    assert answer.status_code == 201
    assert answer.json()["forked_from"] == str(run_id)
    fork = UUID(answer.json()["run_id"])
    assert engine.state(fork) == {"n": 2, "a": 1}
    assert [step["node"] for step in engine.live(fork)] == ["b"]
    [row] = engine.rows("select initiator, labels from pgorch.run_list where run_id = %s", fork)
    assert row == {"initiator": "ada", "labels": {"why": "a test"}}
    assert engine.status(run_id) == "completed"
    first = await post(client, run_id, "fork", {"seq": 0})
    assert [step["node"] for step in engine.live(UUID(first["run_id"]))] == ["a"]


async def test_a_run_moves_to_another_version_after_a_dry_run(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    engine.graph({**asking(), "name": "g"})
    run_id = engine.start("g")
    engine.run()
    with_more = {**asking(), "name": "g", "timeout": "1 day"}
    second = engine.graph(with_more)
    engine.graph({**plain(), "name": "g"})

    dry = await post(client, run_id, "move", {"graph": "g@2", "dry_run": True})
    assert dry == {"run_id": str(run_id), "moved": False, "graph_id": second, "problems": []}
    in_the_way = await post(client, run_id, "move", {"graph": "g", "dry_run": True})
    assert in_the_way["problems"] == ["it is at ask, which version 3 has not"]
    assert_problem(await client.post(f"/v1/runs/{run_id}/move", json={"graph": "g@3"}), 409, "wrong-state")
    done = await post(client, run_id, "move", {"graph": "g@2"})
    assert done == {"run_id": str(run_id), "moved": True, "graph_id": second, "problems": []}
    assert_problem(await client.post(f"/v1/runs/{run_id}/move", json={"graph": "g@9"}), 404, "not-found")


async def test_an_unknown_run_is_not_found_by_any_verb(client: httpx.AsyncClient, engine: Engine) -> None:
    engine.graph({**plain(), "name": "g"})
    for verb in VERBS:
        for run_id in (UNKNOWN, "the-last-one"):
            response = await client.post(f"/v1/runs/{run_id}/{verb}", json=BODIES.get(verb, {}))
            assert_problem(response, 404, "not-found")


async def test_a_run_that_has_ended_is_not_steered(client: httpx.AsyncClient, engine: Engine) -> None:
    engine.graph({**plain(), "name": "g"})
    run_id = engine.start("g")
    engine.run()
    before = engine.history(run_id)
    for verb in set(VERBS) - {"fork"}:
        response = await client.post(f"/v1/runs/{run_id}/{verb}", json=BODIES.get(verb, {}))
        problem = assert_problem(response, 409, "wrong-state")
        assert "completed" in problem["detail"]
    assert engine.history(run_id) == before


WRONG: list[tuple[str, Any, str]] = [
    ("signals", {}, "/name"),
    ("signals", {"name": ""}, "/name"),
    ("signals", {"name": "x" * 201}, "/name"),
    ("signals", {"name": "x", "data": {}}, "/data"),
    ("cancel", {"compensate": "yes"}, "/compensate"),
    ("retry", {"item": -1}, "/item"),
    ("retry", {"node": 5}, "/node"),
    ("retry", {"output": {}}, "/output"),
    ("skip", {"item": 2**31}, "/item"),
    ("skip", {"input": {}}, "/input"),
    ("fork", {}, ""),
    ("fork", {"seq": 1, "node": "a"}, ""),
    ("fork", {"seq": -1}, "/seq"),
    ("fork", {"seq": 1, "state": []}, "/state"),
    ("fork", {"seq": 1, "labels": {"a": 1}}, "/labels/a"),
    ("move", {}, "/graph"),
    ("move", {"graph": "g", "dry_run": 1}, "/dry_run"),
]


async def test_what_does_not_fit_is_refused_with_a_pointer_and_changes_nothing(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    run_id = engine.start(plain())
    for verb, body, pointer in WRONG:
        response = await client.post(f"/v1/runs/{run_id}/{verb}", json=body)
        problem = assert_problem(response, 422, "invalid-value")
        assert [error["pointer"] for error in problem["errors"]] == [pointer], (verb, body)
    for verb in ("signals", "fork", "move"):
        assert_problem(await client.post(f"/v1/runs/{run_id}/{verb}"), 400, "not-json")
    # What SQL alone can tell.
    assert_problem(await client.post(f"/v1/runs/{run_id}/fork", json={"seq": 9}), 422, "invalid-value")
    large = {"name": "x", "payload": "x" * 1_100_000}
    assert_problem(await client.post(f"/v1/runs/{run_id}/signals", json=large), 422, "invalid-value")
    assert engine.kinds(run_id) == []
    assert engine.value("select count(*) from pgorch.runs") == 1


async def steer(client: httpx.AsyncClient, action: str, filter: Any, **more: Any) -> Any:
    response = await client.post("/v1/runs/bulk", json={"action": action, "filter": filter, **more})
    assert response.status_code == 200, response.text
    return response.json()


async def test_many_runs_are_steered_after_a_dry_run(client: httpx.AsyncClient, engine: Engine) -> None:
    engine.graph({**plain(), "name": "g"})
    runs = sorted(str(engine.start("g", {"n": n})) for n in range(3))

    dry = await steer(client, "cancel", {"graph": "g"})
    assert dry == {
        "action": "cancel",
        "dry_run": True,
        "runs": [{"run_id": run_id, "status": "running", "problem": None} for run_id in dry_ids(dry)],
        "more": False,
    }
    assert sorted(dry_ids(dry)) == runs
    two = await steer(client, "cancel", {"graph": "g"}, dry_run=False, limit=2, arguments={"reason": "x"})
    assert [run["status"] for run in two["runs"]] == ["cancelled"] * 2
    assert two["more"] is True
    rest = await steer(client, "cancel", {"graph": "g", "state": {}, "labels": {}}, dry_run=False)
    assert len(rest["runs"]) == 1
    assert {engine.history(UUID(run_id))[-1]["actor"] for run_id in runs} == {"ada"}


def dry_ids(answer: Any) -> list[str]:
    return [run["run_id"] for run in answer["runs"]]


async def test_a_problem_with_one_of_many_is_told(client: httpx.AsyncClient, engine: Engine) -> None:
    engine.graph(definition([ASK, "old"], ["ask>old"], name="g"))
    waits, stands = engine.start("g"), engine.start("g")
    engine.approve(stands)
    engine.graph(definition([ASK, "new"], ["ask>new"], name="g"))
    answer = await steer(client, "move", {}, arguments={"graph": "g"}, dry_run=False)
    problems = {run["run_id"]: run["problem"] for run in answer["runs"]}
    assert problems[str(waits)] is None
    assert "it is at old" in problems[str(stands)]


async def test_many_runs_are_never_meant_by_a_mistake(client: httpx.AsyncClient, engine: Engine) -> None:
    run_id = engine.start({**plain(), "name": "g"})
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"filter": {}}, "/action"),
        ({"action": "cancel"}, "/filter"),
        ({"action": "delete", "filter": {}}, "/action"),
        ({"action": "cancel", "filter": {"grahp": "g"}}, "/filter/grahp"),
        ({"action": "cancel", "filter": {"graph": None}}, "/filter/graph"),
        ({"action": "cancel", "filter": {"graph": ""}}, "/filter/graph"),
        ({"action": "cancel", "filter": {"labels": None}}, "/filter/labels"),
        ({"action": "cancel", "filter": {}, "dry_run": None}, "/dry_run"),
        ({"action": "cancel", "filter": {}, "limit": 0}, "/limit"),
        ({"action": "cancel", "filter": {}, "limit": 5001}, "/limit"),
    ]
    for body, pointer in wrong:
        response = await client.post("/v1/runs/bulk", json={"dry_run": False, **body})
        problem = assert_problem(response, 422, "invalid-value")
        assert [error["pointer"] for error in problem["errors"]] == [pointer]
    only_sql: list[dict[str, Any]] = [
        {"action": "cancel", "filter": {"status": "completed"}},
        {"action": "cancel", "filter": {"created_before": "soon"}},
        {"action": "cancel", "filter": {}, "arguments": {"resaon": "x"}},
        {"action": "move", "filter": {}},
    ]
    for body in only_sql:
        response = await client.post("/v1/runs/bulk", json={"dry_run": False, **body})
        assert_problem(response, 422, "invalid-value")
    unknown = {"action": "cancel", "filter": {"graph": "h"}, "dry_run": False}
    assert_problem(await client.post("/v1/runs/bulk", json=unknown), 404, "not-found")
    assert engine.status(run_id) == "running"


async def test_a_graph_is_deleted_once_and_only_unused(client: httpx.AsyncClient, engine: Engine) -> None:
    used = engine.graph({**plain(), "name": "g"})
    engine.start("g")
    unused = engine.graph({**chain("a b c"), "name": "g"})
    response = await client.delete("/v1/graphs/g@2")
    assert response.status_code == 200
    assert response.json() == {"graph_id": unused, "name": "g", "version": 2, "watched": []}
    assert_problem(await client.delete("/v1/graphs/g@2"), 404, "not-found")
    problem = assert_problem(await client.delete(f"/v1/graphs/{used}"), 409, "wrong-state")
    assert "has runs" in problem["detail"]


async def test_an_approval_is_not_skipped_by_an_operator(
    app: Starlette, database: str, engine: Engine
) -> None:
    run_id = engine.start(
        definition([{"id": "ok", "type": "approval", "assignees": ["role:finance"]}]), actor="ann"
    )
    path = f"/v1/runs/{run_id}/skip"
    for roles, status in (("operator",), 403), (("operator", "finance"), 200):
        async with client_of(app, make_key(database, *roles, principal="-".join(roles))) as client:
            assert (await client.post(path)).status_code == status
    run_id = engine.start(definition([{"id": "ok", "type": "approval", "quorum": 2}]))
    async with client_of(app, make_key(database)) as client:
        assert (await client.post(f"/v1/runs/{run_id}/skip")).status_code == 200
