"""Who a worker is, and how it keeps time."""

import os
import secrets
import socket
from dataclasses import dataclass
from uuid import UUID, uuid4


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long things may take, in seconds."""

    lease: float = 10.0
    """How long the database believes a worker alive without hearing from it."""
    beat: float = 0.7
    poll: float = 10.0
    """How often an idle worker looks for work although nobody told it of any."""
    poll_without_news: float = 1.0
    """The same behind a pooler, where NOTIFY does not arrive."""
    schedules: float = 5.0
    """How often a worker asks which schedules are due; it wakes in time for what is due before that."""
    grace: float = 30.0
    """How long a worker that drains waits for the steps under way."""
    answer: float = 9.0
    """After which a connection that does not answer is given up."""
    beat_answer: float = 6.0
    hook_poll: float = 1.0
    """How often a worker looks for what is to be delivered to hooks."""
    hook_look: float = 60.0
    """How often it looks whether there are hooks now, although nobody told it."""
    hook_answer: float = 15.0
    """How long a receiver has to answer."""
    stubborn: float = 5.0
    """How long a cancelled coroutine has to end before its step is handed in without it."""
    stall_warning: float = 5.0
    stall_exit: float | None = 30.0
    """After which a process whose event loop is blocked ends itself; None: never."""


def default_name() -> str:
    """Host and process: for people. What tells workers apart is their random id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def new_worker_id() -> UUID:
    """Random for each lease: a worker that was declared dead never comes back under the same id."""
    return uuid4()


def new_marker() -> int:
    """The key of an advisory lock that nobody else uses: a random bigint."""
    return secrets.randbits(63)
