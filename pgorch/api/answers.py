"""What answers look like: for OpenAPI. Answers come from SQL as JSON, and tests compare them with this."""

from typing import Any, Literal, get_args
from uuid import UUID

from pydantic import BaseModel, Field

Json = dict[str, Any]
RunStatus = Literal["running", "awaiting_approval", "waiting", "paused", "completed", "failed", "cancelled"]
STATUSES: tuple[str, ...] = get_args(RunStatus)
ENDED = frozenset({"completed", "failed", "cancelled"})


class Started(BaseModel):
    """`run_id` of the one run, or `run_ids` in the order of initial_states."""

    run_id: UUID | None = None
    run_ids: list[UUID] | None = None


class Decided(BaseModel):
    run_id: UUID
    approval_id: UUID
    decision: Literal["approved", "rejected"]
    status: Literal["open", "approved", "rejected"] = Field(
        description="What the approval is after it: open if others must approve as well."
    )
    missing: int = Field(description="How many others must still approve.")


class Handled(BaseModel):
    approval_id: UUID


class Steered(BaseModel):
    run_id: UUID
    status: RunStatus = Field(description="What the run is after it.")


class Signalled(BaseModel):
    run_id: UUID
    signal_id: UUID


class Forked(BaseModel):
    run_id: UUID = Field(description="The new run.")
    forked_from: UUID


class Moved(BaseModel):
    """`moved` is false after a dry run; `problems` then say what stands in the way, if anything does."""

    run_id: UUID
    moved: bool
    graph_id: UUID = Field(description="The version that was named.")
    problems: list[str]


class SteeredRun(Steered):
    problem: str | None = Field(description="What stood, or would stand, in the way; null: nothing.")


class SteeredRuns(BaseModel):
    """`more`: there are as many as the limit allows, so others may be left."""

    action: str
    dry_run: bool
    runs: list[SteeredRun]
    more: bool


class CreatedGraph(BaseModel):
    """`created` is false if the same content was there already, as this version."""

    graph_id: UUID
    name: str
    version: int
    created: bool


class Graph(BaseModel):
    graph_id: UUID
    name: str
    version: int
    start_node: str
    created_at: str
    created_by: str
    definition: Json


class GraphSummary(BaseModel):
    graph_id: UUID
    name: str
    version: int
    start_node: str
    created_at: str
    created_by: str


class GraphPage(BaseModel):
    graphs: list[GraphSummary]
    next_cursor: str | None


class Fault(BaseModel):
    pointer: str = Field(description="JSON pointer into what was sent.")
    code: str
    message: str
    hint: str | None = None


class DeletedGraph(BaseModel):
    graph_id: UUID
    name: str
    version: int
    watched: list[str] = Field(
        description="Tables whose trigger for waits on rows could not be dropped; their owner can."
    )


class Validation(BaseModel):
    valid: bool
    errors: list[Fault]


class LiveStep(BaseModel):
    node: str
    kind: Literal["task", "item", "undo", "approval", "join", "wait", "map", "child"]
    status: Literal["running", "ready", "limited", "paused", "retrying", "quarantined", "waiting"]
    item: int | None = Field(description="Of an item of a map, its index; of an undo, the event undone.")
    attempt: int
    ready_at: str
    started_at: str | None
    worker_id: UUID | None
    problem: str | None = Field(description="Why nobody takes it, if that is so.")


class Event(BaseModel):
    """An entry of a run's history. Members that do not apply are left out."""

    seq: int
    kind: str
    node: str | None = None
    attempt: int | None = None
    item: int | None = Field(None, description="Index in the list of a map; of what was undone, the event.")
    at: str
    started_at: str | None = None
    actor: str | None = None
    worker_id: UUID | None = None
    output: Any = None
    error: Json | None = None


class _Question(BaseModel):
    approval_id: UUID
    node: str
    title: str | None
    show: Any
    form: Any = Field(description="JSON Schema of the data of an approval; null: none.")
    assignees: list[str] | None = Field(description="user:NAME and role:NAME; null: anybody may decide.")
    quorum: int = Field(description="How many different people must approve.")
    requested_at: str
    deadline: str | None = Field(description="From when on it is too late.")


class Vote(BaseModel):
    by: str
    at: str
    data: Json | None
    comment: str | None


class OpenApproval(_Question):
    votes: list[Vote]


class WaitingApproval(_Question):
    run_id: UUID
    graph: str
    initiator: str
    approved_by: list[str]
    overdue: bool = Field(description="Is it time for its reminder, or past its deadline?")


