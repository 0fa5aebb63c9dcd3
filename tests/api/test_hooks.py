"""Hooks over HTTP, for administrators."""

import logging
from typing import Any

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest

from tests.api.driving import asking, assert_problem
from tests.support.engine import Engine
from tests.support.receiver import OTHER_SECRET, SECRET

HOOK = {
    "name": "shop", "url": "https://hooks.example/a", "kinds": ["run_completed", "approval_requested"],
    "secret": SECRET,
}  # fmt: skip


async def created(client: httpx.AsyncClient, **more: Any) -> Any:
    response = await client.post("/v1/hooks", json={**HOOK, **more})
    assert response.status_code == 201, response.text
    return response.json()


async def test_a_hook_is_made_shown_changed_and_deleted(client: httpx.AsyncClient) -> None:
    made = await created(client, graph="mine", allow_private=True)
    assert (made["name"], made["graph"], made["allow_private"]) == ("shop", "mine", True)
    assert (made["status"], made["created_by"]) == ("active", "ada")
    assert (await client.get("/v1/hooks")).json() == {"hooks": [made]}
    for name in ("shop", made["hook_id"]):
        assert (await client.get(f"/v1/hooks/{name}")).json() == made
    changed = await client.patch("/v1/hooks/shop", json={"url": "https://new.example/"})
    assert changed.json() == {**made, "url": "https://new.example/"}
    changed = await client.patch("/v1/hooks/shop", json={"kinds": ["run_failed"]})
    assert changed.json()["kinds"] == ["run_failed"]
    assert (await client.delete("/v1/hooks/shop")).json() == {"hook_id": made["hook_id"]}
    assert_problem(await client.get("/v1/hooks/shop"), 404, "not-found")
    assert (await client.get("/v1/hooks")).json() == {"hooks": []}


async def test_pausing_and_resuming_say_who_did_it(client: httpx.AsyncClient) -> None:
    await created(client)
    paused = (await client.post("/v1/hooks/shop/pause")).json()
    assert (paused["status"], paused["paused_because"]) == ("paused", "paused by ada")
    assert_problem(await client.post("/v1/hooks/shop/test"), 409, "wrong-state")
    resumed = (await client.post("/v1/hooks/shop/resume")).json()
    assert (resumed["status"], resumed["paused_at"]) == ("active", None)


