"""The route table: everything that the API serves, in one place. OpenAPI is written from it.

The five endpoints of the mission are names for resources under /v1; the same handlers serve both.
"""

from typing import Any, Final

from pgorch.api import approvals, events, graphs, health, inventory, models, runs
from pgorch.api.endpoint import Endpoint
from pgorch.api.parameters import CURSOR, IDEMPOTENCY_KEY, LIMIT, PREFER, RUN_ID, WAIT

_GRAPH_BODY: Final[dict[str, Any]] = {
    "type": "object",
    "description": "A graph. Everything that is wrong with it is told at once, as a problem of status 422.",
    "required": ["nodes", "edges", "start_node"],
    "properties": {
        "name": {"type": "string", "description": "The same name with other content is the next version."},
        "nodes": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string"},
                    "type": {"enum": ["task", "approval", "pass", "fail"], "default": "task"},
                    "function": {"type": "string", "description": "The tool that a task calls."},
                },
            },
        },
        "edges": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["source", "target"],
                "properties": {
                    "source": {"type": "string"},
                    "target": {"type": "string"},
                    "condition": {"description": "SQL/JSON path, or an object that the state contains."},
                },
            },
        },
        "start_node": {"type": "string"},
    },
}
_ANYTHING: Final[dict[str, Any]] = {"type": "object"}
_STARTS: Final = ("not-found", "idempotency-conflict")
_DECIDES: Final = ("not-found", "wrong-state")
_DECIDE_TEXT: Final = "Decide the open approval of a run; without a body it is approved"

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    # The mission.
    Endpoint("POST", "/graph/run", runs.start, "Start a run, or many", models.Started, "mission",
             body=models.RunRequest, parameters=(IDEMPOTENCY_KEY,), problems=_STARTS),
    Endpoint("POST", "/graph/resume/{run_id}", approvals.decide_run, _DECIDE_TEXT, models.Decided, "mission",
             body=models.RunDecisionRequest, body_required=False, parameters=(RUN_ID,), problems=_DECIDES),
    Endpoint("GET", "/graph/state/{run_id}", runs.show, "Everything about a run", models.Run, "mission",
             parameters=(RUN_ID, WAIT, PREFER), problems=("not-found",)),
    Endpoint("POST", "/graph/create", graphs.create, "Create a graph", models.CreatedGraph, "mission",
             body=_GRAPH_BODY, problems=("invalid-graph",)),
    Endpoint("GET", "/tools", inventory.served_tools, "Tools that a living worker serves", models.ToolList,
             "mission"),
    # The resources.
    Endpoint("POST", "/v1/runs", runs.start, "Start a run, or many", models.Started, "runs", 201,
             body=models.RunRequest, parameters=(IDEMPOTENCY_KEY,), problems=_STARTS),
    Endpoint("GET", "/v1/runs", runs.list_, "Runs, newest first", models.RunPage, "runs",
             parameters=(runs.STATUS, runs.GRAPH, LIMIT, CURSOR), problems=("not-found",)),
    Endpoint("GET", "/v1/runs/{run_id}", runs.show, "Everything about a run", models.Run, "runs",
             parameters=(RUN_ID, WAIT, PREFER), problems=("not-found",)),
    Endpoint("GET", "/v1/runs/{run_id}/state", runs.show_state, "The state of a run", _ANYTHING, "runs",
             parameters=(RUN_ID,), problems=("not-found",)),
    Endpoint("GET", "/v1/runs/{run_id}/events", events.stream, "The events of a run, as they happen",
             models.Event, "runs", parameters=(RUN_ID, events.AFTER, events.LAST_EVENT_ID),
             problems=("not-found",), media_types=("text/event-stream", "application/x-ndjson"),
             other_statuses={204: "The run has ended and has no event after this one."}),
    Endpoint("POST", "/v1/runs/{run_id}/decide", approvals.decide_run, _DECIDE_TEXT, models.Decided, "runs",
             body=models.RunDecisionRequest, body_required=False, parameters=(RUN_ID,), problems=_DECIDES),
    Endpoint("POST", "/v1/runs/{run_id}/cancel", runs.cancel, "End a run", models.Cancelled, "runs",
             body=models.CancelRequest, body_required=False, parameters=(RUN_ID,), problems=_DECIDES),
    Endpoint("GET", "/v1/approvals", approvals.list_, "Open approvals, oldest first",
             models.ApprovalPage, "approvals",
             parameters=(approvals.GRAPH, LIMIT, CURSOR)),
    Endpoint("POST", "/v1/approvals/{approval_id}/decide", approvals.decide, "Decide an approval",
             models.Decided, "approvals", body=models.DecisionRequest, parameters=(approvals.APPROVAL_ID,),
             problems=_DECIDES),
    Endpoint("POST", "/v1/graphs", graphs.create, "Create a graph", models.CreatedGraph, "graphs", 201,
             body=_GRAPH_BODY, problems=("invalid-graph",)),
    Endpoint("POST", "/v1/graphs/validate", graphs.validate, "Check a graph without creating it",
             models.Validation, "graphs", body=_GRAPH_BODY),
    Endpoint("GET", "/v1/graphs", graphs.list_, "Versions of graphs, newest first", models.GraphPage,
             "graphs", parameters=(graphs.NAME, LIMIT, CURSOR)),
    Endpoint("GET", "/v1/graphs/{graph}", graphs.show, "A version of a graph", models.Graph, "graphs",
             parameters=(graphs.GRAPH,), problems=("not-found",)),
    Endpoint("GET", "/v1/tools", inventory.all_tools, "All tools ever registered", models.ToolList, "tools"),
    Endpoint("GET", "/v1/workers", inventory.workers, "Worker processes", models.WorkerList, "workers"),
    Endpoint("GET", "/v1/queues", inventory.queues, "How much waits to be claimed", models.QueueList,
             "queues"),
    # The process.
    Endpoint("GET", "/livez", health.live, "Does this process answer?", models.Health, "process",
             needs_database=False),
    Endpoint("GET", "/readyz", health.ready, "Can it serve: is the database there, with a schema that fits?",
             models.Health, "process", problems=("schema-mismatch",)),
)  # fmt: skip