class Approval(_Question):
    run_id: UUID
    graph: str
    version: int
    status: Literal["open", "approved", "rejected", "expired", "cancelled"]
    votes: list[Vote]
    initiator: str
    exclude_initiator: bool
    reminded_at: str | None
    overdue: bool
    decided_at: str | None
    decided_by: str | None
    data: Json | None
    comment: str | None
    events: list[Event] = Field(description="What happened to it: comments, votes, reassignments, ...")


class ApprovalPage(BaseModel):
    approvals: list[WaitingApproval]
    next_cursor: str | None


class RunSummary(BaseModel):
    run_id: UUID
    graph_id: UUID
    graph: str
    version: int
    status: RunStatus
    live_steps: int
    initiator: str
    priority: int
    queue: str | None
    idempotency_key: str | None
    labels: dict[str, str] | None
    created_at: str
    finished_at: str | None
    error: Json | None


class RunPage(BaseModel):
    runs: list[RunSummary]
    next_cursor: str | None


class Run(BaseModel):
    run_id: UUID
    graph_id: UUID
    graph: str
    version: int
    status: RunStatus
    state: Json
    input: Json
    output: Any = Field(description="What the graph's output template gave; null: the state is the output.")
    error: Json | None
    created_at: str
    finished_at: str | None
    initiator: str
    idempotency_key: str | None
    priority: int
    queue: str | None
    labels: dict[str, str] | None
    parent_run_id: UUID | None
    forked_from: UUID | None
    forked_at: int | None = Field(description="Up to this event its history is that of forked_from.")
    ending: Json | None = Field(description="While steps are being undone: how the run will end.")
    current_nodes: list[LiveStep]
    history: list[Event]
    approvals: list[OpenApproval]


class StateChange(BaseModel):
    """Without `before` the key was not there before, without `after` it is not there any more."""

    key: str
    before: Any = None
    after: Any = None


class Difference(BaseModel):
    from_: int = Field(alias="from")
    to: int
    changes: list[StateChange]


class ExplainedEdge(BaseModel):
    ord: int = Field(description="Its place in the definition's list of edges, from 0.")
    target: str
    on_outcome: str
    condition: str | None
    limit: int | None
    used: int | None = Field(description="How often it has been taken, if it has a limit.")
    found: Json | None = Field(description="What the paths of its condition find, by path.")
    holds: bool | None = Field(description="Null: it has no condition, or its condition is unknown.")
    taken: bool
    why: str


class Explanation(BaseModel):
    node: str
    edges: list[ExplainedEdge] = Field(description="In the order in which they are tried.")


class Happened(BaseModel):
    seq: int | None = Field(description="Number in the run's history; null: live now.")
    at: str
    what: str
    who: str | None
    took_seconds: float | None


class Timeline(BaseModel):
    timeline: list[Happened]


class Relative(BaseModel):
    run_id: UUID
    parent_run_id: UUID | None
    depth: int = Field(description="0: the run that was asked for.")
    graph: str
    version: int
    status: RunStatus
    created_at: str
    finished_at: str | None


class RunTree(BaseModel):
    runs: list[Relative]


class Labelled(BaseModel):
    run_id: UUID
    labels: dict[str, str]


class Retention(BaseModel):
    keep_seconds: float | None = Field(description="For how long finished runs are kept; null: for ever.")


class Tool(BaseModel):
    name: str
    description: str
    parameters: Json = Field(description="JSON Schema of the arguments.")
    retry: Json | None
    timeout_seconds: float | None
    transactional: bool
    workers: int = Field(description="How many living workers serve it.")


class ToolList(BaseModel):
    tools: list[Tool]


class Worker(BaseModel):
    worker_id: UUID
    name: str
    status: Literal["alive", "lost", "dead"]
    queues: list[str]
    tools: list[str]
    slots: int
    running_steps: int
    started_at: str
    expires_at: str


class WorkerList(BaseModel):
    workers: list[Worker]


class Queue(BaseModel):
    queue: str
    tool: str
    ready: int
    retrying: int
    oldest_ready_at: str | None
    oldest_age_seconds: float | None
    workers: int


class QueueList(BaseModel):
    queues: list[Queue]


class CreatedSchedule(BaseModel):
    """`created` is false if there was one of that name, which is now as described."""

    name: str
    created: bool


class PausedSchedule(BaseModel):
    """`changed` is false if it was so already."""

    name: str
    paused: bool
    changed: bool


class TriggeredSchedule(BaseModel):
    name: str
    run_id: UUID


class DeletedSchedule(BaseModel):
    name: str
    deleted: bool


