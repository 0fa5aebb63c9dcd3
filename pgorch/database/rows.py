"""What the SQL functions return, typed."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID


class CreatedGraph(NamedTuple):
    """A version of a graph. `created` is False if the same content was there before."""

    graph_id: UUID
    name: str
    version: int
    created: bool


class DeletedGraph(NamedTuple):
    """A version of a graph that is gone. `watched`: tables whose trigger only their owner can drop."""

    graph_id: UUID
    name: str
    version: int
    watched: list[str]


class WatchedRun(NamedTuple):
    """How far a run is: its status, and the number of its last event."""

    status: str
    seq: int


class Event(NamedTuple):
    """An entry of a run's history. `event` is a JSON object."""

    seq: int
    event: Any


class BulkRun(NamedTuple):
    """A run that a call for many was about: its status after it, and what stood in the way; None: nothing."""

    run_id: UUID
    status: str
    problem: str | None


class Limit(NamedTuple):
    """A limit of a queue or tool. None: not limited in this way."""

    kind: str
    name: str
    concurrency: int | None
    rate: int | None
    per: timedelta | None
    burst: int | None


class AuditEntry(NamedTuple):
    """What somebody did. `source` is the database user of the session; `before` and `after` are of what was
    changed."""

    id: int
    at: datetime
    actor: str
    source: str
    action: str
    run_id: UUID | None
    approval_id: UUID | None
    before: Any
    after: Any
    comment: str | None


class ApiPrincipal(NamedTuple):
    """Whose key it is. `expires_in`: for how many seconds yet; None: for ever."""

    principal: str
    roles: list[str]
    expires_in: float | None
