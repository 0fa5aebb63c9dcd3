"""What bodies of requests hold: checked with this, and described by it in OpenAPI."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pgorch.api.answers import RunStatus

Json = dict[str, Any]
Overlap = Literal["skip", "buffer_one", "cancel_other", "allow"]
Id = Annotated[UUID, Field(strict=False)]
Item = Annotated[int, Field(ge=0, le=2**31 - 1)]
MOST_RUNS_AT_ONCE = 10_000
# They are steered in one statement, whose time is limited.
MOST_STEERED_AT_ONCE = 5_000


class Body(BaseModel):
    """A request's body: members that it does not know are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RunRequest(Body):
    """Starts one run, or many of one graph."""

    graph_id: str | None = Field(None, min_length=1, description="Id of a version of a graph.")
    graph: str | None = Field(
        None, min_length=1, description="Instead of graph_id: a name (latest version), or name@version."
    )
    initial_state: Json | None = Field(None, description="State that the run begins with; {} if left out.")
    initial_states: list[Json] | None = Field(
        None,
        min_length=1,
        max_length=MOST_RUNS_AT_ONCE,
        description="Instead of initial_state: starts one run for each, all or none.",
    )
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)
    priority: int = Field(0, ge=-1000, le=1000, description="Higher runs first.")
    queue: str | None = Field(None, min_length=1, max_length=100)
    labels: dict[str, str] | None = Field(None, max_length=50, description="Texts to find it by.")

    @model_validator(mode="after")
    def _one_graph_one_form(self) -> "RunRequest":
        if (self.graph_id is None) == (self.graph is None):
            raise ValueError("name the graph by graph_id or by graph, one of the two")
        if self.initial_states is not None:
            if self.initial_state is not None:
                raise ValueError("give initial_state for one run or initial_states for many, not both")
            if self.idempotency_key is not None:
                raise ValueError("an idempotency key names one run, so it does not go with initial_states")
        return self


class DecisionRequest(Body):
    """Decides an approval."""

    decision: Literal["approved", "rejected"]
    data: Json | None = Field(
        None, description="What the form asks for, and what conditions read as $decision.<field>."
    )
    comment: str | None = Field(None, max_length=10_000)


class RunDecisionRequest(DecisionRequest):
    """Decides an open approval of a run."""

    approval_id: Id | None = Field(None, description="Which one, if the run waits for several.")


class ReassignRequest(Body):
    """Says anew who may decide an approval."""

    assignees: list[str] = Field(
        min_length=1, max_length=100, description='"user:NAME" and "role:NAME", instead of those before.'
    )
    comment: str | None = Field(None, max_length=10_000)


class CommentRequest(Body):
    """Adds a comment to an approval."""

    comment: str = Field(min_length=1, max_length=10_000)


class CancelRequest(Body):
    """Ends a run."""

    reason: str | None = Field(None, max_length=10_000)
    compensate: bool = Field(False, description="What it has done is undone first, newest first.")


class SignalRequest(Body):
    """Sends a message to a run."""

    name: str = Field(min_length=1, max_length=200, description="The oldest wait for it takes it.")
    payload: Any = Field(default_factory=dict, description="The output of the wait that takes it.")


class RetryRequest(Body):
    """Tries a step again."""

    node: str | None = Field(None, min_length=1, description="Which one, if several could be meant.")
    input: Any = Field(None, description="Other arguments for it; null: those that it had.")
    item: Item | None = Field(None, description="One item of a map, from 0.")


class SkipRequest(Body):
    """Goes on as if a step had succeeded."""

    node: str | None = Field(None, min_length=1, description="Which one, if several could be meant.")
    output: Any = Field(default_factory=dict, description="What it is to have given.")
    item: Item | None = Field(None, description="One item of a map, from 0.")


class ForkRequest(Body):
    """Says where a new run begins in the history of another."""

    seq: int | None = Field(None, ge=0, le=2**31 - 1, description="After this entry; 0: from the beginning.")
    node: str | None = Field(None, min_length=1, description="Or before its last visit ended.")
    state: Json = Field(default_factory=dict, description="Keys of the state that are changed.")
    labels: dict[str, str] | None = Field(
        None, max_length=50, description="Labels of the new run; null: those of the other one."
    )

    @model_validator(mode="after")
    def _one_place(self) -> "ForkRequest":
        if (self.seq is None) == (self.node is None):
            raise ValueError("say where it begins by seq or by node, one of the two")
        return self


class MoveRequest(Body):
    """Names another version of the run's graph."""

    graph: str = Field(min_length=1, description="Id of a version, a name (latest version), or name@version.")
    dry_run: bool = Field(False, description="Only tell what stands in the way.")


def _without_defaults(schema: Json) -> None:
    for shape in schema["properties"].values():
        del shape["default"]