class ScheduleSummary(BaseModel):
    name: str
    graph: str
    cron: str
    time_zone: str
    queue: str | None
    priority: int
    labels: dict[str, str] | None
    overlap: Literal["skip", "buffer_one", "cancel_other", "allow"]
    catch_up: Literal["one", "all", "none"]
    catch_up_window: str
    paused: bool
    next_due: str | None = Field(description="Null while paused, or until a worker has computed it.")
    buffered: str | None
    last_due: str | None
    last_run_id: UUID | None
    last_status: RunStatus | None
    last_error: Json | None
    created_at: str
    created_by: str
    updated_at: str
    updated_by: str


class SchedulePage(BaseModel):
    schedules: list[ScheduleSummary]
    next_cursor: str | None


class Firing(BaseModel):
    """What became of a due time."""

    at: str
    due: str
    outcome: Literal["started", "triggered", "skipped", "buffered", "missed", "failed"]
    run_id: UUID | None = Field(description="Run that was started, or for which it was skipped.")
    actor: str | None
    detail: str | None


class Schedule(ScheduleSummary):
    input: Json
    due_after: str
    as_of: str
    firings: list[Firing] = Field(description="The last 20, newest first.")
    next_times: list[str] = Field(description="The next five due times, in its time zone, paused or not.")


class Hook(BaseModel):
    hook_id: UUID
    name: str
    url: str
    kinds: list[str]
    graph: str | None = Field(description="Only of runs of the graph with this name.")
    allow_private: bool
    status: Literal["active", "paused"]
    paused_at: str | None
    paused_because: str | None
    created_at: str
    created_by: str


class HookList(BaseModel):
    hooks: list[Hook]


class DeletedHook(BaseModel):
    hook_id: UUID


class ResentDelivery(BaseModel):
    delivery_id: UUID = Field(description="The same as before: receivers know it by its header webhook-id.")


class DrainedWorkers(BaseModel):
    worker_ids: list[UUID] = Field(description="Those with this name or id; they hear of it within seconds.")


class AuditEntry(BaseModel):
    id: int
    at: str
    actor: str
    source: str = Field(description="Database user of the session: of this API, or somebody in psql.")
    action: str
    run_id: UUID | None
    approval_id: UUID | None
    before: Any = Field(description="What was, of that which was changed.")
    after: Any = Field(description="What it became.")
    comment: str | None


class AuditPage(BaseModel):
    entries: list[AuditEntry]
    next_cursor: str | None


class TestedHook(BaseModel):
    delivery_id: UUID = Field(description="See the deliveries of the hook for what comes of it.")


class DeliveryAttempt(BaseModel):
    attempt: int
    started_at: str
    ended_at: str | None = Field(description="Null while it is under way, or if its worker died.")
    http_status: int | None
    problem: str | None
    next_at: str | None = Field(description="When it was to be tried again.")


class Delivery(BaseModel):
    delivery_id: UUID = Field(description="The header webhook-id, the same at every attempt.")
    kind: str
    run_id: UUID | None
    seq: int | None = Field(description="Number of the event in the history of its run.")
    status: Literal["pending", "delivered", "dead"]
    attempts: int
    created_at: str
    next_at: str | None
    ended_at: str | None
    log: list[DeliveryAttempt]


class DeliveryPage(BaseModel):
    deliveries: list[Delivery]
    next_cursor: str | None


class SetLimit(BaseModel):
    kind: Literal["queue", "tool"]
    name: str
    concurrency: int | None = Field(description="Steps under way at once at most; null: any number.")
    rate: int | None = Field(description="Attempts that begin in each time at most; null: any number.")
    per_seconds: float | None
    burst: int | None


class Limit(SetLimit):
    under_way: int = Field(description="Steps that count for it now.")
    may_begin: int | None = Field(description="How many attempts the rate would let begin now.")
    set_at: str
    set_by: str


class LimitList(BaseModel):
    limits: list[Limit]


class DroppedLimit(BaseModel):
    kind: Literal["queue", "tool"]
    name: str
    dropped: bool


class ConcurrencyKey(BaseModel):
    graph: str
    node: str
    key: str
    concurrency: int
    under_way: int = Field(description="Steps that a worker performs.")
    ready: int = Field(description="Steps that have a place and wait for a worker.")
    waiting: int = Field(description="Steps that wait for a place.")
    retrying: int
    oldest_at: str


class ConcurrencyKeyList(BaseModel):
    keys: list[ConcurrencyKey]


class Health(BaseModel):
    status: Literal["ok"]


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = Field(None, description="What to do next.")
    instance: str | None = None
    errors: list[Fault] | None = None
