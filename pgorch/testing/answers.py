"""What a test lets people and tools say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgorch.errors import ConfigError


@dataclass(frozen=True)
class Decision:
    """Somebody's answer. `by` and `roles` are what an authenticated API would say of them."""

    decision: str
    data: Mapping[str, Any] | None = None
    comment: str | None = None
    by: str | None = None
    roles: Sequence[str] | None = None


def approved(
    data: Mapping[str, Any] | None = None,
    *,
    comment: str | None = None,
    by: str | None = None,
    roles: Sequence[str] | None = None,
) -> Decision:
    """Somebody approves, with the data of the form."""
    return Decision("approved", data, comment, by, roles)


def rejected(
    data: Mapping[str, Any] | None = None,
    *,
    comment: str | None = None,
    by: str | None = None,
    roles: Sequence[str] | None = None,
) -> Decision:
    """Somebody rejects; conditions read `data` as $decision."""
    return Decision("rejected", data, comment, by, roles)


def decision_of(given: Any) -> Decision:
    """A decision from how it may be written: "approved", {"decision": "rejected", "data": ...}, a Decision.

    Raises ConfigError.
    """
    if isinstance(given, Decision):
        return given
    if isinstance(given, str):
        return Decision(given)
    if isinstance(given, Mapping):
        try:
            return Decision(**given)
        except TypeError as problem:
            raise ConfigError(
                f"{dict(given)!r} is no decision: {problem}.",
                hint="Its keys are decision, data, comment, by and roles.",
            ) from None
    raise ConfigError(f"{given!r} is no decision.", hint='Write "approved", "rejected" or approved({...}).')


class Decisions:
    """What is decided at which approval: one answer for every visit, or a list with one for each in turn."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._always = {n: decision_of(v) for n, v in given.items() if not isinstance(v, list | tuple)}
        self._in_turn = {
            n: [decision_of(each) for each in v] for n, v in given.items() if isinstance(v, list | tuple)
        }
        self._asked: set[Any] = set()

    def next(self, node: str, approval_id: Any) -> Decision | None:
        """The answer to an open approval; None leaves it open."""
        if self._in_turn.get(node):
            return self._in_turn[node].pop(0)
        # Once: if a quorum needs more, the same person cannot give it.
        if node in self._always and approval_id not in self._asked:
            self._asked.add(approval_id)
            return self._always[node]
        return None


def failure(
    type: str, message: str = "", *, retryable: bool = True, retry_after: float | None = None
) -> Exception:
    """An exception that a step records as an error of this type: `raise failure("CardDeclined")`.

    `retry_after` is in seconds, as tools may say it.
    """
    kind: Any = _failure_kind(type)
    problem: Exception = kind(message or type)
    problem.retryable = retryable  # type: ignore[attr-defined]
    problem.retry_after = retry_after  # type: ignore[attr-defined]
    return problem


def _failure_kind(name: str) -> Any:
    return type(name, (Exception,), {})


def in_turn(*answers: Any) -> Callable[[Any], Any]:
    """A fake tool that gives these one call after the other; an exception among them is raised."""
    left = list(answers)

    def answer(_: Any) -> Any:
        if not left:
            raise ConfigError(
                f"The fake tool was called more often than the {len(answers)} times it has answers for.",
                hint="Give in_turn() more answers, or see run.calls() for who calls.",
            )
        return left.pop(0)

    return answer