class RunFilter(Body):
    """Which runs are meant: those to which all of it applies. If it is empty: all that the action is for."""

    # What is left out has no value at all, and null is refused: a value that got lost must not find all runs.
    model_config = ConfigDict(json_schema_extra=_without_defaults)

    graph: str = Field("", min_length=1, description="Id, name (all versions) or name@version.")
    version: int = Field(0, ge=1, le=999_999_999, description="With the name of a graph.")
    status: RunStatus | list[RunStatus] = Field(
        [],
        min_length=1,
        description="If left out: those in which the action is possible; for retry and skip failed.",
    )
    labels: dict[str, str] = Field({}, max_length=50)
    state: Json = Field({}, description="What the state contains, as in PostgreSQL's @>.")
    initiator: str = ""
    created_before: str = Field("", min_length=1, max_length=100, description="A time, 2026-03-01T12:00:00Z.")
    created_after: str = Field("", min_length=1, max_length=100, description="From this time on.")
    error_type: str = Field("", description="Type of the error with which it failed.")


class BulkRequest(Body):
    """Does the same to many runs."""

    action: Literal["cancel", "pause", "resume", "retry", "skip", "move"]
    filter: RunFilter
    arguments: Json = Field(
        default_factory=dict,
        description="Of cancel reason and compensate, of retry node, input and item, of skip node, output and"
        " item, of move graph.",
    )
    dry_run: bool = Field(True, description="Only list the runs.")
    limit: int = Field(1000, ge=1, le=MOST_STEERED_AT_ONCE, description="How many at most.")


class ExplainRequest(Body):
    """A node, and how it is to have ended."""

    node: str = Field(min_length=1)
    state: Json = Field(default_factory=dict, description="The state, with what the node wrote.")
    outcome: Literal["success", "approved", "rejected", "expired", "error"] = "success"
    vars: Json = Field(
        default_factory=dict,
        description="What conditions read as $input, $nodes, $run, $error and $decision.",
    )


class RetentionRequest(Body):
    """For how long finished runs are kept."""

    keep: str | None = Field(max_length=100, description='An interval, as in "30 days"; null: for ever.')


LABELS: Final[Json] = {
    "type": "object",
    "description": "All labels, by name; those that are not named are taken away.",
    "maxProperties": 50,
    "propertyNames": {"minLength": 1, "maxLength": 200},
    "additionalProperties": {"type": "string", "maxLength": 1000},
}


class LimitRequest(Body):
    """A limit, whole: what is left out is not limited."""

    concurrency: int | None = Field(None, ge=0, description="Steps under way at once; 0: none is begun.")
    rate: int | None = Field(None, ge=1, description="Attempts that begin in each `per`.")
    per: str | None = Field(None, max_length=100, description='An interval, for instance "1 minute".')
    burst: int | None = Field(
        None,
        ge=1,
        description="How many of them may begin at once after a pause: in no time of `per` more than rate + "
        "burst begin. If left out: what falls on a tenth of a second, at least 1.",
    )


class ScheduleRequest(Body):
    """Describes a schedule."""

    graph: str = Field(
        min_length=1, description="A name (latest version when it fires), name@version, or id."
    )
    cron: str = Field(description="Minute, hour, day of the month, month, day of the week.")
    time_zone: str = Field("UTC", description="Time zone in which that is meant, for instance Europe/Berlin.")
    input: Json | None = Field(None, description="Input of its runs; ${$.due} and ${$.name} are filled in.")
    queue: str | None = Field(None, min_length=1, max_length=100)
    priority: int = Field(0, ge=-1000, le=1000, description="Higher runs first.")
    labels: dict[str, str] | None = Field(None, description="Labels of its runs, beside its name.")
    overlap: Overlap = Field("skip", description="When it is due while a run of it has not ended.")
    catch_up: Literal["one", "all", "none"] = Field(
        "one", description="Of due times that passed while no worker was there; one is the last of them."
    )
    catch_up_window: str = Field(
        "7 days", max_length=100, description="Due times older than this interval are not caught up."
    )
    paused: bool | None = Field(None, description="If left out, a schedule that is there stays as it is.")


class TriggerRequest(Body):
    """Starts a run of a schedule now."""

    overlap: Overlap | None = Field(None, description="Instead of the schedule's own policy.")


class HookRequest(Body):
    """Tells an address of events."""

    name: str = Field(min_length=1, max_length=100)
    url: str = Field(min_length=1, max_length=2000, description="https, or http with allow_private.")
    kinds: list[str] = Field(
        min_length=1, max_length=100, description="run_completed, approval_requested, ..."
    )
    secret: str = Field(
        min_length=1,
        max_length=200,
        description="whsec_ and 24 to 64 bytes in base64. No answer shows it again.",
    )
    graph: str | None = Field(
        None, min_length=1, max_length=200, description="Only of runs of the graph with this name."
    )
    allow_private: bool = Field(False, description="The address may be a private one, and plain http.")


class HookChange(Body):
    """Changes a hook. What is left out stays as it is."""

    url: str | None = Field(None, min_length=1, max_length=2000)
    kinds: list[str] | None = Field(None, min_length=1, max_length=100)


class HookSecret(Body):
    """Signs with this secret and the one before it; without a secret, with the newest alone."""

    secret: str | None = Field(None, min_length=1, max_length=200)
