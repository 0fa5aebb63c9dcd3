"""What the agent's graph is made of: a call of the model, a call of a tool, and the tools themselves.

The model is whatever speaks chat-completions at PGORCH_AGENT_URL (http://host/v1), by the name in
PGORCH_AGENT_MODEL and with the key in PGORCH_AGENT_KEY. The demo sets the first to its stand-in.
"""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psycopg

from demos.agent.stand_in_model import NAME as STAND_IN
from pgorch import Context, InvalidArguments, Registry, tool
from pgorch.config import resolve_dsn

HERE = Path(__file__).parent
RISKY = frozenset({"refund"})
_SETUP_LOCK = 0x6167656E74  # "agent"

# What the model may ask for. They are no tools of the graph: that has one, call_tool, which calls these.
shop = Registry()


class ModelRefused(Exception):
    """The endpoint did not like the request; the same request will not fare better."""

    retryable = False


@shop.tool
def look_up_order(number: int, ctx: Context) -> dict[str, Any]:
    """Find an order by its number."""
    found = ctx.connection.execute(
        "select item, price, status from agent.orders where number = %s", [number]
    ).fetchone()
    if found is None:
        raise LookupError(f"There is no order {number}.")
    return {"number": number, "item": found[0], "price": float(found[1]), "status": found[2]}


@shop.tool
def refund(number: int, amount: float, ctx: Context) -> dict[str, Any]:
    """Give money back for an order."""
    ctx.connection.execute(
        "insert into agent.refunds (run_id, number, amount) values (%s, %s, %s)", [ctx.run_id, number, amount]
    )
    return {"number": number, "refunded": amount}


@tool(retry={"max_attempts": 4, "initial_interval": "1 second"}, timeout="2 minutes")
def call_model(messages: list[dict[str, Any]], ctx: Context) -> dict[str, Any]:
    """Ask the model for its next message.

    Args:
        messages: The conversation so far.
    """
    said = _complete({"messages": messages, "tools": [_described(name) for name in shop]}, ctx)
    message = said["choices"][0]["message"]
    # Of what an endpoint says beyond these it may want nothing back.
    kept = {key: message[key] for key in ("role", "content", "tool_calls") if key in message}
    calls = [_asked_for(call) for call in message.get("tool_calls") or []]
    risky = sorted({call["name"] for call in calls} & RISKY)
    return {
        "messages": [kept],
        "calls": calls,
        "risky": ", ".join(risky),
        "answer": message.get("content"),
    }


@tool(transactional=True)
def call_tool(id: str, name: str, arguments: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Call one tool for the model. What the tool writes commits with the checkpoint of this call.

    An error of the tool is an answer for the model, who may know better; none of the graph.
    """
    _leave_trace(id, name, ctx)
    try:
        if name not in shop:
            raise LookupError(f"There is no tool {name}, only {', '.join(shop)}.")
        with ctx.connection.transaction():
            result = shop[name].function(**shop[name].bind(arguments, {}, ctx))
    except (LookupError, InvalidArguments, psycopg.errors.DataError) as problem:
        result = {"error": str(problem)}
    return {"role": "tool", "tool_call_id": id, "content": json.dumps(result)}


@tool
def refuse_calls(calls: list[dict[str, Any]], decision: dict[str, Any]) -> dict[str, Any]:
    """Tell the model that a person does not allow these calls."""
    said = json.dumps({"refused": decision.get("comment", "")})
    return {"messages": [{"role": "tool", "tool_call_id": call["id"], "content": said} for call in calls]}


def _asked_for(call: dict[str, Any]) -> dict[str, Any]:
    """A call as the model writes it, whose arguments are JSON in a text and may be none."""
    try:
        arguments = json.loads(call["function"]["arguments"] or "{}")
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        arguments = {"unreadable": call["function"]["arguments"]}
    return {"id": call["id"], "name": call["function"]["name"], "arguments": arguments}


def _described(name: str) -> dict[str, Any]:
    described = shop[name]
    return {
        "type": "function",
        "function": {"name": name, "description": described.description, "parameters": described.parameters},
    }


def _complete(body: dict[str, Any], ctx: Context) -> Any:
    address = os.environ.get("PGORCH_AGENT_URL")
    if not address:
        raise ModelRefused(
            "There is no model: set PGORCH_AGENT_URL, http://127.0.0.1:8010/v1 for a stand-in."
        )
    request = urllib.request.Request(
        address.rstrip("/") + "/chat/completions",
        data=json.dumps({"model": os.environ.get("PGORCH_AGENT_MODEL", STAND_IN), **body}).encode(),
        headers={"content-type": "application/json", "idempotency-key": ctx.idempotency_key},
    )
    if key := os.environ.get("PGORCH_AGENT_KEY"):
        request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=ctx.remaining() or 120) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            said = f"{error.code}: {error.read(1000).decode(errors='replace')}"
        if error.code in (408, 409, 429) or error.code >= 500:
            raise RuntimeError(f"The model answered {said}") from None
        raise ModelRefused(f"The model answered {said}") from None


def _leave_trace(call_id: str, name: str, ctx: Context) -> None:
    """Say at once that this call has begun, so that one that dies or is repeated leaves a trace."""
    with psycopg.connect(resolve_dsn(None) or "") as connection:
        connection.execute("select pg_advisory_xact_lock(%s)", [_SETUP_LOCK])
        connection.execute((HERE / "tables.sql").read_bytes())
        connection.execute(
            "insert into agent.calls (run_id, call_id, tool, process) values (%s, %s, %s, %s)",
            [ctx.run_id, call_id, name, os.getpid()],
        )
