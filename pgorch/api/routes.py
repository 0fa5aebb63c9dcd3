"""The route table: everything that the API serves, in one place. OpenAPI is written from it.

The five endpoints of the mission are names for resources under /v1; the same handlers serve both. Each names
the permission that it asks for; one without does not import. Graphs are created by administrators alone: a
graph says which tools run, with whose rights.
"""

from typing import Any, Final

from pgorch.api import (
    answers,
    approvals,
    events,
    graphs,
    health,
    hooks,
    inventory,
    requests,
    runs,
    schedules,
)
from pgorch.api.access import Permission
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
_PUBLIC, _READ, _OPERATE = Permission.PUBLIC, Permission.READ, Permission.OPERATE
_HANDLE_APPROVALS = Permission.HANDLE_APPROVALS
_SEE_APPROVALS, _DECIDE, _ADMINISTER = Permission.SEE_APPROVALS, Permission.DECIDE, Permission.ADMINISTER
_ANYTHING: Final[dict[str, Any]] = {"type": "object"}
_STARTS: Final = ("not-found", "idempotency-conflict")
_DECIDES: Final = ("not-found", "wrong-state")
_DECIDE_TEXT: Final = "Decide the open approval of a run; without a body it is approved"

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    # The mission.
    Endpoint("POST", "/graph/run", runs.start, "Start a run, or many", answers.Started, "mission",
             body=requests.RunRequest, parameters=(IDEMPOTENCY_KEY,), problems=_STARTS, permission=_OPERATE),
    Endpoint("POST", "/graph/resume/{run_id}", approvals.decide_run, _DECIDE_TEXT, answers.Decided, "mission",
             body=requests.RunDecisionRequest, body_required=False, parameters=(RUN_ID,), problems=_DECIDES,
             permission=_DECIDE),
    Endpoint("GET", "/graph/state/{run_id}", runs.show, "Everything about a run", answers.Run, "mission",
             parameters=(RUN_ID, WAIT, PREFER), problems=("not-found",), permission=_READ),
    Endpoint("POST", "/graph/create", graphs.create, "Create a graph", answers.CreatedGraph, "mission",
             body=_GRAPH_BODY, problems=("invalid-graph",), permission=_ADMINISTER),
    Endpoint("GET", "/tools", inventory.served_tools, "Tools that a living worker serves", answers.ToolList,
             "mission", permission=_READ),
    # The resources.
    Endpoint("POST", "/v1/runs", runs.start, "Start a run, or many", answers.Started, "runs", 201,
             body=requests.RunRequest, parameters=(IDEMPOTENCY_KEY,), problems=_STARTS, permission=_OPERATE),
    Endpoint("GET", "/v1/runs", runs.list_, "Runs, newest first", answers.RunPage, "runs",
             parameters=(runs.STATUS, runs.GRAPH, LIMIT, CURSOR), problems=("not-found",), permission=_READ),
    Endpoint("GET", "/v1/runs/{run_id}", runs.show, "Everything about a run", answers.Run, "runs",
             parameters=(RUN_ID, WAIT, PREFER), problems=("not-found",), permission=_READ),
    Endpoint("GET", "/v1/runs/{run_id}/state", runs.show_state, "The state of a run", _ANYTHING, "runs",
             parameters=(RUN_ID,), problems=("not-found",), permission=_READ),
    Endpoint("GET", "/v1/runs/{run_id}/events", events.stream, "The events of a run, as they happen",
             answers.Event, "runs", parameters=(RUN_ID, events.AFTER, events.LAST_EVENT_ID),
             problems=("not-found",), media_types=("text/event-stream", "application/x-ndjson"),
             other_statuses={204: "The run has ended and has no event after this one."}, permission=_READ),
    Endpoint("POST", "/v1/runs/{run_id}/decide", approvals.decide_run, _DECIDE_TEXT, answers.Decided, "runs",
             body=requests.RunDecisionRequest, body_required=False, parameters=(RUN_ID,), problems=_DECIDES,
             permission=_DECIDE),
    Endpoint("POST", "/v1/runs/{run_id}/cancel", runs.cancel, "End a run", answers.Cancelled, "runs",
             body=requests.CancelRequest, body_required=False, parameters=(RUN_ID,), problems=_DECIDES,
             permission=_OPERATE),
    Endpoint("GET", "/v1/approvals", approvals.list_, "Open approvals, oldest first",
             answers.ApprovalPage, "approvals",
             parameters=(*approvals.FILTERS, LIMIT, CURSOR), permission=_SEE_APPROVALS),
    Endpoint("GET", "/v1/approvals/{approval_id}", approvals.show, "Everything about an approval",
             answers.Approval, "approvals", parameters=(approvals.APPROVAL_ID,), problems=("not-found",),
             permission=_SEE_APPROVALS),
    Endpoint("POST", "/v1/approvals/{approval_id}/decide", approvals.decide, "Decide an approval",
             answers.Decided, "approvals", body=requests.DecisionRequest, parameters=(approvals.APPROVAL_ID,),
             problems=_DECIDES, permission=_DECIDE),
    Endpoint("POST", "/v1/approvals/{approval_id}/reassign", approvals.reassign,
             "Say anew who may decide an approval", answers.Handled, "approvals",
             body=requests.ReassignRequest, parameters=(approvals.APPROVAL_ID,), problems=_DECIDES,
             permission=_HANDLE_APPROVALS),
    Endpoint("POST", "/v1/approvals/{approval_id}/comment", approvals.comment, "Comment an approval",
             answers.Handled, "approvals", body=requests.CommentRequest, parameters=(approvals.APPROVAL_ID,),
             problems=_DECIDES, permission=_HANDLE_APPROVALS),
    Endpoint("POST", "/v1/graphs", graphs.create, "Create a graph", answers.CreatedGraph, "graphs", 201,
             body=_GRAPH_BODY, problems=("invalid-graph",), permission=_ADMINISTER),
    Endpoint("POST", "/v1/graphs/validate", graphs.validate, "Check a graph without creating it",
             answers.Validation, "graphs", body=_GRAPH_BODY, permission=_READ),
    Endpoint("GET", "/v1/graphs", graphs.list_, "Versions of graphs, newest first", answers.GraphPage,
             "graphs", parameters=(graphs.NAME, LIMIT, CURSOR), permission=_READ),
    Endpoint("GET", "/v1/graphs/{graph}", graphs.show, "A version of a graph", answers.Graph, "graphs",
             parameters=(graphs.GRAPH,), problems=("not-found",), permission=_READ),
    Endpoint("GET", "/v1/tools", inventory.all_tools, "All tools ever registered", answers.ToolList, "tools",
             permission=_READ),
    Endpoint("GET", "/v1/workers", inventory.workers, "Worker processes", answers.WorkerList, "workers",
             permission=_READ),
    Endpoint("GET", "/v1/queues", inventory.queues, "How much waits to be claimed", answers.QueueList,
             "queues", permission=_READ),
    Endpoint("GET", "/v1/hooks", hooks.list_, "Addresses that are told of events", answers.HookList, "hooks",
             permission=_ADMINISTER),
    Endpoint("POST", "/v1/hooks", hooks.create, "Tell an address of events", answers.Hook, "hooks", 201,
             body=requests.HookRequest, problems=("wrong-state",), permission=_ADMINISTER),
    Endpoint("GET", "/v1/hooks/{hook}", hooks.show, "A hook", answers.Hook, "hooks",
             parameters=(hooks.HOOK,), problems=("not-found",), permission=_ADMINISTER),
    Endpoint("PATCH", "/v1/hooks/{hook}", hooks.update, "Change a hook", answers.Hook, "hooks",
             body=requests.HookChange, parameters=(hooks.HOOK,), problems=("not-found",),
             permission=_ADMINISTER),
    Endpoint("DELETE", "/v1/hooks/{hook}", hooks.delete, "End a hook", answers.DeletedHook, "hooks",
             parameters=(hooks.HOOK,), problems=("not-found",), permission=_ADMINISTER),
    Endpoint("POST", "/v1/hooks/{hook}/secret", hooks.rotate, "Sign with a new secret, too, or end the old",
             answers.Hook, "hooks", body=requests.HookSecret, body_required=False, parameters=(hooks.HOOK,),
             problems=("not-found",), permission=_ADMINISTER),
    Endpoint("POST", "/v1/hooks/{hook}/pause", hooks.pause, "Send nothing for now", answers.Hook, "hooks",
             parameters=(hooks.HOOK,), problems=("not-found",), permission=_ADMINISTER),
    Endpoint("POST", "/v1/hooks/{hook}/resume", hooks.resume, "Send again", answers.Hook, "hooks",
             parameters=(hooks.HOOK,), problems=("not-found",), permission=_ADMINISTER),
    Endpoint("POST", "/v1/hooks/{hook}/test", hooks.test, "Send a message of the type test",
             answers.TestedHook, "hooks", 202, parameters=(hooks.HOOK,), problems=_DECIDES,
             permission=_ADMINISTER),
    Endpoint("GET", "/v1/hooks/{hook}/deliveries", hooks.deliveries, "Its deliveries, newest first",
             answers.DeliveryPage, "hooks", parameters=(hooks.HOOK, hooks.STATUS, LIMIT, CURSOR),
             problems=("not-found",), permission=_ADMINISTER),
    Endpoint("GET", "/v1/schedules", schedules.list_, "Schedules, by name", answers.SchedulePage, "schedules",
             parameters=(LIMIT, CURSOR),
             permission=_READ),
    Endpoint("PUT", "/v1/schedules/{name}", schedules.put, "Create a schedule, or describe it anew",
             answers.CreatedSchedule, "schedules", body=requests.ScheduleRequest,
             parameters=(schedules.NAME,), problems=("not-found",),
             permission=_ADMINISTER),
    Endpoint("GET", "/v1/schedules/{name}", schedules.show, "A schedule, and when it is due",
             answers.Schedule, "schedules", parameters=(schedules.NAME,), problems=("not-found",),
             permission=_READ),
    Endpoint("DELETE", "/v1/schedules/{name}", schedules.delete, "Delete a schedule; its runs go on",
             answers.DeletedSchedule, "schedules", parameters=(schedules.NAME,), problems=("not-found",),
             permission=_ADMINISTER),
    Endpoint("POST", "/v1/schedules/{name}/pause", schedules.pause, "Start nothing until it is resumed",
             answers.PausedSchedule, "schedules", parameters=(schedules.NAME,), problems=("not-found",),
             permission=_OPERATE),
    Endpoint("POST", "/v1/schedules/{name}/resume", schedules.resume, "Go on with the next due time",
             answers.PausedSchedule, "schedules", parameters=(schedules.NAME,), problems=("not-found",),
             permission=_OPERATE),
    Endpoint("POST", "/v1/schedules/{name}/trigger", schedules.trigger, "Start a run of a schedule now",
             answers.TriggeredSchedule, "schedules", 201, body=requests.TriggerRequest, body_required=False,
             parameters=(schedules.NAME, IDEMPOTENCY_KEY), problems=(*_STARTS, "wrong-state"),
             permission=_OPERATE),
    # The process.
    Endpoint("GET", "/livez", health.live, "Does this process answer?", answers.Health, "process",
             needs_database=False, permission=_PUBLIC),
    Endpoint("GET", "/readyz", health.ready, "Can it serve: is the database there, with a schema that fits?",
             answers.Health, "process", problems=("schema-mismatch",), permission=_PUBLIC),
)  # fmt: skip
