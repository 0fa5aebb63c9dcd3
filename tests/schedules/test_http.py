"""Schedules over HTTP."""

from datetime import datetime

import httpx
import jsonschema  # type: ignore[import-untyped]
import pytest

from tests.api.conftest import app, client, key
from tests.api.driving import assert_problem, client_of, make_key
from tests.schedules.conftest import Place

__all__ = ["app", "client", "key"]

BODY = {"graph": "report", "cron": "0 2 * * *", "time_zone": "Europe/Berlin"}


async def test_a_schedule_from_its_creation_to_its_end(client: httpx.AsyncClient, place: Place) -> None:
    place.it_is("2025-01-01 00:00")
    url = "/v1/schedules/nightly"
    created = await client.put(url, json={**BODY, "input": {"a": 1}, "catch_up_window": "2 hours"})
    assert (created.status_code, created.json()) == (200, {"name": "nightly", "created": True})
    assert (await client.put(url, json=BODY)).json() == {"name": "nightly", "created": False}

    place.day("2025-01-01 00:01", "2025-01-01 01:00")
    shown = (await client.get(url)).json()
    assert [each[:16] for each in shown["next_times"]] == [f"2025-01-0{day}T02:00" for day in range(2, 7)]
    assert shown["next_times"][0].endswith("+01:00")
    assert datetime.fromisoformat(shown["next_due"]) == datetime.fromisoformat(shown["next_times"][0])
    assert [firing["outcome"] for firing in shown["firings"]] == ["started"]
    assert shown["updated_by"] == "ada"

    assert (await client.post(f"{url}/pause")).json() == {"name": "nightly", "paused": True, "changed": True}
    assert (await client.post(f"{url}/pause")).json()["changed"] is False
    assert (await client.get(url)).json()["next_due"] is None
    assert (await client.post(f"{url}/resume")).json() == {
        "name": "nightly",
        "paused": False,
        "changed": True,
    }

    assert_problem(await client.post(f"{url}/trigger"), 409, "wrong-state")
    headers = {"idempotency-key": "k"}
    triggered = await client.post(f"{url}/trigger", json={"overlap": "allow"}, headers=headers)
    again = await client.post(f"{url}/trigger", json={"overlap": "allow"}, headers=headers)
    assert triggered.status_code == 201
    assert again.json() == triggered.json()
    run = (await client.get(f"/v1/runs/{triggered.json()['run_id']}")).json()
    assert run["initiator"] == "ada"

    assert (await client.delete(url)).json() == {"name": "nightly", "deleted": True}
    assert_problem(await client.get(url), 404, "not-found")


async def test_answers_are_what_openapi_says(client: httpx.AsyncClient, place: Place) -> None:
    place.create("plain", labels={"a": "b"})
    place.create("fired", cron="* * * * *")
    place.value("select pgorch.trigger_schedule('fired')")
    document = (await client.get("/openapi.json")).json()
    for method, path, name in (
        ("GET", "/v1/schedules", "plain"),
        ("GET", "/v1/schedules/{name}", "plain"),
        ("GET", "/v1/schedules/{name}", "fired"),
        ("PUT", "/v1/schedules/{name}", "plain"),
        ("POST", "/v1/schedules/{name}/pause", "plain"),
        ("POST", "/v1/schedules/{name}/resume", "plain"),
        ("POST", "/v1/schedules/{name}/trigger", "plain"),
        ("DELETE", "/v1/schedules/{name}", "plain"),
    ):
        body = BODY if method == "PUT" else None
        response = await client.request(method, path.format(name=name), json=body)
        assert response.is_success, response.text
        described = document["paths"][path][method.lower()]["responses"][str(response.status_code)]
        schema = {**described["content"]["application/json"]["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(response.json())


async def test_schedules_are_listed_by_name_in_pages(client: httpx.AsyncClient, place: Place) -> None:
    for name in "dbace":
        place.create(name)
    page = (await client.get("/v1/schedules?limit=3")).json()
    rest = (await client.get(f"/v1/schedules?limit=3&cursor={page['next_cursor']}")).json()
    assert [schedule["name"] for schedule in page["schedules"]] == ["a", "b", "c"]
    assert [schedule["name"] for schedule in rest["schedules"]] == ["d", "e"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("change", "status", "kind", "said"),
    [
        ({"cron": "0 25 * * *"}, 422, "invalid-value", "is no hour"),
        ({"cron": "@daily"}, 422, "invalid-value", "has five fields"),
        ({"cron": "0 0 30 2 *"}, 422, "invalid-value", "is never due"),
        ({"cron": None}, 422, "invalid-value", ""),
        ({"time_zone": "Berlin"}, 422, "invalid-value", "there is no time zone"),
        ({"overlap": "maybe"}, 422, "invalid-value", ""),
        ({"catch_up_window": "a week or so"}, 422, "invalid-value", "a week or so"),
        ({"graph": "repart"}, 404, "not-found", "there is no graph"),
        ({"surprise": 1}, 422, "invalid-value", ""),
    ],
)
async def test_a_bad_description_is_refused(
    client: httpx.AsyncClient, place: Place, change: dict[str, object], status: int, kind: str, said: str
) -> None:
    response = await client.put("/v1/schedules/nightly", json={**BODY, **change})
    problem = assert_problem(response, status, kind)
    assert said in problem["detail"]
    assert place.rows("select from pgorch.schedules") == []


async def test_each_role_may_do_its_part(app: object, database: str, place: Place) -> None:
    place.create()
    asked = [
        ("GET", "/v1/schedules", "viewer"), ("GET", "/v1/schedules/nightly", "viewer"),
        ("POST", "/v1/schedules/nightly/pause", "operator"),
        ("POST", "/v1/schedules/nightly/resume", "operator"),
        ("POST", "/v1/schedules/nightly/trigger", "operator"),
        ("PUT", "/v1/schedules/nightly", "admin"), ("DELETE", "/v1/schedules/nightly", "admin"),
    ]  # fmt: skip
    rank = ["viewer", "operator", "admin"]
    for role in rank:
        async with client_of(app, make_key(database, role)) as client:  # type: ignore[arg-type]
            for method, path, needed in asked:
                response = await client.request(method, path, json=BODY if method == "PUT" else None)
                assert (response.status_code == 403) is (rank.index(role) < rank.index(needed)), (role, path)
