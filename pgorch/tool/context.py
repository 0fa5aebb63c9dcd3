"""What a tool can learn about the step that it runs in."""

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pgorch.errors import ConfigError

_LOGGER = logging.getLogger("pgorch.tool")


@dataclass(kw_only=True, slots=True, eq=False)
class Context:
    """Passed to every parameter of a tool that is annotated `Context`.

    A tool may run more than once, its checkpoint counts once: give `idempotency_key` to whatever the tool
    calls, or `fencing_token` to a store that can refuse an older one.
    """

    run_id: UUID
    node: str
    step_id: int
    attempt: int
    born: int
    lease_token: UUID
    item: int | None = None
    undoes: bool = False
    deadline: datetime | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    open_connection: Any = None
    last_heartbeat: float = field(default_factory=time.monotonic)

    @property
    def idempotency_key(self) -> str:
        """Names this visit of the node, of a map the item, and whether it is being undone; it stays the same
        over the attempts."""
        item = "" if self.item is None else f"/{self.item}"
        return f"{self.run_id}/{self.node}/{self.born}{item}{'/undo' if self.undoes else ''}"

    @property
    def fencing_token(self) -> int:
        """A number that grows from lease to lease: the first half of the lease token."""
        return self.lease_token.int >> 64

    def heartbeat(self) -> None:
        """A sign of life, for nodes with a `heartbeat`: without one in that time the attempt has failed."""
        self.last_heartbeat = time.monotonic()

    @property
    def connection(self) -> Any:
        """The transaction in which the result will be recorded: a psycopg `Connection` in a sync tool, an
        `AsyncConnection` in an async one. What is written with it commits with the checkpoint, or not at all.
        """
        if self.open_connection is None:
            raise ConfigError(
                f"The tool of node {self.node} has no connection, because it is not transactional.",
                hint="Declare it with @tool(transactional=True).",
            )
        return self.open_connection

    @property
    def logger(self) -> "logging.LoggerAdapter[logging.Logger]":
        """Logs under `pgorch.tool`, with run_id, node and attempt as extra fields."""
        return logging.LoggerAdapter(
            _LOGGER, {"run_id": str(self.run_id), "node": self.node, "attempt": self.attempt}
        )

    def remaining(self) -> float | None:
        """Seconds until the step times out, never below 0; None without a timeout."""
        if self.deadline is None:
            return None
        return max(0.0, (self.deadline - datetime.now(UTC)).total_seconds())
