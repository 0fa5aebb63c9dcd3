"""A run as clients see it, and what both clients do with it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pgorch.config import resolve_dsn
from pgorch.errors import ConfigError, InvalidValue
from pgorch.graph import Graph

ENDED: Final = frozenset({"completed", "failed", "cancelled"})
AT_REST: Final = ENDED | {"awaiting_approval"}
WATCH_SECONDS: Final = 60
# Notifications are lost behind a transaction pooler; looking now and then covers it.
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Run:
    """A run as it was when it was read. The lists hold JSON objects, as GET /graph/state shows them."""

    run_id: UUID
    graph_id: UUID
    graph: str
    version: int
    status: str
    state: dict[str, Any]
    error: dict[str, Any] | None
    initiator: str
    idempotency_key: str | None
    created_at: datetime
    finished_at: datetime | None
    current_nodes: list[dict[str, Any]]
    history: list[dict[str, Any]]
    approvals: list[dict[str, Any]]

    @property
    def ended(self) -> bool:
        """Is it completed, failed or cancelled?"""
        return self.status in ENDED

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "Run":
        """The run that `pgorch.run_document` described."""
        return cls(
            run_id=UUID(document["run_id"]),
            graph_id=UUID(document["graph_id"]),
            graph=document["graph"],
            version=document["version"],
            status=document["status"],
            state=document["state"],
            error=document["error"],
            initiator=document["initiator"],
            idempotency_key=document["idempotency_key"],
            created_at=datetime.fromisoformat(document["created_at"]),
            finished_at=_time(document["finished_at"]),
            current_nodes=document["current_nodes"],
            history=document["history"],
            approvals=document["approvals"],
        )


class Deadline:
    """Until when somebody waits for a run."""

    def __init__(self, run_id: UUID, seconds: float | None) -> None:
        self._run_id = run_id
        self._seconds = seconds
        self._at = None if seconds is None else time.monotonic() + seconds

    def pause_seconds(self) -> float:
        """How long to wait for news before looking again. Raises TimeoutError if time is over."""
        if self._at is None:
            return _LOOK_SECONDS
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"Run {self._run_id} has not come to rest within {self._seconds:g} seconds.")
        return min(left, _LOOK_SECONDS)


def dsn_of(dsn: str | None, connection: object | None, pool: object | None) -> str | None:
    """The DSN for a client's own connections; None if it was given a connection or a pool."""
    if sum(each is not None for each in (dsn, connection, pool)) > 1:
        raise ConfigError("A client takes a DSN, a connection or a pool.", hint="Leave the others out.")
    if connection is not None or pool is not None:
        return None
    found = resolve_dsn(dsn)
    if found is None:
        raise ConfigError(
            "There is no database: no DSN was given, and PGORCH_DSN, DATABASE_URL and PGHOST are not set.",
            hint='Give one: Client("postgresql://user@host:5432/database")',
        )
    return found


def dsn_to_wait(dsn: str | None) -> str:
    if dsn is None:
        raise ConfigError(
            "A client that was given a connection or a pool cannot wait: the run goes on only after the "
            "transaction that is open there has ended, and a pool would lack the connection.",
            hint="Wait with a client of its own: Client(dsn).wait(run_id)",
        )
    return dsn


def definition_of(graph: Graph | Mapping[str, Any]) -> Any:
    return graph.to_json() if isinstance(graph, Graph) else graph


def id_of(given: UUID | str) -> UUID:
    if isinstance(given, UUID):
        return given
    try:
        return UUID(given)
    except ValueError:
        raise InvalidValue(f"{given[:60]!r} is no id: a UUID is needed.") from None


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
