"""The agent demo, told and checked."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from demos.machinery import Machinery
from demos.story import ask, claim, steps_of, tell, wait_for

GRAPH = Path(__file__).parent / "graph.json"
REAL = "PGORCH_AGENT_URL"
COMPLAINT = "My order 1042 arrived broken, and 1043 has not come at all. Please refund the broken one."
SYSTEM = "You answer for a shop. Look up orders before you promise anything, and refund what arrived broken."
REASON = "No refunds without a photograph."


def play(machinery: Machinery, yes: bool) -> None:
    """A conversation that is cut off by kill -9, then reviewed. Disproved if it goes otherwise."""
    graph_id = machinery.api.post("/graph/create", json.loads(GRAPH.read_text()))["graph_id"]
    tell(f'A customer writes: "{COMPLAINT}"')
    if os.environ.get(REAL):
        _talk_to_a_real_model(machinery, graph_id, yes)
        return
    model = machinery.model
    model.forget()
    tell(f"The model is a stand-in, a script at {model.address} that counts calls; {REAL} names a real one.")
    hold = model.hold(2)
    run_id = _start(machinery, graph_id)
    wait_for("The model is asked a second time", hold.reached.is_set)
    claim(
        "the model has asked for two look-ups, which ran side by side, and is being asked again",
        model.turns == {1: 1, 2: 1} and _tools(machinery, run_id) == {"look_up_order": 2},
    )
    victim = _kill_who_asks(machinery, run_id)
    hold.released.set()
    document = machinery.settled(run_id, "awaiting_approval")
    claim(
        "another worker goes on. The model was asked again what it was being asked, and nothing else",
        model.turns == {1: 1, 2: 2} and _kinds(document, "attempt_lost") == ["model"],
    )
    claim(
        "and no look-up was repeated",
        _tools(machinery, run_id) == {"look_up_order": 2} and _repeated(machinery, run_id) == [],
    )
    machinery.start_workers(victim)

    claim(
        "the model wants to refund 179.00 for a lamp of 89.50, which a person has to allow",
        _wanted(document) == {"number": 1042, "amount": 179.0} and _refunds(machinery, run_id) == [],
    )
    decision = _decide(machinery, run_id, document, yes)
    document = machinery.settled(run_id, "completed")
    if decision == "approved":
        claim("approved with another amount: 89.50 are refunded, once", _refunds(machinery, run_id) == [89.5])
        claim("each call of the run began once", _repeated(machinery, run_id) == [])
    else:
        claim("rejected: nothing is refunded, and the model is told why", _refunds(machinery, run_id) == [])
    tell(f'The answer: "{document["state"]["answer"]}"')
    claim(
        "the model knows what was done, not what it wanted",
        ("89.50" if decision == "approved" else REASON) in document["state"]["answer"],
    )
    claim(
        "three turns, four calls of the model: only the one that was cut off was made twice",
        model.turns == {1: 1, 2: 2, 3: 1} and steps_of(document).count("model") == 3,
    )


def _talk_to_a_real_model(machinery: Machinery, graph_id: str, yes: bool) -> None:
    """What a real model says is its own affair; to be claimed is that the run ends and repeats nothing."""
    run_id = _start(machinery, graph_id)

    def settled() -> Any:
        document = machinery.api.state(run_id, wait=30)
        return document if document["status"] in ("awaiting_approval", "completed", "failed") else None

    while (document := wait_for("The model answers", settled, 300))["status"] == "awaiting_approval":
        _decide(machinery, run_id, document, yes, edited=False)
    claim("the conversation has come to an end", document["status"] == "completed")
    claim("no call of a tool began twice", _repeated(machinery, run_id) == [])
    tell(f'The answer: "{document["state"]["answer"]}"')


def _start(machinery: Machinery, graph_id: str) -> str:
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": COMPLAINT}]
    body = {"graph_id": graph_id, "initial_state": {"messages": messages}}
    return str(machinery.api.post("/graph/run", body)["run_id"])


def _kill_who_asks(machinery: Machinery, run_id: str) -> str:
    rows = machinery.rows(
        "select worker from pgorch.live_steps where run_id = %s and node = 'model' and status = 'running'",
        run_id,
    )
    victim = str(rows[0]["worker"])
    tell(f"kill -9 {machinery.kill(victim)}: {victim} was waiting for the model's answer.")
    return victim


def _decide(machinery: Machinery, run_id: str, document: Any, yes: bool, edited: bool = True) -> str:
    """Approve, with the price of the lamp instead of what the model wanted, or reject."""
    [approval] = document["approvals"]
    calls = approval["show"]["calls"]
    tell(f"{approval['title']} {json.dumps([call['arguments'] for call in calls])}")
    edits = {}
    if edited:
        cheaper = [{**call, "arguments": {**call["arguments"], "amount": 89.5}} for call in calls]
        edits = {"data": {"calls": cheaper}}
    decision: str | None = "approved"
    if not yes:
        address = f"{machinery.api.address}/graph/resume/{run_id}"
        body = json.dumps({"decision": "approved", **edits})
        decision = ask(
            "Shall it? With y it is 89.50 instead." if edited else "Shall it?",
            lambda: machinery.api.state(run_id),
            [f"curl {address} -H 'content-type: application/json' -d '{body}'"],
        )
    if decision == "approved":
        machinery.api.post(f"/graph/resume/{run_id}", {"decision": decision, **edits})
    elif decision:
        machinery.api.post(f"/graph/resume/{run_id}", {"decision": decision, "comment": REASON})
    history = machinery.api.state(run_id)["history"]
    made = next(event for event in reversed(history) if event["kind"] == "approval_decided")
    return str(made["output"]["decision"])


def _wanted(document: Any) -> Any:
    [approval] = document["approvals"]
    [call] = approval["show"]["calls"]
    return call["arguments"]


def _kinds(document: Any, kind: str) -> list[str]:
    return [event["node"] for event in document["history"] if event["kind"] == kind]


def _tools(machinery: Machinery, run_id: str) -> Counter[str]:
    return Counter(
        row["tool"] for row in machinery.rows("select tool from agent.calls where run_id = %s", run_id)
    )


def _repeated(machinery: Machinery, run_id: str) -> list[str]:
    """The calls of tools that began more than once."""
    rows = machinery.rows(
        "select call_id from agent.calls where run_id = %s group by call_id having count(*) > 1", run_id
    )
    return [row["call_id"] for row in rows]


def _refunds(machinery: Machinery, run_id: str) -> list[float]:
    rows = machinery.rows("select amount from agent.refunds where run_id = %s", run_id)
    return [float(row["amount"]) for row in rows]