async def test_deliveries_are_paged_and_filtered(client: httpx.AsyncClient, engine: Engine) -> None:
    await created(client)
    graph = engine.graph(asking())
    runs = [engine.start(graph) for _ in range(5)]
    engine.run()
    seen: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get("/v1/hooks/shop/deliveries", params={"limit": "2", **cursor})).json()
        seen += page["deliveries"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert {row["run_id"] for row in seen} == {str(run_id) for run_id in runs}
    assert [row["delivery_id"] for row in seen] == sorted((r["delivery_id"] for r in seen), reverse=True)
    assert {(row["kind"], row["status"], row["attempts"]) for row in seen} == {
        ("approval_requested", "pending", 0)
    }
    chosen = await client.get("/v1/hooks/shop/deliveries", params={"status": "dead"})
    assert chosen.json() == {"deliveries": [], "next_cursor": None}
    wrong = await client.get("/v1/hooks/shop/deliveries", params={"status": "lost"})
    assert_problem(wrong, 422, "invalid-value")


async def test_a_test_message_is_queued(client: httpx.AsyncClient) -> None:
    await created(client)
    response = await client.post("/v1/hooks/shop/test")
    assert response.status_code == 202
    [row] = (await client.get("/v1/hooks/shop/deliveries")).json()["deliveries"]
    assert (row["delivery_id"], row["kind"], row["run_id"]) == (response.json()["delivery_id"], "test", None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://hooks.example/"},
        {"url": "https://a:b@hooks.example/"},
        {"kinds": ["step_completed"]},
        {"kinds": []},
        {"secret": f"{SECRET}!"},
        {"secret": SECRET * 9},
        {"secret": {"is": SECRET}},
        {"secret": None},
        {"name": "a b"},
        {"surprise": SECRET},
        {"name": "a\0"},
    ],
)
async def test_what_makes_no_sense_is_refused_without_repeating_a_secret(
    client: httpx.AsyncClient, wrong: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    response = await client.post("/v1/hooks", json={**HOOK, **wrong})
    assert_problem(response, 422, "invalid-value")
    assert SECRET[6:] not in response.text + caplog.text


async def test_a_name_is_taken_once(client: httpx.AsyncClient) -> None:
    await created(client)
    assert_problem(await client.post("/v1/hooks", json=HOOK), 409, "wrong-state")


async def test_no_answer_shows_a_secret(client: httpx.AsyncClient, engine: Engine) -> None:
    text = str(await created(client))
    engine.start(asking())
    engine.run()
    due = [
        row
        for b in engine.buckets
        for row in engine.rows("select * from pgorch.claim_deliveries(%s, 9, 60)", b)
    ]
    assert due[0]["secrets"] == [SECRET]
    text += (await client.post("/v1/hooks/shop/secret", json={"secret": OTHER_SECRET})).text
    for path in ("/v1/hooks", "/v1/hooks/shop", "/v1/hooks/shop/deliveries"):
        text += (await client.get(path)).text
    text += (await client.post("/v1/hooks/shop/secret")).text
    text += (await client.delete("/v1/hooks/shop")).text
    assert "whsec_" not in text
    assert SECRET[6:] not in text
    assert OTHER_SECRET[6:] not in text


async def test_a_secret_is_replaced_with_both_signing_for_a_while(
    client: httpx.AsyncClient, engine: Engine
) -> None:
    await created(client)
    secrets = "select s.secrets from pgorch._hook_secrets s"
    await client.post("/v1/hooks/shop/secret", json={"secret": OTHER_SECRET})
    assert engine.value(secrets) == [OTHER_SECRET, SECRET]
    await client.post("/v1/hooks/shop/secret", json={})
    assert engine.value(secrets) == [OTHER_SECRET]


async def test_answers_are_what_the_document_says(client: httpx.AsyncClient, engine: Engine) -> None:
    document = (await client.get("/openapi.json")).json()
    await created(client)
    engine.start(asking())
    engine.run()
    for bucket in engine.buckets:
        for row in engine.rows("select * from pgorch.claim_deliveries(%s, 9, 60)", bucket):
            engine.value("select pgorch.record_delivery(%s, %s, 1, 500, null)", bucket, row["id"])

    async def check(method: str, path: str, body: Any = None) -> None:
        response = await client.request(method, path, json=body)
        described = document["paths"][path.replace("/shop", "/{hook}")][method.lower()]["responses"]
        schema = described[str(response.status_code)]["content"][response.headers["content-type"]]["schema"]
        full = {**schema, "components": document["components"]}
        jsonschema.Draft202012Validator(full).validate(response.json())

    for path in ("/v1/hooks", "/v1/hooks/shop", "/v1/hooks/shop/deliveries"):
        await check("GET", path)
    await check("PATCH", "/v1/hooks/shop", {"kinds": ["run_failed"]})
    for path in (
        "/v1/hooks/shop/test",
        "/v1/hooks/shop/pause",
        "/v1/hooks/shop/resume",
        "/v1/hooks/shop/secret",
    ):
        await check("POST", path)
    await check("POST", "/v1/hooks", {**HOOK, "name": "other"})
    await check("DELETE", "/v1/hooks/shop")


async def test_what_was_given_up_is_sent_again(client: httpx.AsyncClient, engine: Engine) -> None:
    await created(client)
    await created(client, name="other")
    delivery = (await client.post("/v1/hooks/shop/test")).json()["delivery_id"]
    path = f"/v1/hooks/shop/deliveries/{delivery}/resend"
    assert_problem(await client.post(path), 409, "wrong-state")
    engine.connection.execute(
        "update pgorch.hook_deliveries set status = 'dead', next_at = null, ended_at = now()"
    )
    assert_problem(await client.post(path.replace("shop", "other")), 404, "not-found")
    answer = await client.post(path)
    assert (answer.status_code, answer.json()) == (202, {"delivery_id": delivery})
    [row] = (await client.get("/v1/hooks/shop/deliveries")).json()["deliveries"]
    assert row["status"] == "pending"
