"""What the clients do."""

import inspect
from collections.abc import Callable
from datetime import datetime
from typing import Any, get_type_hints
from uuid import UUID, uuid4

import psycopg
import pytest

from pgorch.client import AsyncClient, Client
from pgorch.errors import (
    InvalidGraph,
    InvalidValue,
    NotAllowed,
    NotFound,
    WrongState,
)
from pgorch.graph import Graph

Connection = psycopg.Connection[dict[str, Any]]


def test_a_run_is_started_read_approved_and_read_again(client: Client) -> None:
    run_id = client.start("asking", {"a": 1}, idempotency_key="k", actor="postgres")
    run = client.get_run(run_id)
    assert (run.run_id, run.graph, run.version, run.status) == (run_id, "asking", 1, "awaiting_approval")
    assert (run.state, run.error, run.initiator, run.idempotency_key) == ({"a": 1}, None, "postgres", "k")
    assert isinstance(run.graph_id, UUID)
    assert isinstance(run.created_at, datetime)
    assert run.created_at.tzinfo is not None
    assert [approval["title"] for approval in run.approvals] == ["Go on?"]
    assert [node["node"] for node in run.current_nodes] == ["ask"]
    assert not run.ended

    approval_id = client.approve(run_id, data={"by": "me"}, comment="fine")
    assert str(approval_id) == run.approvals[0]["approval_id"]
    run = client.get_run(run_id)
    assert run.status == "completed"
    assert run.ended
    assert run.finished_at is not None
    assert [event["seq"] for event in run.history] == list(range(1, len(run.history) + 1))


async def test_the_async_client_does_the_same(async_client: AsyncClient) -> None:
    first, second = await async_client.start_many("asking", [{"n": 1}, {"n": 2}])
    third = await async_client.start("asking", {"n": 3})
    await async_client.approve(first)
    await async_client.reject(second, comment="no")
    assert await async_client.cancel(third, reason="enough") == "cancelled"
    runs = [await async_client.get_run(id) for id in (first, second, third)]
    assert [(run.status, run.state["n"]) for run in runs] == [
        ("completed", 1), ("failed", 2), ("cancelled", 3),
    ]  # fmt: skip
    assert runs[1].error is not None


def public(kind: type) -> dict[str, Callable[..., Any]]:
    return {n: f for n, f in inspect.getmembers(kind, inspect.isfunction) if not n.startswith("_")}


def test_both_clients_have_the_same_methods() -> None:
    sync, other = public(Client), public(AsyncClient)
    assert sync.keys() == other.keys()
    assert sync.keys() == {
        "approve", "bulk", "cancel", "check_move", "close", "comment", "create_graph", "create_schedule",
        "decide", "delete_graph", "delete_schedule", "drain_worker", "drop_limit", "fork", "get_approval",
        "get_run", "get_schedule", "list_audit", "move", "pause", "pause_schedule", "reassign", "reject",
        "resend_delivery", "resume", "resume_schedule", "retry", "set_limit", "signal", "skip", "start",
        "start_many", "trigger_schedule", "wait",
    }  # fmt: skip
    for name in sync:
        assert inspect.signature(sync[name]) == inspect.signature(other[name]), name
        assert get_type_hints(sync[name]) == get_type_hints(other[name]), name
        assert inspect.iscoroutinefunction(other[name]), name


def test_a_graph_can_be_a_builder_or_json(client: Client) -> None:
    built = Graph("built")
    built.passing("only")
    created = client.create_graph(built)
    assert (created.name, created.version, created.created) == ("built", 1, True)
    assert client.create_graph(built.to_json()).created is False
    assert client.get_run(client.start(created.graph_id)).status == "completed"


def test_ids_can_be_texts(client: Client) -> None:
    run_id = str(client.start("asking"))
    approval = client.get_run(run_id).approvals[0]["approval_id"]
    assert str(client.decide(run_id, "rejected", approval_id=approval)) == approval
    with pytest.raises(InvalidValue, match="'nonsense' is no id"):
        client.get_run("nonsense")


def test_refusals_have_their_classes(client: Client) -> None:
    with pytest.raises(NotFound):
        client.start("nothing")
    with pytest.raises(NotFound):
        client.get_run(uuid4())
    with pytest.raises(InvalidGraph) as caught:
        client.create_graph({"name": "g", "nodes": []})
    assert caught.value.errors
    run_id = client.start("asking")
    client.approve(run_id)
    for answer in (client.approve, client.reject, client.cancel):
        with pytest.raises(WrongState, match="completed"):
            answer(run_id)


def test_what_people_do_with_an_approval(client: Client) -> None:
    run_id = client.start("asking")
    approval_id = client.get_run(run_id).approvals[0]["approval_id"]
    assert str(client.reassign(approval_id, ["role:finance"], comment="not mine")) == approval_id
    assert str(client.comment(approval_id, "Which account?", actor="ann")) == approval_id
    with pytest.raises(NotAllowed, match="bob is not asked"):
        client.approve(run_id, actor="bob", roles=["sales"])
    shown = client.get_approval(approval_id)
    assert (shown["status"], shown["assignees"]) == ("open", ["role:finance"])
    assert [event["kind"] for event in shown["events"]][1:] == ["approval_reassigned", "approval_commented"]
    assert str(client.approve(approval_id=approval_id, actor="bob", roles=["finance"])) == approval_id
    assert client.get_approval(approval_id)["decided_by"] == "bob"


async def test_the_async_client_does_that_too(async_client: AsyncClient) -> None:
    run_id = await async_client.start("asking")
    approval_id = (await async_client.get_run(run_id)).approvals[0]["approval_id"]
    await async_client.reassign(approval_id, ["user:ann"])
    await async_client.comment(approval_id, "Which account?")
    await async_client.reject(approval_id=approval_id, actor="ann", comment="no")
    assert (await async_client.get_approval(approval_id))["comment"] == "no"
    with pytest.raises(NotFound):
        await async_client.get_approval(run_id)
